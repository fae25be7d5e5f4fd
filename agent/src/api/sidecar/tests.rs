//! What of a `Sidecar` is read, and what Istio refuses.

use super::super::OutboundPolicy;
use super::super::decode::decode;
use super::super::object::Spec;
use super::{EgressHost, HostNamespace, Sidecar};

fn text(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s, namespace: shop}}\nspec: {spec}\n"
    )
}

fn sidecar(spec: &str) -> Sidecar {
    let decoded = decode("s.yaml", &text(spec));
    match &decoded.objects[..] {
        [object] => match &object.spec {
            Spec::Sidecar(sidecar) => sidecar.clone(),
            other => panic!("{other:?}"),
        },
        _ => panic!("{:?}", decoded.diagnostics),
    }
}

/// `severity code field` of each finding but those for what is not carried out.
fn findings(spec: &str) -> Vec<String> {
    let found = decode("s.yaml", &text(spec)).diagnostics;
    let found = found.iter().filter(|d| d.code != "SH1012");
    found
        .map(|d| format!("{:?} {} {}", d.severity, d.code, d.field))
        .collect()
}

#[test]
fn hosts_are_imported_from_namespaces_on_all_ports_or_some() {
    let read = sidecar(
        "{workloadSelector: {labels: {app: a}}, egress: [{port: {number: 80, protocol: HTTP}, hosts: ['./*', '~ns1/*']}, {hosts: ['*/*.example.com', 'ns2/a.example.org', '~/*']}]}",
    );
    assert_eq!(read.selector["app"], "a");
    assert_eq!(read.outbound, None);
    let ports: Vec<_> = read.egress.iter().map(|listener| listener.port).collect();
    assert_eq!(ports, [Some(80), None]);
    let host = |is_excluded, namespace, host: &str| EgressHost {
        is_excluded,
        namespace,
        host: host.to_owned(),
    };
    let named = |name: &str| HostNamespace::Named(name.to_owned());
    let expected = [
        host(false, HostNamespace::Own, "*"),
        host(true, named("ns1"), "*"),
    ];
    assert_eq!(read.egress[0].hosts, expected);
    let expected = [
        host(false, HostNamespace::Any, "*.example.com"),
        host(false, named("ns2"), "a.example.org"),
        host(false, HostNamespace::None, "*"),
    ];
    assert_eq!(read.egress[1].hosts, expected);
}

#[test]
fn an_outbound_policy_that_says_nothing_is_registry_only_and_none_is_the_meshs() {
    let of = |policy: &str| sidecar(&format!("{{egress: [{{hosts: ['*/*']}}]{policy}}}")).outbound;
    assert_eq!(of(""), None);
    for (policy, expected) in [
        ("{}", OutboundPolicy::RegistryOnly),
        ("{mode: REGISTRY_ONLY}", OutboundPolicy::RegistryOnly),
        ("{mode: ALLOW_ANY}", OutboundPolicy::AllowAny),
    ] {
        let policy = format!(", outboundTrafficPolicy: {policy}");
        assert_eq!(of(&policy), Some(expected), "{policy}");
    }
}

#[test]
fn what_istio_refuses_in_egress_is_refused() {
    let cases: &[(&str, &[&str])] = &[
        ("{}", &["Error SH1601 spec"]),
        ("{egress: [{hosts: ['*/*']}]}", &[]),
        (
            "{egress: [{hosts: []}]}",
            &["Error SH1015 spec.egress[0].hosts"],
        ),
        (
            "{egress: [{hosts: ['a.com']}]}",
            &["Error SH1604 spec.egress[0].hosts[0]"],
        ),
        (
            "{egress: [{hosts: ['/a.com']}]}",
            &["Error SH1604 spec.egress[0].hosts[0]"],
        ),
        (
            "{egress: [{hosts: ['ns/a']}]}",
            &["Error SH1604 spec.egress[0].hosts[0]"],
        ),
        (
            "{egress: [{hosts: ['ns/*a.com']}]}",
            &["Error SH1604 spec.egress[0].hosts[0]"],
        ),
        (
            "{egress: [{hosts: ['n_s/a.com']}]}",
            &["Error SH1604 spec.egress[0].hosts[0]"],
        ),
        (
            "{egress: [{hosts: ['./*', 'shop/a.com']}]}",
            &["Warning SH1605 spec.egress[0].hosts[1]"],
        ),
        (
            "{egress: [{hosts: ['*/*', 'b/a.com']}]}",
            &["Warning SH1605 spec.egress[0].hosts"],
        ),
        ("{egress: [{hosts: ['*/*', '~b/a.com']}]}", &[]),
        (
            "{egress: [{hosts: ['*/*']}, {port: {number: 80, protocol: HTTP}, hosts: ['*/*']}]}",
            &["Error SH1602 spec.egress[0]"],
        ),
        (
            "{egress: [{port: {number: 80, protocol: HTTP}, hosts: ['*/*']}, {port: {number: 80, protocol: HTTP}, hosts: ['*/*']}]}",
            &["Error SH1108 spec.egress[1].port"],
        ),
        (
            "{egress: [{port: {number: 80, protocol: X, name: a_b}, bind: x, hosts: ['*/*']}]}",
            &[
                "Error SH1106 spec.egress[0].port.name",
                "Error SH1107 spec.egress[0].port.protocol",
                "Error SH1602 spec.egress[0].bind",
            ],
        ),
        (
            "{egress: [{port: {number: 0, protocol: HTTP}, bind: 'unix:///a', captureMode: NONE, hosts: ['*/*']}]}",
            &[],
        ),
        (
            "{egress: [{port: {protocol: HTTP}, captureMode: IPTABLES, hosts: ['*/*']}]}",
            &[
                "Error SH1602 spec.egress[0].bind",
                "Error SH1602 spec.egress[0].captureMode",
            ],
        ),
        (
            "{workloadSelector: {}, egress: [{hosts: ['*/*']}]}",
            &["Warning SH1117 spec.workloadSelector"],
        ),
        (
            "{outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}}",
            &["Error SH1603 spec.outboundTrafficPolicy.mode"],
        ),
        (
            "{outboundTrafficPolicy: {egressProxy: {host: a.com, port: {number: 1}}}}",
            &["Error SH1603 spec.outboundTrafficPolicy.egressProxy"],
        ),
        (
            "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.com}}}",
            &["Error SH1603 spec.outboundTrafficPolicy.egressProxy"],
        ),
        (
            "{inboundConnectionPool: {}}",
            &["Error SH1302 spec.inboundConnectionPool"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(findings(spec), *expected, "{spec}");
    }
}

#[test]
fn what_istio_refuses_in_ingress_is_refused() {
    let ingress = |listener: &str| {
        let found = findings(&format!("{{ingress: [{{{listener}}}]}}"));
        let strip = |finding: String| finding.replace("spec.ingress[0].", "");
        found.into_iter().map(strip).collect::<Vec<_>>()
    };
    let http = "port: {number: 90, protocol: HTTP, name: a}";
    let https = "port: {number: 90, protocol: HTTPS, name: a}";
    let cases: &[(String, &[&str])] = &[
        (http.to_owned(), &[]),
        ("bind: 10.0.0.1".to_owned(), &["Error SH1015 port"]),
        (
            "port: {protocol: HTTP}".to_owned(),
            &["Error SH1105 port.number"],
        ),
        (format!("{http}, bind: 'unix:///a'"), &["Error SH1602 bind"]),
        (format!("{http}, defaultEndpoint: '127.0.0.1:1'"), &[]),
        (format!("{http}, defaultEndpoint: '[::1]:1'"), &[]),
        (format!("{http}, defaultEndpoint: 'unix:///a'"), &[]),
        (
            format!("{http}, defaultEndpoint: '10.0.0.1:1'"),
            &["Error SH1602 defaultEndpoint"],
        ),
        (
            format!("{http}, defaultEndpoint: '::1:1'"),
            &["Error SH1602 defaultEndpoint"],
        ),
        (
            format!("{http}, defaultEndpoint: 'unix:///'"),
            &["Error SH1602 defaultEndpoint"],
        ),
        (
            format!("{http}, tls: {{mode: PASSTHROUGH}}"),
            &["Error SH1602 tls.mode"],
        ),
        (
            format!("{https}, tls: {{mode: AUTO_PASSTHROUGH}}"),
            &["Error SH1602 tls.mode"],
        ),
        (
            format!("{https}, tls: {{mode: SIMPLE, credentialName: x}}"),
            &[
                "Error SH1602 tls.credentialName",
                "Error SH1602 tls.serverCertificate",
                "Error SH1602 tls.privateKey",
            ],
        ),
        (
            format!(
                "{https}, tls: {{mode: SIMPLE, serverCertificate: c, privateKey: k, httpsRedirect: true}}"
            ),
            &["Error SH1602 tls.httpsRedirect"],
        ),
        (
            format!("{http}, connectionPool: {{}}"),
            &["Error SH1302 connectionPool"],
        ),
        (
            "port: {number: 90, protocol: TCP}, connectionPool: {http: {maxRetries: 1}}".to_owned(),
            &["Warning SH1602 connectionPool.http"],
        ),
    ];
    for (listener, expected) in cases {
        assert_eq!(ingress(listener), *expected, "{listener}");
    }
}

#[test]
fn what_is_not_carried_out_is_said() {
    let spec = "{ingress: [{port: {number: 90, protocol: TCP}}], egress: [{port: {number: 80, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*/*']}]}";
    let found = decode("s.yaml", &text(spec)).diagnostics;
    let found: Vec<_> = found
        .iter()
        .map(|d| (d.code.as_str(), d.field.as_str()))
        .collect();
    assert_eq!(
        found,
        [("SH1012", "spec.ingress"), ("SH1012", "spec.egress[0]")]
    );
}

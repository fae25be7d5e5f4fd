//! Where the routes of a `VirtualService` lead.

use super::*;

/// `a.example` with 10.0.0.1, `b.example` with two endpoints of which the second is `v: "2"`, and the rest of the text.
fn compiled_with(more: &str) -> Compiled {
    let text = format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a}}
spec:
  hosts: [a.example]
  ports: [{{number: 80, name: tcp, protocol: TCP}}, {{number: 443, name: tls, protocol: TLS}}, {{number: 81, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: b}}
spec:
  hosts: [b.example]
  ports: [{{number: 8080, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.2, labels: {{v: '1'}}}}, {{address: 10.0.0.3, labels: {{v: '2'}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: b}}
spec:
  host: b.example
  subsets: [{{name: v2, labels: {{v: '2'}}}}]
---
{more}"
    );
    let decoded = crate::api::decode("all.yaml", &text);
    assert_eq!(decoded.broken, [], "{more}");
    compile(&snapshot(&decoded.objects))
}

fn routes(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [a.example], {spec}}}\n"
    )
}

/// The endpoints of `a.example` at the port, with their shares, and what fails of how many.
fn led(spec: &str, port: u16) -> Vec<String> {
    let compiled = compiled_with(&routes(spec));
    let mut led = endpoints(&compiled, "a.example", port);
    let service = service(&compiled, "a.example", port);
    if service.unserved > 0 {
        led.push(format!("fail {}", service.unserved));
    }
    led
}

const TO_B: &str = "{destination: {host: b.example}}";

#[test]
fn a_route_without_match_takes_every_connect_of_ports_that_are_tcp() {
    let spec = format!("tcp: [{{route: [{TO_B}]}}]");
    assert_eq!(led(&spec, 80), ["10.0.0.2:8080 1", "10.0.0.3:8080 1"]);
    assert_eq!(
        led(&spec, 443),
        ["10.0.0.1:443 1"],
        "TLS has routes of its own"
    );
    assert_eq!(
        led(&spec, 81),
        ["10.0.0.1:81 1"],
        "and HTTP none that a connection can follow"
    );
}

#[test]
fn several_destinations_share_by_weight_and_within_each_by_theirs() {
    let spec = "tcp: [{route: [{destination: {host: a.example, port: {number: 80}}, weight: 80}, {destination: {host: b.example}, weight: 20}]}]";
    assert_eq!(
        led(spec, 80),
        ["10.0.0.1:80 8", "10.0.0.2:8080 1", "10.0.0.3:8080 1"]
    );
    let zero = "tcp: [{route: [{destination: {host: a.example, port: {number: 80}}, weight: 0}, {destination: {host: b.example}, weight: 1}]}]";
    assert_eq!(led(zero, 80), ["10.0.0.2:8080 1", "10.0.0.3:8080 1"]);
}

#[test]
fn a_subset_has_the_endpoints_with_its_labels_and_a_missing_one_fails_closed() {
    let to = |subset: &str| {
        format!("tcp: [{{route: [{{destination: {{host: b.example, subset: {subset}}}}}]}}]")
    };
    assert_eq!(led(&to("v2"), 80), ["10.0.0.3:8080 1"]);
    assert_eq!(led(&to("v3"), 80), Vec::<String>::new());
    let compiled = compiled_with(&routes(&to("v3")));
    assert_eq!(findings(&compiled), ["SH3018 v"]);
    assert_eq!(service(&compiled, "a.example", 80).action, Action::Balance);

    let part = "tcp: [{route: [{destination: {host: b.example, subset: v3}, weight: 1}, {destination: {host: b.example, subset: v2}, weight: 3}]}]";
    assert_eq!(led(part, 80), ["10.0.0.3:8080 3", "fail 1"]);
}

#[test]
fn the_first_route_that_matches_takes_the_connect() {
    let spec = |matches: &str| format!("tcp: [{{match: [{matches}], route: [{TO_B}]}}]");
    let to_b = ["10.0.0.2:8080 1", "10.0.0.3:8080 1"];
    let own = ["10.0.0.1:80 1"];
    assert_eq!(led(&spec("{port: 80}"), 80), to_b);
    assert_eq!(led(&spec("{port: 81}"), 80), own);
    assert_eq!(led(&spec("{port: 81}, {port: 80}"), 80), to_b);
    assert_eq!(led(&spec("{sourceLabels: {app: x}}"), 80), own);
    assert_eq!(led(&spec("{sourceNamespace: other}"), 80), own);
    assert_eq!(led(&spec("{sourceNamespace: default}"), 80), to_b);
    assert_eq!(led(&spec("{gateways: [other]}"), 80), own);
    let two = format!(
        "tcp: [{{match: [{{port: 80}}], route: [{{destination: {{host: b.example, subset: v2}}}}]}}, {{route: [{TO_B}]}}]"
    );
    assert_eq!(led(&two, 80), ["10.0.0.3:8080 1"]);
}

#[test]
fn tls_routes_go_by_the_host_that_clients_dialled() {
    let spec = |sni: &str| format!("tls: [{{match: [{{sniHosts: [{sni}]}}], route: [{TO_B}]}}]");
    assert_eq!(
        led(&spec("a.example"), 443),
        ["10.0.0.2:8080 1", "10.0.0.3:8080 1"]
    );
    assert_eq!(led(&spec("a.example"), 80), ["10.0.0.1:80 1"]);
}

#[test]
fn routes_apply_to_those_that_see_them_and_private_ones_come_first() {
    let hidden = "exportTo: [elsewhere], tcp: [{route: [{destination: {host: b.example}}]}]";
    assert_eq!(led(hidden, 80), ["10.0.0.1:80 1"]);
    let two = format!(
        "{}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: w}}\nspec: {{hosts: ['*.example'], exportTo: ['.'], tcp: [{{route: [{{destination: {{host: b.example, subset: v2}}}}]}}]}}\n",
        routes(&format!("tcp: [{{route: [{TO_B}]}}]"))
    );
    let compiled = compiled_with(&two);
    assert_eq!(endpoints(&compiled, "a.example", 80), ["10.0.0.3:8080 1"]);
}

/// `c.example` at these addresses, with one endpoint, and routes of it.
fn at_addresses(addresses: &str, spec: &str) -> Compiled {
    compiled_with(&format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: c}}\nspec: {{hosts: [c.example], addresses: [{addresses}], ports: [{{number: 80, name: tcp, protocol: TCP}}], resolution: STATIC, endpoints: [{{address: 10.0.0.9}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [c.example], {spec}}}\n"
    ))
}

/// `destination: endpoints` of all that leads to `c.example`.
fn leads(addresses: &str, spec: &str) -> Vec<String> {
    let compiled = at_addresses(addresses, spec);
    let frontends = compiled.program.frontends.iter();
    frontends
        .filter(|(_, key)| &*key.host == "c.example")
        .map(|(frontend, key)| {
            let endpoints = compiled.program.services[key].endpoints.iter();
            let endpoints: Vec<_> = endpoints.map(|e| e.address.to_string()).collect();
            format!("{frontend}: {}", endpoints.join(" "))
        })
        .collect()
}

#[test]
fn a_route_for_some_addresses_takes_those_alone() {
    let spec = |subnets: &str| {
        format!("tcp: [{{match: [{{destinationSubnets: [{subnets}]}}], route: [{TO_B}]}}]")
    };
    let addresses = "192.0.2.1, 192.0.2.2";
    let (own, to_b) = ("10.0.0.9", "10.0.0.2 10.0.0.3");
    assert_eq!(
        leads(addresses, &spec("192.0.2.1/32")),
        [
            format!("192.0.2.1:80: {to_b}"),
            format!("192.0.2.2:80: {own}")
        ]
    );
    assert_eq!(
        leads(addresses, &spec("203.0.113.0/24")),
        [
            format!("192.0.2.1:80: {own}"),
            format!("192.0.2.2:80: {own}")
        ]
    );
    let compiled = at_addresses(addresses, &spec("192.0.2.0/24"));
    assert_eq!(
        endpoints(&compiled, "c.example", 80),
        ["10.0.0.2:8080 1", "10.0.0.3:8080 1"],
        "a route for all of its addresses is the service's own"
    );
}

#[test]
fn a_route_for_a_part_of_a_cidr_takes_that_part() {
    let spec =
        format!("tcp: [{{match: [{{destinationSubnets: [198.51.100.64/26]}}], route: [{TO_B}]}}]");
    assert_eq!(
        leads("198.51.100.0/24", &spec),
        [
            "198.51.100.0/24:80: 10.0.0.9",
            "198.51.100.64/26:80: 10.0.0.2 10.0.0.3"
        ]
    );
}

#[test]
fn of_routes_for_subnets_the_longest_takes_an_address_and_the_first_of_equal_ones() {
    let to = |subnets: &str, route: &str| {
        format!("{{match: [{{destinationSubnets: [{subnets}]}}], route: [{route}]}}")
    };
    let v2 = "{destination: {host: b.example, subset: v2}}";
    let spec = format!(
        "tcp: [{}, {}, {}]",
        to("192.0.2.0/24", TO_B),
        to("192.0.2.2/32", v2),
        to("192.0.2.2/32", TO_B)
    );
    assert_eq!(
        leads("192.0.2.1, 192.0.2.2, 203.0.113.1", &spec),
        [
            "192.0.2.1:80: 10.0.0.2 10.0.0.3",
            "192.0.2.2:80: 10.0.0.3",
            "203.0.113.1:80: 10.0.0.9"
        ]
    );
    assert_eq!(
        at_addresses("192.0.2.1, 192.0.2.2", &spec)
            .program
            .services
            .keys()
            .filter(|key| &*key.host == "c.example" && key.route.is_none())
            .count(),
        0,
        "nothing is left that the host's own endpoints are for"
    );
}

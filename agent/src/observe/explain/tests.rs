#![expect(
    clippy::needless_raw_string_hashes,
    reason = "expect_test writes golden text so"
)]

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::api::Object;
use crate::compile::Judge;
use crate::dataplane::Counts;
use crate::observe::State;
use crate::observe::fixtures::{empty, passed, state, tables, weighted};
use crate::observe::view::Live;

use super::*;

/// `SplitMix64`, from a fixed seed.
fn random() -> impl FnMut() -> u32 {
    let mut state = 7u64;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap()
    }
}

fn explained(objects: &[Object], target: &str, count: u32) -> Explanation {
    explained_in(&state(objects), target, None, count)
}

fn explained_in(state: &State, target: &str, from: Option<&str>, count: u32) -> Explanation {
    let dataplane = tables(state);
    let counts = Counts::default();
    let sight = Sight {
        tables: dataplane.tables(),
        names: dataplane.names(),
        compiled: &state.compiled,
        judge: &Judge::new(&state.snapshot),
        live: Live::at(state, &counts, state.updated),
    };
    let question = Question {
        target: target.parse().unwrap(),
        transport: None,
        from: from.map(|from| from.parse().unwrap()),
        count,
    };
    explain(&sight, &question, random())
}

fn check(target: &str, expected: &Expect) {
    let explanation = explained(&[weighted(), passed(), empty()], target, 1);
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(
        serde_json::from_str::<Explanation>(&json).unwrap(),
        explanation
    );
    let mut text = explanation.steps.join("\n");
    for connect in &explanation.connects {
        let ConnectView { verdict, steps, .. } = connect;
        write!(text, "\n{verdict:?}\n  {}", steps.join("\n  ")).unwrap();
    }
    if let Some(host) = explanation.suggestion {
        write!(text, "\ndid you mean {host}?").unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn a_host_is_explained_at_each_of_its_addresses() {
    check(
        "api.example.com",
        &expect![[r#"

            Rewrite
              looked up 10.0.0.1:80 TCP: a frontend of service default/api.example.com:80 (ServiceEntry default/api.example.com, api.example.com.yaml:7)
              resolution STATIC
              LEAST_REQUEST picks among 2 of 2 endpoints by their shares
              no DestinationRule applies
              localityLbSetting of the mesh has no effect: failover needs outlierDetection, and no DestinationRule for this port has it; this node's locality is unknown
              2 of 2 endpoints share the connects by their weights
              an endpoint is drawn for each connect; this one goes to 192.0.2.1:80
            Rewrite
              looked up [2001:db8::1]:80 TCP: a frontend of service default/api.example.com:80 (ServiceEntry default/api.example.com, api.example.com.yaml:7)
              resolution STATIC
              LEAST_REQUEST picks among 2 of 2 endpoints by their shares
              no DestinationRule applies
              localityLbSetting of the mesh has no effect: failover needs outlierDetection, and no DestinationRule for this port has it; this node's locality is unknown
              2 of 2 endpoints share the connects by their weights
              an endpoint is drawn for each connect; this one goes to 192.0.2.1:80"#]],
    );
}

#[test]
fn an_address_of_a_cidr_is_passed() {
    check(
        "10.9.8.7:80",
        &expect![[r#"

        Original { original_port: None }
          looked up 10.9.8.7:80 TCP: no frontend of its own; the longest CIDR, 10.9.0.0/16, is one of service default/net.example.com:80 (ServiceEntry default/net.example.com, net.example.com.yaml:7)
          resolution NONE
          passed to the original address and port
          no DestinationRule applies
          resolution NONE: connects keep their address and port
          the connect goes to 10.9.8.7:80, and is counted"#]],
    );
}

#[test]
fn a_port_of_a_cidr_that_nothing_declares_is_not_redirected() {
    check(
        "10.9.8.7:81",
        &expect![[r#"

        Pass
          looked up 10.9.8.7:81 TCP: no frontend (the longest CIDR, 10.9.0.0/16, does not have this port), and not in the range of automatic IPv4 addresses
          not redirected: the connect goes to 10.9.8.7:81"#]],
    );
}

#[test]
fn an_undeclared_port_of_an_automatic_address_is_refused() {
    check(
        "240.240.255.254:80",
        &expect![[r#"

        Deny { errno: "ECONNREFUSED", reason: "no service declares this port of this automatic address" }
          looked up 240.240.255.254:80 TCP: no frontend, in no declared CIDR, but the address lies in the range of automatic addresses
          the connect fails with ECONNREFUSED: no service declares this port of this automatic address"#]],
    );
}

#[test]
fn a_host_without_endpoints_fails() {
    check(
        "empty.example.com:80",
        &expect![[r#"

            Deny { errno: "EHOSTUNREACH", reason: "no endpoint can take it (none is healthy, or none is of the socket's family)" }
              looked up 240.240.222.73:80 TCP: a frontend of service default/empty.example.com:80 (ServiceEntry default/empty.example.com, empty.example.com.yaml:7)
              resolution STATIC
              LEAST_REQUEST picks among 0 of 0 endpoints by their shares
              no DestinationRule applies
              localityLbSetting of the mesh has no effect: failover needs outlierDetection, and no DestinationRule for this port has it; this node's locality is unknown
              there is no endpoint; connects are refused
              the connect fails with EHOSTUNREACH: no endpoint can take it (none is healthy, or none is of the socket's family)
            Deny { errno: "EHOSTUNREACH", reason: "no endpoint can take it (none is healthy, or none is of the socket's family)" }
              looked up [2001:2::9f55:e3a2:8dc9:cefc]:80 TCP: a frontend of service default/empty.example.com:80 (ServiceEntry default/empty.example.com, empty.example.com.yaml:7)
              resolution STATIC
              LEAST_REQUEST picks among 0 of 0 endpoints by their shares
              no DestinationRule applies
              localityLbSetting of the mesh has no effect: failover needs outlierDetection, and no DestinationRule for this port has it; this node's locality is unknown
              there is no endpoint; connects are refused
              the connect fails with EHOSTUNREACH: no endpoint can take it (none is healthy, or none is of the socket's family)"#]],
    );
}

#[test]
fn a_port_that_the_host_lacks_is_told_with_those_it_has() {
    check(
        "api.example.com:443",
        &expect![[r#"
        api.example.com declares no port 443, only 80
        Pass
          looked up 10.0.0.1:443 TCP: no frontend, in no declared CIDR, and not in the range of automatic IPv4 addresses
          not redirected: the connect goes to 10.0.0.1:443
        Pass
          looked up [2001:db8::1]:443 TCP: no frontend, in no declared CIDR, and not in the range of automatic IPv6 addresses
          not redirected: the connect goes to [2001:db8::1]:443"#]],
    );
}

#[test]
fn an_unknown_host_suggests_the_likely_one() {
    check(
        "apo.example.com",
        &expect![[r#"
        no service declares apo.example.com, neither itself nor by a wildcard (3 hosts are declared): connects to its addresses are not redirected unless an address is declared
        did you mean api.example.com?"#]],
    );
}

#[test]
fn draws_follow_the_shares() {
    let explanation = explained(&[weighted()], "10.0.0.1:80", 40_000);
    let [connect] = &explanation.connects[..] else {
        panic!("{:?}", explanation.connects)
    };
    assert_eq!(connect.endpoints.len(), 2);
    assert_eq!(connect.distribution.len(), 2);
    for draws in &connect.distribution {
        let endpoint = connect.endpoints.iter();
        let mut endpoint = endpoint.filter(|e| e.address == draws.address && e.port == draws.port);
        let share = endpoint.next().unwrap().share;
        // More than four standard deviations.
        assert!((draws.fraction - share).abs() < 0.01, "{draws:?} {share}");
    }
}

#[test]
fn a_target_is_a_host_or_an_address_with_a_port() {
    for text in [
        "a.example.com",
        "a.example.com:80",
        "10.0.0.1:80",
        "[2001:db8::1]:80",
    ] {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
    }
    let mapped: Target = "[::ffff:10.0.0.1]:80".parse().unwrap();
    assert_eq!(mapped.to_string(), "10.0.0.1:80");
    let spelt: Target = "API.Example.com.".parse().unwrap();
    assert_eq!(spelt.to_string(), "api.example.com");
}

#[test]
fn a_malformed_target_is_told_what_it_lacks() {
    let error = |text: &str| text.parse::<Target>().unwrap_err().to_string();
    expect!["`10.0.0.1` lacks a port: write 10.0.0.1:443"].assert_eq(&error("10.0.0.1"));
    expect!["`2001:db8::1` lacks a port: write [2001:db8::1]:443"].assert_eq(&error("2001:db8::1"));
    expect!["`0` is not a port: a number from 1 to 65535 is"].assert_eq(&error("a.example.com:0"));
    assert!(matches!(
        "".parse::<Target>(),
        Err(TargetError::Malformed(_))
    ));
    // What is sent on must be read as the same: `a..` would be `a.` once, and then `a`.
    for text in ["a b", "a..", ".a", "a..b:80"] {
        assert!(
            matches!(text.parse::<Target>(), Err(TargetError::Malformed(_))),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn a_target_is_read_back_as_it_is_written(text in "\\PC{0,24}") {
        if let Ok(target) = text.parse::<Target>() {
            prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
        }
    }
}

const CLIENTS: &str = "\
apiVersion: shunt.internal/v1alpha1
kind: LocalWorkload
metadata: {name: s, namespace: shop}
spec: {cgroup: /shop/s}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: closed, namespace: shop}
spec: {outboundTrafficPolicy: {}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: shop}
spec:
  hosts: [a.shop]
  addresses: [10.5.0.1]
  exportTo: ['.']
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.6.0.1}]
";

/// The last step, or the only one, for that client.
fn explained_from(target: &str, from: Option<&str>) -> String {
    let objects = crate::api::decode("a.yaml", CLIENTS).objects;
    let mut state = state(&objects);
    let snapshot = std::sync::Arc::make_mut(&mut state.snapshot);
    for (path, id) in [("", 1), ("/shop", 2), ("/shop/s", 3)] {
        snapshot.cgroups.insert(path.into(), id);
    }
    state.compiled = std::sync::Arc::new(crate::compile::compile(snapshot));
    let found = explained_in(&state, target, from, 0);
    let last = found
        .connects
        .last()
        .and_then(|connect| connect.steps.last());
    format!(
        "{}; {}",
        found.steps.join(" "),
        last.cloned().unwrap_or_default()
    )
}

#[test]
fn each_client_has_an_explanation_of_its_own_which_names_what_denies() {
    let of = |from| explained_from("10.5.0.1:80", from);
    expect![[r"for clients that no LocalWorkload claims (see --from); not redirected: the connect goes to 10.5.0.1:80"]].assert_eq(&of(None));
    expect![[r"for LocalWorkload shop/s (a.yaml:1), whose cgroup is `/shop/s`; an endpoint is drawn for each connect; this one goes to 10.6.0.1:80"]].assert_eq(&of(Some("shop/s")));
    expect![[r"for the cgroup /shop/s/x, which is of LocalWorkload shop/s; an endpoint is drawn for each connect; this one goes to 10.6.0.1:80"]].assert_eq(&of(Some("/sys/fs/cgroup/shop/s/x")));
    expect![[r"for the cgroup /shop, which no LocalWorkload claims; not redirected: the connect goes to 10.5.0.1:80"]].assert_eq(&of(Some("/shop")));
    expect![[r"there is no LocalWorkload shop/t; known are: shop/s; "]]
        .assert_eq(&of(Some("shop/t")));
    expect![[r"for LocalWorkload shop/s (a.yaml:1), whose cgroup is `/shop/s`; the connect fails with EPERM: outboundTrafficPolicy of Sidecar shop/closed (a.yaml:6) is REGISTRY_ONLY"]]
        .assert_eq(&explained_from("192.0.2.1:80", Some("shop/s")));
}

//! The real agent on the real kernel: endpoints to which connects fail are left out, and come back.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;

use agent::dataplane::Dataplane;
use anyhow::Result;
use serde_json::{Value, json};
use tests::binary::shunt;
use tests::lab;
use tests::node::{ADDRESSES, Node, vip};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const ECONNREFUSED: i32 = 111;

fn rule(detection: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec:\n  host: a.test\n  \
         trafficPolicy:\n    outlierDetection: {{{detection}}}\n"
    )
}

/// A node that knows three endpoints and one at which nobody listens, by that rule.
fn node(rule: &str) -> Result<Option<(Node, SocketAddr)>> {
    if !Dataplane::has_compare_and_swap() {
        lab::skip("this kernel does not tell of failed connects");
        return Ok(None);
    }
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let mut entry = tests::node::entry("a.test", "STATIC", &ADDRESSES);
    // Nobody listens there.
    entry.push_str("  - {address: 10.9.0.1, ports: {http: 1}}\n");
    fs::write(node.config_dir().join("a.yaml"), entry + rule)?;
    node.start()?;
    let to = SocketAddr::new(vip(&node.state(), "a.test")?, 80);
    Ok(Some((node, to)))
}

#[test]
fn an_endpoint_that_refuses_is_left_out_after_the_failures_that_the_rule_says() -> Result<()> {
    let Some((mut node, to)) = node(&rule("consecutive5xxErrors: 5"))? else {
        return Ok(());
    };
    let mut failures = 0;
    for _ in 0..400 {
        if let Some(errno) = node.failure(to)? {
            assert_eq!(errno, ECONNREFUSED);
            failures += 1;
        }
    }
    println!("{failures} failed connects");
    assert!((5..20).contains(&failures), "{failures}");
    shows(&node, to, failures);
    Ok(())
}

/// What the commands say of it.
fn shows(node: &Node, to: SocketAddr, failures: u64) {
    let socket = node.socket();
    let ask = |words: &[&str]| {
        let ended = shunt(
            words
                .iter()
                .map(OsStr::new)
                .chain(["--socket".as_ref(), socket.as_os_str()]),
        );
        assert_eq!(ended.status, Some(0), "{ended:?}");
        ended
    };
    let endpoints = ask(&["get", "endpoints", "-o", "json"]).json();
    let endpoints = endpoints.as_array().expect("a list");
    let (out, rest): (Vec<&Value>, Vec<&Value>) = endpoints
        .iter()
        .partition(|endpoint| endpoint["health"] == "ejected");
    assert_eq!((out.len(), rest.len()), (1, ADDRESSES.len()));
    assert_eq!((&out[0]["port"], &out[0]["part"]), (&json!(1), &json!(0)));
    let ejection = &out[0]["ejection"];
    assert_eq!(
        (&ejection["count"], &ejection["failures"]),
        (&json!(1), &json!(5))
    );
    assert_eq!(ejection["failure"], "refused");
    let left = ejection["secondsLeft"].as_f64().expect("it is out");
    assert!(left > 0.0 && left <= 30.0, "{left}");
    assert_eq!(out[0]["outcomes"]["refused"], failures);
    let succeeded =
        |endpoint: &&Value| endpoint["outcomes"]["succeeded"].as_u64().expect("a count");
    assert_eq!(rest.iter().map(succeeded).sum::<u64>(), 400 - failures);
    assert_eq!(
        ask(&["status", "-o", "json"]).json()["health"]["ejected"],
        1
    );
    let explained = ask(&["explain", &to.to_string()]).stdout;
    assert!(
        explained.contains("ejects after 5 failed connects in a row"),
        "{explained}"
    );
    assert!(explained.contains("ejection 1, "), "{explained}");
}

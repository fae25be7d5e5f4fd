//! The real agent on the real kernel: endpoints to which connects fail are left out, and come back.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use agent::dataplane::Dataplane;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::binary::shunt;
use tests::lab::{self, ECONNREFUSED};
use tests::node::{ADDRESSES, Node, PATIENCE, ejected, vip};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

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
    let deadline = Instant::now() + PATIENCE;
    let mut connects = Connects::default();
    while ejected(&node.state()).is_empty() {
        connects.note(node.attempt(to)?);
        ensure!(
            Instant::now() < deadline,
            "nobody is left out: {connects:?}"
        );
    }
    assert!(connects.refused >= 5, "{connects:?}");
    let refused = connects.refused;
    for _ in 0..300 {
        connects.note(node.attempt(to)?);
    }
    assert_eq!(connects.refused, refused, "it is left out");
    shows(&node, to, &connects);
    Ok(())
}

/// What has become of connects.
#[derive(Debug, Default)]
struct Connects {
    succeeded: u64,
    refused: u64,
}

impl Connects {
    fn note(&mut self, outcome: Result<IpAddr, i32>) {
        match outcome {
            Ok(_) => self.succeeded += 1,
            Err(errno) => {
                assert_eq!(errno, ECONNREFUSED);
                self.refused += 1;
            }
        }
    }
}

/// What the commands say of it.
fn shows(node: &Node, to: SocketAddr, connects: &Connects) {
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
    assert_eq!(out[0]["outcomes"]["refused"], connects.refused);
    let succeeded =
        |endpoint: &&Value| endpoint["outcomes"]["succeeded"].as_u64().expect("a count");
    assert_eq!(rest.iter().map(succeeded).sum::<u64>(), connects.succeeded);
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

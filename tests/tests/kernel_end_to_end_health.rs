//! The real agent on the real kernel: endpoints to which connects fail are left out, and come back.

use std::fs;
use std::net::SocketAddr;

use agent::dataplane::Dataplane;
use anyhow::Result;
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
    Ok(())
}

//! Programs that go by names, unchanged and not configured, against the real agent, kernel and name servers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use tests::names::{NameNode, SERVER};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// A zone in which `other.test` is of no concern to us, and all else in `test` does not exist.
const ZONE: [&str; 2] = ["--local=/test/", "--host-record=other.test,10.9.0.9,60"];

#[test]
fn without_an_agent_names_are_what_the_server_says() -> Result<()> {
    let Some(mut node) = NameNode::new(CLIENT, &["dnsmasq", "dig"])? else {
        return Ok(());
    };
    node.start_server(SERVER, &ZONE)?;
    assert_eq!(node.resolve("other.test")?, addresses(&["10.9.0.9"]));
    assert_eq!(node.resolve("missing.test")?, addresses(&[]));
    let dig = node.run(&["dig", "+short", "other.test"])?;
    assert_eq!(dig.stdout, "10.9.0.9\n", "{dig:?}");
    assert!(node.asked(SERVER, "other.test")? >= 2);
    Ok(())
}

//! Programs that go by names, unchanged and not configured, against the real agent, kernel and name servers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::names::{NameNode, SERVER, wait};
use tests::node::entry;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const HOST: &str = "api.own.test";
const ENDPOINT: &str = "10.9.0.1:8080";
/// A zone in which `other.test` is of no concern to us, and what is not said does not exist.
const ZONE: [&str; 4] = [
    "--local=/test/",
    "--host-record=other.test,10.9.0.9,60",
    "--host-record=a.wild.test,10.9.0.2,1",
    "--host-record=a.dyn.test,10.9.0.1,1",
];

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// A node with a name server of others and an agent that knows [`HOST`]. It needs dnsmasq, and `programs`.
fn node(programs: &[&str]) -> Result<Option<NameNode>> {
    let programs = [&["dnsmasq"], programs].concat();
    let Some(mut node) = NameNode::new(CLIENT, &programs)? else {
        return Ok(None);
    };
    node.start_server(SERVER, &ZONE)?;
    node.serve(ENDPOINT)?;
    node.write("own.yaml", &entry(HOST, "STATIC", &["10.9.0.1"]))?;
    node.start_agent(&[])?;
    Ok(Some(node))
}

/// The automatic addresses of [`HOST`].
fn vips(node: &NameNode) -> Result<BTreeSet<IpAddr>> {
    let services = node.shunt(&["get", "services", "-o", "json"]).json();
    let services = services.as_array().context("a list")?;
    let service = services.iter().find(|service| service["host"] == HOST);
    let addresses = service.context("the service is there")?["vips"].as_array();
    let addresses = addresses.context("it has addresses")?.iter();
    addresses
        .map(|address| Ok(address.as_str().context("a string")?.parse()?))
        .collect()
}

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

#[test]
fn a_program_that_asks_the_c_library_reaches_the_endpoint() -> Result<()> {
    let Some(node) = node(&[])? else {
        return Ok(());
    };
    assert_eq!(node.resolve(HOST)?, vips(&node)?);
    assert_eq!(node.fetch("api.own.test:80")?, ENDPOINT.parse()?);
    assert_eq!(node.fetch("API.Own.test.:80")?, ENDPOINT.parse()?);
    // What is not ours is as it was.
    assert_eq!(node.resolve("other.test")?, addresses(&["10.9.0.9"]));
    assert_eq!(node.resolve("missing.test")?, addresses(&[]));
    Ok(())
}

#[test]
fn dig_sees_the_server_that_it_asked_over_either_transport() -> Result<()> {
    let Some(node) = node(&["dig"])? else {
        return Ok(());
    };
    for transport in ["+notcp", "+tcp"] {
        let dig = node.run(&["dig", transport, HOST, "A"])?;
        let said = &dig.stdout;
        ensure!(said.contains("SERVER: 10.9.0.53#53"), "{dig:?}");
        ensure!(said.contains("status: NOERROR"), "{dig:?}");
        ensure!(said.contains("flags: qr aa rd"), "{dig:?}");
        let answer = said.lines().find(|line| line.starts_with("api.own.test."));
        let answer: Vec<_> = answer.context("an answer")?.split_whitespace().collect();
        assert_eq!(answer[1..4], ["30", "IN", "A"]);
        ensure!(vips(&node)?.contains(&answer[4].parse()?), "{answer:?}");
    }
    // Other types of a host of ours are the server's to answer; but that there is no such host.
    let before = node.asked(SERVER, HOST)?;
    let https = node.run(&["dig", HOST, "HTTPS"])?;
    ensure!(https.stdout.contains("status: NOERROR"), "{https:?}");
    assert_eq!(node.asked(SERVER, HOST)?, before + 1);
    Ok(())
}

#[test]
fn the_resolver_of_musl_reaches_it_too() -> Result<()> {
    let Some(node) = node(&["musl-gcc"])? else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let program = folder.path().join("resolve");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/resolve.c");
    let built = Command::new("musl-gcc")
        .args(["-static", "-o"])
        .arg(&program)
        .arg(source)
        .status()?;
    ensure!(built.success(), "musl-gcc failed");
    let ended = node.run(&[program.to_str().context("ASCII")?, HOST])?;
    let found: BTreeSet<&str> = ended.stdout.lines().collect();
    let vips: Vec<String> = vips(&node)?.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        vips.iter().map(String::as_str).collect(),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn one_socket_that_asks_two_servers_for_both_families_tells_them_apart() -> Result<()> {
    let Some(mut node) = node(&[])? else {
        return Ok(());
    };
    node.start_server("10.9.0.54", &["--host-record=other.test,10.9.0.10,60"])?;
    let both = node.run(&[CLIENT, "both", "other.test", SERVER, "10.9.0.54"])?;
    let lines: BTreeSet<&str> = both.stdout.lines().collect();
    let expected = [
        "10.9.0.53:53 A 10.9.0.9",
        "10.9.0.53:53 AAAA",
        "10.9.0.54:53 A 10.9.0.10",
        "10.9.0.54:53 AAAA",
    ];
    assert_eq!(lines, expected.into(), "{both:?}");
    Ok(())
}

#[test]
fn a_stub_resolver_on_this_machine_is_asked_and_asks_its_own_servers() -> Result<()> {
    let Some(mut node) = node(&[])? else {
        return Ok(());
    };
    let upstream = format!("--server={SERVER}");
    node.start_server("127.0.0.53", &[&upstream, "--cache-size=0"])?;
    node.tell_of(&["127.0.0.53"])?;
    assert_eq!(node.resolve("other.test")?, addresses(&["10.9.0.9"]));
    assert_eq!(node.fetch("api.own.test:80")?, ENDPOINT.parse()?);
    assert!(node.asked("127.0.0.53", "other.test")? > 0);
    assert!(node.asked(SERVER, "other.test")? > 0);
    assert_eq!(node.resolve("missing.test")?, addresses(&[]));
    Ok(())
}

#[test]
fn names_of_ours_and_names_that_were_asked_before_outlive_the_server() -> Result<()> {
    let Some(mut node) = node(&["dig"])? else {
        return Ok(());
    };
    assert_eq!(node.resolve("other.test")?, addresses(&["10.9.0.9"]));
    node.stop_server();
    assert_eq!(node.fetch("api.own.test:80")?, ENDPOINT.parse()?);
    assert_eq!(node.resolve("other.test")?, addresses(&["10.9.0.9"]));
    let dig = node.run(&["dig", "+tries=1", "never-asked.example"])?;
    assert!(dig.stdout.contains("status: SERVFAIL"), "{dig:?}");
    Ok(())
}

#[test]
fn an_address_that_a_program_was_told_of_is_recognised_when_it_connects() -> Result<()> {
    let Some(mut node) = node(&[])? else {
        return Ok(());
    };
    let wild = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: wild}\nspec:\n  \
                hosts: ['*.wild.test']\n  ports: [{number: 8080, name: http, protocol: HTTP}]\n  resolution: NONE\n";
    node.serve("10.9.0.2:8080")?;
    node.write("wild.yaml", wild)?;
    wait("the entry is known", || {
        let services = node.shunt(&["get", "services"]);
        Ok(services.stdout.contains("*.wild.test"))
    })?;
    assert_eq!(node.fetch("a.wild.test:8080")?, "10.9.0.2:8080".parse()?);
    let explained = node.shunt(&["explain", "10.9.0.2:8080"]);
    assert!(explained.stdout.contains("*.wild.test"), "{explained:?}");
    let services = node.shunt(&["get", "services", "-o", "json"]).json();
    let services = services.as_array().context("a list")?;
    let wild = services
        .iter()
        .find(|service| service["host"] == "*.wild.test");
    assert_eq!(wild.context("the service is there")?["connects"], 1);
    Ok(())
}

#[test]
fn each_name_of_a_dynamic_host_has_an_automatic_address() -> Result<()> {
    let Some(node) = node(&[])? else {
        return Ok(());
    };
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: dyn}\nspec:\n  \
                 hosts: ['*.dyn.test']\n  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]\n  \
                 resolution: DYNAMIC_DNS\n";
    node.write("dyn.yaml", entry)?;
    wait("the entry is known", || {
        let objects = node.shunt(&["get", "objects"]);
        Ok(objects.stdout.contains("dyn"))
    })?;
    let found = node.resolve("a.dyn.test")?;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(!found.contains(&"10.9.0.1".parse()?), "{found:?}");
    assert_eq!(node.fetch("a.dyn.test:80")?, ENDPOINT.parse()?);
    // A name that does not exist is none.
    assert_eq!(node.resolve("b.dyn.test")?, addresses(&[]));
    Ok(())
}

#[test]
fn ten_thousand_names_have_an_address_each() -> Result<()> {
    const COUNT: usize = 10_000;
    let Some(node) = node(&["dig"])? else {
        return Ok(());
    };
    let (mut objects, mut names) = (String::new(), String::new());
    for number in 0..COUNT {
        objects += "---\n";
        objects += &entry(&format!("n{number}.own.test"), "STATIC", &["10.9.0.1"]);
        writeln!(names, "n{number}.own.test A")?;
    }
    let folder = TempDir::new()?;
    let list = folder.path().join("names");
    fs::write(&list, names)?;
    node.write("many.yaml", &objects)?;
    wait("the last of them is known", || {
        Ok(!node
            .resolve(&format!("n{}.own.test", COUNT - 1))?
            .is_empty())
    })?;
    let dig = node.run(&["dig", "+short", "-f", list.to_str().context("ASCII")?])?;
    let found: BTreeSet<&str> = dig.stdout.lines().collect();
    assert_eq!(found.len(), COUNT);
    Ok(())
}

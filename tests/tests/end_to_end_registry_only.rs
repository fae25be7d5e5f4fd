//! Programs, unchanged and not configured, where only what is registered may be reached: against the real agent, kernel and a name
//! server of others.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::names::{NameNode, SERVER, wait};
use tests::node::entry;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const HOST: &str = "api.own.test";
const ENDPOINT: &str = "10.9.0.1:8080";
const ZONE: [&str; 2] = ["--local=/test/", "--host-record=a.wild.test,10.9.7.7,60"];
/// Nothing names it.
const UNKNOWN: &str = "192.0.2.1";

/// A node with an agent that knows [`HOST`] and the names below `wild.test`, in this mode.
fn node(programs: &[&str], mode: &str) -> Result<Option<(NameNode, TempDir)>> {
    let programs = [&["dnsmasq"], programs].concat();
    let Some(mut node) = NameNode::new(CLIENT, &programs)? else {
        return Ok(None);
    };
    let folder = TempDir::new()?;
    let mesh = folder.path().join("mesh.yaml");
    std::fs::write(&mesh, "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")?;
    node.start_server(SERVER, &ZONE)?;
    node.serve(ENDPOINT)?;
    node.write("own.yaml", &entry(HOST, "STATIC", &["10.9.0.1"]))?;
    node.write(
        "wild.yaml",
        &entry("'*.wild.test'", "NONE", &[]).replace("name: '*.wild.test'", "name: wild"),
    )?;
    let mesh = mesh.to_str().context("a path of ASCII")?;
    node.start_agent(&["--mesh-config", mesh, &format!("--policy-mode={mode}")])?;
    Ok(Some((node, folder)))
}

/// How often connects to [`UNKNOWN`] with this port were denied, or audited.
fn told(node: &NameNode, protocol: &str, port: u16, outcome: &str) -> Result<u64> {
    let denials = node.shunt(&["get", "denials", "-o", "json"]).json();
    let denials = denials.as_array().context("a list")?.iter();
    let alike = denials.filter(|denial| {
        denial["destination"] == format!("{UNKNOWN}:{port}")
            && denial["protocol"] == protocol
            && denial["outcome"] == outcome
    });
    Ok(alike.filter_map(|denial| denial["count"].as_u64()).sum())
}

/// Waits until it was told of connects there.
fn wait_until_told(node: &NameNode, protocol: &str, port: u16, outcome: &str) -> Result<()> {
    wait(&format!("{protocol} to port {port} is told of"), || {
        Ok(told(node, protocol, port, outcome)? > 0)
    })
}

#[test]
fn curl_getent_and_dig_reach_what_is_registered_and_nothing_else() -> Result<()> {
    let Some((node, _folder)) = node(&["curl", "getent", "dig"], "enforce")? else {
        return Ok(());
    };
    let curl = |url: &str| {
        node.run(&[
            "curl",
            "--silent",
            "--verbose",
            "--http0.9",
            "--max-time",
            "5",
            url,
        ])
    };
    let found = curl("http://api.own.test/")?;
    ensure!(found.stdout.contains(ENDPOINT), "{found:?}");
    let denied = curl(&format!("http://{UNKNOWN}/"))?;
    ensure!(denied.status == Some(7), "{denied:?}");
    ensure!(
        denied.stderr.contains("Operation not permitted"),
        "{denied:?}"
    );
    wait_until_told(&node, "TCP", 80, "DENIED")?;
    let getent = node.run(&["getent", "ahosts", HOST])?;
    ensure!(
        getent.status == Some(0) && getent.stdout.contains("240.240."),
        "{getent:?}"
    );
    // A name that a wildcard covers is registered once it was asked for: its connect is let through, to where there is nothing.
    let wild = curl("http://a.wild.test/")?;
    ensure!(
        wild.status == Some(7) && !wild.stderr.contains("not permitted"),
        "{wild:?}"
    );
    // Not the port of name servers, so that nobody answers in its place.
    let dig = node.run(&[
        "dig",
        "+tries=1",
        "+time=1",
        "-p",
        "5353",
        &format!("@{UNKNOWN}"),
        HOST,
    ])?;
    ensure!(dig.status != Some(0), "{dig:?}");
    wait_until_told(&node, "UDP", 5353, "DENIED")?;
    let status = node.shunt(&["status"]);
    ensure!(status.stdout.contains("connects denied"), "{status:?}");
    Ok(())
}

#[test]
fn a_static_program_is_denied_as_any_other() -> Result<()> {
    let Some((node, folder)) = node(&["musl-gcc"], "enforce")? else {
        return Ok(());
    };
    let program = folder.path().join("connect");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/connect.c");
    let mut built = Command::new("musl-gcc");
    let built = built
        .args(["-static", "-o"])
        .arg(&program)
        .arg(source)
        .status()?;
    ensure!(built.success(), "musl-gcc failed");
    let program = program.to_str().context("a path of ASCII")?;
    for kind in ["tcp", "udp"] {
        let ended = node.run(&[program, kind, UNKNOWN, "9"])?;
        assert_eq!(
            ended.stdout.trim(),
            libc::EPERM.to_string(),
            "{kind} {ended:?}"
        );
        wait_until_told(&node, &kind.to_uppercase(), 9, "DENIED")?;
        // The node's own address, which nothing registers.
        let ended = node.run(&[program, kind, "10.9.0.1", "8080"])?;
        assert_eq!(ended.stdout.trim(), "0", "{kind} {ended:?}");
    }
    Ok(())
}

#[test]
fn in_an_audit_programs_are_told_of_and_go_on() -> Result<()> {
    let Some((node, _folder)) = node(&["curl"], "audit")? else {
        return Ok(());
    };
    let curl = node.run(&[
        "curl",
        "--silent",
        "--verbose",
        "--max-time",
        "5",
        &format!("http://{UNKNOWN}/"),
    ])?;
    ensure!(curl.status == Some(7), "{curl:?}");
    ensure!(curl.stderr.contains("unreachable"), "{curl:?}");
    wait_until_told(&node, "TCP", 80, "AUDITED")?;
    assert_eq!(told(&node, "TCP", 80, "DENIED")?, 0);
    Ok(())
}

#[test]
fn names_are_answered_as_each_workload_sees_them() -> Result<()> {
    let Some((node, _folder)) = node(&[], "enforce")? else {
        return Ok(());
    };
    let cgroup = node.cgroup.path().display().to_string();
    let hidden = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: h, namespace: shop}\nspec:\n  hosts: [hidden.shop.test]\n  exportTo: ['.']\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 10.9.0.1}]\n";
    node.write("hidden.yaml", hidden)?;
    wait("the entry is read", || {
        let objects = node.shunt(&["get", "objects"]);
        Ok(objects.stdout.contains("hidden.yaml"))
    })?;
    assert!(node.resolve("hidden.shop.test")?.is_empty());
    let workload = format!(
        "---\napiVersion: shunt.internal/v1alpha1\nkind: LocalWorkload\nmetadata: {{name: w, namespace: shop}}\nspec: {{cgroup: {cgroup}}}\n"
    );
    node.write("hidden.yaml", &(hidden.to_owned() + &workload))?;
    wait("the workload sees it", || {
        Ok(!node.resolve("hidden.shop.test")?.is_empty())
    })?;
    let workloads = node.shunt(&["get", "workloads", "-o", "json"]).json();
    assert_eq!(workloads[0]["outbound"], "REGISTRY_ONLY", "{workloads}");
    assert_eq!(workloads[0]["cgroups"].as_array().map(Vec::len), Some(1));
    let explained = node.shunt(&["explain", "hidden.shop.test:80", "--from", &cgroup]);
    ensure!(
        explained.stdout.contains("LocalWorkload shop/w"),
        "{explained:?}"
    );
    let denied = node.shunt(&["explain", "192.0.2.1:80", "--from", "shop/w"]);
    ensure!(denied.stdout.contains("EPERM"), "{denied:?}");
    Ok(())
}

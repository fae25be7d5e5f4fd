//! The real agent on the real kernel: workloads that are known by their cgroups see what is exported to them, and where only what
//! is registered may be reached, nothing else is.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use agent::api::OutboundPolicy;
use agent::observe::State;
use anyhow::{Context, Result};
use tests::cgroup::TemporaryCgroup;
use tests::clients::workload;
use tests::lab;
use tests::node::{ADDRESSES, Node, PORT};
use tests::sockets::Request;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Where both namespaces have a host of the same name.
const SHARED: &str = "10.7.7.7:80";
const NAMESPACES: [&str; 2] = ["shop", "pay"];

/// A host at [`SHARED`] that the namespace has for itself, with an endpoint.
fn private(namespace: &str, endpoint: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a, namespace: {namespace}}}\nspec:\n  \
         hosts: [a.test]\n  addresses: [10.7.7.7]\n  exportTo: ['.']\n  resolution: STATIC\n  \
         ports: [{{number: 80, name: tcp, protocol: TCP, targetPort: {PORT}}}]\n  endpoints: [{{address: {endpoint}}}]\n"
    )
}

/// Each namespace with its host, and with a workload at the cgroup of this name below that of the node.
fn write(node: &Node, cgroups: [&str; 2]) -> Result<()> {
    let mut text = String::new();
    for ((namespace, cgroup), endpoint) in NAMESPACES.into_iter().zip(cgroups).zip(ADDRESSES) {
        text += &private(namespace, endpoint);
        let spec = format!("cgroup: '{}/{cgroup}'", node.cgroup.path().display());
        text += &workload(namespace, "w", "", &spec);
    }
    Ok(fs::write(node.config_dir().join("a.yaml"), text)?)
}

fn enter(node: &mut Node, cgroup: &Path) -> Result<()> {
    node.client.order(&Request::JoinCgroup(cgroup.to_owned()))
}

fn address(number: usize) -> IpAddr {
    ADDRESSES[number].parse().expect("an address")
}

/// How many cgroups are known to be of another scope than the default one.
fn settled(state: &State) -> usize {
    let cgroups = &state.compiled.program.clients.cgroups;
    cgroups.values().filter(|scope| **scope != 0).count()
}

#[test]
fn workloads_reach_what_is_exported_to_them_wherever_their_processes_are_moved() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let outside = node.cgroup.path().to_owned();
    let below = |parent: &Path| TemporaryCgroup::below(parent);
    let first = below(&outside)?;
    let second = below(&outside)?;
    let names = [&first, &second].map(|cgroup| {
        let name = cgroup.path().file_name().expect("it has a name");
        name.to_string_lossy().into_owned()
    });
    write(&node, [&names[0], &names[1]])?;
    node.start()?;
    let to: SocketAddr = SHARED.parse()?;
    let cases = [(&first, 0), (&second, 1), (&first, 0)];
    for (cgroup, endpoint) in cases {
        enter(&mut node, cgroup.path())?;
        assert_eq!(node.attempt(to)?, Ok(address(endpoint)));
    }
    // A cgroup that comes later is of the workload around it at once.
    let nested = below(second.path())?;
    enter(&mut node, nested.path())?;
    assert_eq!(node.attempt(to)?, Ok(address(1)));
    node.wait_until("the new cgroup is known", |state| settled(state) == 3)?;
    assert_eq!(node.attempt(to)?, Ok(address(1)));
    // Clients that no workload claims see neither.
    enter(&mut node, &outside)?;
    assert_eq!(node.attempt(to)?, Err(lab::ENETUNREACH));
    drop(nested);
    node.wait_until("it is gone", |state| settled(state) == 2)?;
    Ok(())
}

#[test]
fn a_workload_is_known_when_its_cgroup_comes_and_when_its_object_does() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let outside = node.cgroup.path().to_owned();
    let to: SocketAddr = SHARED.parse()?;
    node.start()?;
    let first = TemporaryCgroup::below(&outside)?;
    write(&node, ["test-of-*", "nowhere"])?;
    node.wait_until("the workload is known", |state| settled(state) == 1)?;
    enter(&mut node, first.path())?;
    assert_eq!(node.attempt(to)?, Ok(address(0)));
    let late = TemporaryCgroup::below(&outside)?;
    node.wait_until("the new cgroup is known", |state| settled(state) == 2)?;
    enter(&mut node, late.path())?;
    assert_eq!(node.attempt(to)?, Ok(address(0)));
    // The other namespace takes it over.
    write(&node, ["nowhere", "test-of-*"])?;
    let deadline = std::time::Instant::now() + tests::node::PATIENCE;
    while node.attempt(to)? != Ok(address(1)) {
        anyhow::ensure!(
            std::time::Instant::now() < deadline,
            "it is still of the first namespace"
        );
    }
    enter(&mut node, &outside)?;
    Ok(())
}

#[test]
fn where_only_what_is_registered_may_be_reached_nothing_else_is() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let outside = node.cgroup.path().to_owned();
    let cgroup = TemporaryCgroup::below(&outside)?;
    let name = cgroup.path().file_name().context("it has a name")?;
    write(&node, [&name.to_string_lossy(), "nowhere"])?;
    node.mesh.outbound = OutboundPolicy::RegistryOnly;
    node.place.internal = vec![format!("{}/32", ADDRESSES[2]).parse()?];
    node.start()?;
    enter(&mut node, cgroup.path())?;
    let at = |number: usize| SocketAddr::new(address(number), PORT);
    assert_eq!(node.attempt(SHARED.parse()?)?, Ok(address(0)));
    assert_eq!(node.attempt(at(2))?, Ok(address(2)), "internal");
    for denied in ["192.0.2.1:80", "[2001:db8::1]:80", "10.7.7.7:81"] {
        assert_eq!(node.attempt(denied.parse()?)?, Err(libc::EPERM), "{denied}");
    }
    assert_eq!(
        node.attempt("127.0.0.1:1".parse()?)?,
        Err(lab::ECONNREFUSED)
    );
    // The same for clients that no workload claims.
    enter(&mut node, &outside)?;
    assert_eq!(node.attempt("192.0.2.1:80".parse()?)?, Err(libc::EPERM));
    assert_eq!(node.attempt(SHARED.parse()?)?, Err(libc::EPERM));
    Ok(())
}

#[test]
fn an_audit_lets_all_pass() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    node.mesh.outbound = OutboundPolicy::RegistryOnly;
    node.place.is_audited = true;
    node.start()?;
    assert_eq!(
        node.attempt("192.0.2.1:80".parse()?)?,
        Err(lab::ENETUNREACH)
    );
    let at = SocketAddr::new(address(0), PORT);
    assert_eq!(node.attempt(at)?, Ok(address(0)));
    Ok(())
}

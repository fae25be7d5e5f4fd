//! The real agent on the real kernel: with which rights it works, and which it keeps.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use tests::agent_process::AgentProcess;
use tests::binary::shunt;
use tests::both::{FIRST, SECOND, TCP_VIP, UDP_VIP, node, write};
use tests::cgroup;
use tests::confined::{Confinement, give};
use tests::lab;
use tests::node::{Node, PORT};
use tests::programs::at;
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// A user with nothing of its own.
const NOBODY: u32 = 65534;

/// `CAP_NET_ADMIN`, `CAP_PERFMON` and `CAP_BPF`, as the kernel writes them.
const NEEDED: &str = "000000c000001000";

fn three_rights(user: u32) -> Confinement {
    Confinement {
        user,
        capabilities: Some(["BPF", "NET_ADMIN", "PERFMON"].map(str::to_owned).into()),
        ..Confinement::default()
    }
}

/// Waits until a connect to the service reaches `address`.
fn wait_for(node: &mut Node, address: &str) -> Result<()> {
    node.wait_until_reached(at(TCP_VIP), address.parse()?)
}

fn only(value: &str) -> std::collections::BTreeSet<String> {
    [value.to_owned()].into()
}

/// Every thread may do so much, and none can get at more.
fn assert_keeps(agent: &AgentProcess, capabilities: &str) -> Result<()> {
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(agent.of_threads(set)?, only(capabilities), "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(agent.of_threads(set)?, only("0000000000000000"), "{set}");
    }
    assert_eq!(agent.of_threads("NoNewPrivs")?, only("1"));
    assert!(agent.threads()?.len() > 2, "threads are seen");
    Ok(())
}

#[test]
fn three_capabilities_are_enough_for_root_and_for_anybody() -> Result<()> {
    for user in [0, NOBODY] {
        let Some(mut node) = node(CLIENT)? else {
            return Ok(());
        };
        give(node.folder(), user)?;
        // What follows connections, and so needs most, is not to be had before Linux 5.12; the agent warns of what it lacks.
        let has_all = lab::has_compare_and_swap();
        let flags: &[&str] = if has_all { &["--sock-ops"] } else { &[] };
        let agent = AgentProcess::confined(&node, CLIENT, &three_rights(user), flags)?;
        assert_eq!(
            agent.of_threads("Uid")?,
            only(&format!("{user}\t{user}\t{user}\t{user}"))
        );
        assert_keeps(&agent, NEEDED)?;

        wait_for(&mut node, FIRST)?;
        write(&node, SECOND)?;
        wait_for(&mut node, SECOND)?;
        let socket = node.socket().display().to_string();
        let status = shunt(["status", "--socket", &socket, "-o", "json"]);
        assert_eq!(status.status, Some(0), "{status:?}");
        let log = agent.log();
        assert!(!log.contains("WARN") || !has_all, "{log}");
        assert!(!log.contains("ERROR"), "{log}");

        agent.stop()?;
        assert!(!node.bpf_dir().exists() && !node.socket().exists());
        node.wait_for_detachment(at(TCP_VIP))?;
    }
    Ok(())
}

#[test]
fn an_agent_that_starts_with_every_right_keeps_none_but_these() -> Result<()> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(());
    };
    let agent = AgentProcess::confined(&node, CLIENT, &Confinement::default(), &[])?;
    assert_keeps(&agent, NEEDED)?;
    wait_for(&mut node, FIRST)?;
    agent.stop()?;
    node.wait_for_detachment(at(TCP_VIP))
}

#[test]
fn a_right_is_kept_where_files_of_others_ask_for_it() -> Result<()> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(());
    };
    give(&node.config_dir(), NOBODY)?;
    fs::set_permissions(node.config_dir(), Permissions::from_mode(0o700))?;
    let agent = AgentProcess::confined(&node, CLIENT, &Confinement::default(), &[])?;
    // CAP_DAC_READ_SEARCH beside them.
    assert_keeps(&agent, "000000c000001004")?;
    let why = format!("{} cannot be read otherwise", node.config_dir().display());
    assert!(agent.log().contains(&why), "{}", agent.log());
    wait_for(&mut node, FIRST)?;
    write(&node, SECOND)?;
    wait_for(&mut node, SECOND)?;
    agent.stop()
}

#[test]
fn an_agent_goes_back_to_a_cgroup_that_only_a_right_lets_it_write_to() -> Result<()> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(());
    };
    // Somebody else is in it, so that the agent makes one below it, which takes the rights of its owner.
    let session = cgroup::TemporaryCgroup::new()?;
    give(session.path(), NOBODY)?;
    let neighbour = tests::client::Client::start(CLIENT, session.path())?;
    let confinement = Confinement {
        cgroup: Some(session.path().to_owned()),
        ..Confinement::default()
    };
    let agent = AgentProcess::confined(&node, CLIENT, &confinement, &[])?;
    // CAP_DAC_OVERRIDE beside them.
    assert_keeps(&agent, "000000c000001002")?;
    let own = agent.cgroup();
    assert!(own.exists());
    wait_for(&mut node, FIRST)?;
    agent.stop()?;
    assert!(!own.exists());
    drop(neighbour);
    Ok(())
}

/// An agent so confined, and a UDP socket that is connected to an endpoint which has just been removed.
fn after_removal(
    node: &mut Node,
    confinement: &Confinement,
    more: &[&str],
) -> Result<(AgentProcess, u32)> {
    let agent = AgentProcess::confined(node, CLIENT, confinement, more)?;
    let socket = node.client.connect(Transport::Udp, at(UDP_VIP))?.socket();
    node.client
        .expect_connected(socket, UDP_VIP, &format!("{FIRST}:{PORT}"))?;
    write(node, SECOND)?;
    wait_for(node, SECOND)?;
    Ok((agent, socket))
}

#[test]
fn sockets_beside_the_agent_are_closed_with_three_capabilities() -> Result<()> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(());
    };
    if !lab::can_close() {
        return Ok(());
    }
    let confinement = Confinement {
        beside: Some(node.client.id()),
        ..three_rights(0)
    };
    let (mut agent, socket) = after_removal(&mut node, &confinement, &[])?;
    agent.wait_for_log("closed sockets of a removed endpoint")?;
    assert_eq!(node.client.pending_error(socket)?, Some(libc::ECONNABORTED));
    agent.stop()
}

#[test]
fn sockets_in_other_network_namespaces_stay_and_the_log_says_what_is_missing() -> Result<()> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(());
    };
    if !lab::can_close() {
        return Ok(());
    }
    for confinement in [three_rights(0), Confinement::default()] {
        write(&node, FIRST)?;
        let (mut agent, socket) = after_removal(&mut node, &confinement, &[])?;
        agent.wait_for_log("start with --enter-namespaces")?;
        assert_eq!(node.client.pending_error(socket)?, None);
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn sockets_in_other_network_namespaces_are_closed_where_that_is_asked_for() -> Result<()> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(());
    };
    if !lab::can_close() {
        return Ok(());
    }
    let more = ["--enter-namespaces"];
    let (mut agent, socket) = after_removal(&mut node, &Confinement::default(), &more)?;
    // CAP_SYS_PTRACE and CAP_SYS_ADMIN beside them.
    assert_keeps(&agent, "000000c000281000")?;
    agent.wait_for_log("closed sockets of a removed endpoint")?;
    assert_eq!(node.client.pending_error(socket)?, Some(libc::ECONNABORTED));
    agent.stop()
}

/// The local addresses, as the kernel writes them, of sockets in a process's network namespace that anybody can reach.
fn listening(process: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}"))?;
        let rows = text
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        let open = rows.filter(|row| row[3] == state);
        found.extend(open.map(|row| row[1].split(':').next().unwrap_or_default().to_owned()));
    }
    Ok(found)
}

#[test]
fn nothing_listens_but_on_loopback() -> Result<()> {
    let Some(node) = node(CLIENT)? else {
        return Ok(());
    };
    let agent = AgentProcess::confined(&node, CLIENT, &three_rights(0), &[])?;
    let found = listening(agent.id())?;
    // 15 listeners of the name server, of each protocol.
    assert!(found.len() >= 30, "{found:?}");
    let is_loopback =
        |address: &String| address == "0100007F" || address == "00000000000000000000000001000000";
    assert!(found.iter().all(is_loopback), "{found:?}");
    agent.stop()
}

#[test]
fn a_port_below_1024_is_listened_on_and_the_right_to_it_kept() -> Result<()> {
    let Some(node) = node(CLIENT)? else {
        return Ok(());
    };
    let more = ["--dns-listen", "127.0.0.1:53"];
    let agent = AgentProcess::confined(&node, CLIENT, &Confinement::default(), &more)?;
    // CAP_NET_BIND_SERVICE beside them.
    assert_keeps(&agent, "000000c000001400")?;
    agent.stop()?;

    let denied = AgentProcess::confined(&node, CLIENT, &three_rights(0), &more).err();
    let denied = format!("{:?}", denied.expect("it does not start"));
    let why = "cannot listen on 127.0.0.1:53 without CAP_NET_BIND_SERVICE";
    assert!(denied.contains(why), "{denied}");
    Ok(())
}

#[test]
fn what_is_missing_is_named_before_anything_is_tried() -> Result<()> {
    let Some(node) = node(CLIENT)? else {
        return Ok(());
    };
    for left_out in ["BPF", "NET_ADMIN", "PERFMON"] {
        let mut confinement = three_rights(0);
        if let Some(capabilities) = &mut confinement.capabilities {
            capabilities.retain(|name| name != left_out);
        }
        let error = AgentProcess::confined(&node, CLIENT, &confinement, &[]).err();
        let error = format!("{:?}", error.expect("it does not start"));
        assert!(
            error.contains(&format!("`shunt run` needs CAP_{left_out}: ")),
            "{error}"
        );
    }
    assert!(!Path::new(&node.bpf_dir()).exists());
    Ok(())
}

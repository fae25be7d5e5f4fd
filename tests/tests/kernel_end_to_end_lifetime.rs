//! The real agent on the real kernel: what a start finds, and what is left when it ends in one way or another.

use std::fs;
use std::path::Path;

use agent::dataplane::mounts;
use agent::settings::OnExit;
use anyhow::{Context, Result};
use tests::agent_process::AgentProcess;
use tests::binary::shunt;
use tests::cgroup;
use tests::node::{Node, entry, vip};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const HOST: &str = "a.test";

/// A node without an agent, with one file.
fn node() -> Result<Option<Node>> {
    let node = Node::new(CLIENT)?;
    if let Some(node) = &node {
        let text = entry(HOST, "STATIC", &["10.9.0.1"]);
        fs::write(node.config_dir().join("a.yaml"), text)?;
    }
    Ok(node)
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(!folder.exists() || fs::read_dir(folder)?.next().is_none())
}

#[test]
fn a_host_keeps_its_vip_over_a_restart_whatever_came_before_it() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    node.start()?;
    let before = vip(&node.state(), HOST)?;
    node.stop()?;
    // The same files again, and others that are read first.
    for number in 0..50 {
        let host = format!("{number}.test");
        let text = entry(&host, "STATIC", &["10.9.0.2"]);
        fs::write(node.config_dir().join(format!("0-{number}.yaml")), text)?;
    }

    node.start()?;

    assert_eq!(vip(&node.state(), HOST)?, before);
    node.wait_for(HOST, &["10.9.0.1"])
}

#[test]
fn an_agent_that_is_stopped_leaves_no_pin_no_cgroup_and_no_socket() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let before = cgroup::present()?;
    node.start()?;
    let own = cgroup::present()?;
    let vip = (vip(&node.state(), HOST)?, 80).into();
    assert_eq!(node.failure(vip)?, None);
    assert!(node.socket().exists());
    assert!(!is_empty(&node.bpf_dir())?);

    node.stop()?;

    assert!(is_empty(&node.bpf_dir())?);
    assert!(!node.socket().exists());
    assert_eq!(cgroup::present()?, before);
    // Where this process shares its cgroup with none, the agent makes none.
    assert!(own == before || !own.exists());
    node.wait_for_detachment(vip)
}

#[test]
fn a_second_agent_is_refused_and_told_which_is_the_first() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    node.start()?;

    let second = shunt(["run".to_owned()].into_iter().chain(node.flags()));

    assert_ne!(second.status, Some(0), "{second:?}");
    let first = std::process::id().to_string();
    assert!(second.stderr.contains(&first), "{second:?}");
    node.wait_for(HOST, &["10.9.0.1"])
}

#[test]
fn what_a_killed_agent_left_stays_in_effect_until_cleanup_removes_it() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    node.start()?;
    let vip = (vip(&node.state(), HOST)?, 80).into();
    node.stop()?;
    let mut agent = AgentProcess::start(&node, &[])?;
    assert_eq!(node.failure(vip)?, None);

    agent.kill()?;

    assert!(agent.cgroup().exists());
    assert_eq!(node.failure(vip)?, None);
    let bpf_dir = node.bpf_dir().display().to_string();
    let cleanup = shunt(["cleanup", "--bpf-dir", &bpf_dir]);
    assert_eq!(cleanup.status, Some(0), "{cleanup:?}");
    assert!(is_empty(&node.bpf_dir())?, "{cleanup:?}");
    assert!(!agent.cgroup().exists(), "{cleanup:?}");
    node.wait_for_detachment(vip)
}

#[test]
fn an_agent_that_is_to_keep_its_programs_leaves_them_and_says_so_and_nothing_else() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    node.on_exit = OnExit::Keep;
    let before = cgroup::present()?;
    node.start()?;
    let vip = (vip(&node.state(), HOST)?, 80).into();

    node.stop()?;

    assert_eq!(node.failure(vip)?, None);
    assert!(!node.socket().exists());
    assert_eq!(cgroup::present()?, before);
    let bpf_dir = node.bpf_dir().display().to_string();
    let socket = node.socket().display().to_string();
    let status = shunt(["status", "--socket", &socket, "--bpf-dir", &bpf_dir]);
    assert_eq!(status.status, Some(69), "{status:?}");
    assert!(
        status.stderr.contains("still decide on connects"),
        "{status:?}"
    );
    node.start()?;
    node.wait_for(HOST, &["10.9.0.1"])?;
    node.stop()?;
    assert_eq!(shunt(["cleanup", "--bpf-dir", &bpf_dir]).status, Some(0));
    assert!(is_empty(&node.bpf_dir())?);
    node.wait_for_detachment(vip)
}

#[test]
fn cleanup_refuses_while_an_agent_runs_unless_it_is_to_stop_it() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    node.on_exit = OnExit::Keep;
    node.start()?;
    let vip = (vip(&node.state(), HOST)?, 80).into();
    node.stop()?;
    let agent = AgentProcess::start(&node, &[])?;
    let bpf_dir = node.bpf_dir().display().to_string();
    let refused = shunt(["cleanup", "--bpf-dir", &bpf_dir]);
    assert_ne!(refused.status, Some(0), "{refused:?}");
    assert!(
        refused.stderr.contains(&agent.id().to_string()),
        "{refused:?}"
    );
    assert_eq!(node.failure(vip)?, None);

    let stopped = shunt(["cleanup", "--stop", "--bpf-dir", &bpf_dir]);

    assert_eq!(stopped.status, Some(0), "{stopped:?}");
    assert!(is_empty(&node.bpf_dir())?);
    assert!(!node.socket().exists());
    node.wait_for_detachment(vip)
}

#[test]
fn an_agent_starts_where_another_was_killed() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let mut killed = AgentProcess::start(&node, &[])?;
    killed.kill()?;
    assert!(killed.cgroup().exists());

    node.start()?;

    assert!(!killed.cgroup().exists());
    node.wait_for(HOST, &["10.9.0.1"])
}

#[test]
fn exec_returns_the_status_of_its_command_and_leaves_no_cgroup() -> Result<()> {
    let Some(node) = node()? else {
        return Ok(());
    };
    let config = node.config_dir().display().to_string();
    let exec = |script: &str| shunt(["exec", "--config-dir", &config, "--", "sh", "-c", script]);

    let ended = exec("grep ^0:: /proc/self/cgroup; exit 7");

    assert_eq!(ended.status, Some(7), "{ended:?}");
    let within = ended
        .stdout
        .trim()
        .strip_prefix("0::/")
        .context("no cgroup")?;
    assert!(within.contains("shunt-exec-"), "{ended:?}");
    let mount = mounts::cgroup2().context("cgroup v2 is not mounted")?;
    assert!(!mount.join(within).exists());
    assert_eq!(exec("kill -TERM $$").status, Some(128 + 15));
    Ok(())
}

//! The running kernel: what `shunt check` proves of an agent, and what it says of cgroups that a machine lacks or hides.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use agent::dataplane::mounts;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::binary::{self, Ended, shunt};
use tests::bpffs::TemporaryBpffs;
use tests::cgroup::TemporaryCgroup;
use tests::lab;
use tests::neighbour::{Hook, Manner, Neighbour};
use tests::node::Node;
use tests::programs::at;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// `shunt check` against the agent of `node`.
fn check(node: &Node, more: &[&str]) -> Ended {
    let (socket, bpf_dir) = (node.socket(), node.bpf_dir());
    let mut line = vec!["check".into(), "-o".into(), "json".into()];
    line.extend(["--socket".into(), socket.into_os_string()]);
    line.extend(["--bpf-dir".into(), bpf_dir.into_os_string()]);
    line.extend(more.iter().map(Into::into));
    shunt(line)
}

/// The one check of that name.
fn named(ended: &Ended, name: &str) -> Result<Value> {
    let checks = ended.json();
    let checks = checks.as_array().context("an array")?;
    let found = checks.iter().find(|check| check["name"] == name);
    found
        .cloned()
        .with_context(|| format!("no {name}: {ended:?}"))
}

/// Whether the check has that state, and all of `words` in what it says.
fn expect(check: &Value, state: &str, words: &[&str]) {
    assert_eq!(check["state"], state, "{check}");
    for word in words {
        let is_said = ["detail", "remedy"].iter().any(|field| {
            check[field]
                .as_str()
                .is_some_and(|text| text.contains(word))
        });
        assert!(is_said, "{word}: {check}");
    }
}

fn children(cgroup: &Path) -> Result<usize> {
    let entries = fs::read_dir(cgroup)?;
    let folders = entries.filter(|entry| entry.as_ref().is_ok_and(|e| e.path().is_dir()));
    Ok(folders.count())
}

#[test]
fn a_canary_proves_that_connects_are_decided_by_the_agent() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let _other = Neighbour::attach(node.cgroup.path(), Hook::Connect6, Manner::Multi)?;
    node.start()?;

    let ended = check(&node, &[]);

    assert_eq!(ended.status, Some(0), "{ended:?}");
    let place = node.cgroup.path().display().to_string();
    let runs = [
        "connect4 runs shunt_connect4",
        "connect6 runs other_lb, then shunt_connect6",
        &place,
    ];
    expect(&named(&ended, "coverage")?, "ok", &runs);
    assert_eq!(children(node.cgroup.path())?, 0);
    Ok(())
}

#[test]
fn a_cgroup_outside_of_the_agents_is_not_covered() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    node.start()?;
    let outside = TemporaryCgroup::new()?;
    let place = outside.path().display().to_string();

    let ended = check(&node, &["--cgroup", &place]);

    assert_eq!(ended.status, Some(1), "{ended:?}");
    let why = ["no program of shunt is in effect there", "--cgroup", &place];
    expect(&named(&ended, "coverage")?, "failure", &why);
    assert!(ended.stderr.contains("does not decide"), "{ended:?}");
    assert_eq!(children(outside.path())?, 0);
    Ok(())
}

#[test]
fn a_canary_that_another_program_sends_elsewhere_is_not_covered() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let to = Some(at("127.0.0.1:9"));
    let place = node.cgroup.path();
    let _other = Neighbour::rewriting(place, Hook::Connect4, Manner::Link, to)?;
    node.start()?;

    let ended = check(&node, &[]);

    assert_eq!(ended.status, Some(1), "{ended:?}");
    let why = ["was not refused", "other_lb, then shunt_connect4"];
    expect(&named(&ended, "coverage")?, "failure", &why);
    Ok(())
}

#[test]
fn without_an_agent_there_is_nothing_to_prove() -> Result<()> {
    let Some(node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let ended = check(&node, &[]);
    expect(&named(&ended, "coverage")?, "ok", &["no agent is running"]);
    Ok(())
}

/// Runs an agent until it has attached, ends it, and gives what it logged.
fn start_and_stop(run: &mut Command) -> Result<String> {
    let mut agent = run.stderr(Stdio::piped()).spawn()?;
    let log = agent.stderr.take().context("stderr is a pipe")?;
    let mut log = BufReader::new(log);
    let mut said = String::new();
    while !said.contains("attached") && log.read_line(&mut said)? > 0 {}
    kill_process(Pid::from_child(&agent), Signal::TERM)?;
    log.read_to_string(&mut said)?;
    ensure!(agent.wait()?.success(), "{said}");
    Ok(said)
}

/// The binary in `cgroup`, after `script` in a mount namespace of its own. The script finds where cgroup v2 is mounted in
/// `$V2`. `namespaces` are flags of unshare(1).
fn hidden(cgroup: &Path, namespaces: &[&str], script: &str) -> Result<Command> {
    let mount = mounts::cgroup2()?;
    let own = binary::path();
    let script = format!("{script} && exec \"$@\"");
    let mut command = binary::command(["enter-cgroup".as_ref(), cgroup.as_os_str()]);
    command.env("V2", mount).args(["--", "unshare", "--mount"]);
    command.args(namespaces).args(["sh", "-ec", &script, "sh"]);
    command.arg(own);
    Ok(command)
}

#[test]
fn a_cgroup_namespace_is_told_with_what_it_leaves_uncovered() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let cgroup = TemporaryCgroup::new()?;
    let outside = shunt(["check", "-o", "json"]);
    expect(
        &named(&outside, "cgroup namespace")?,
        "ok",
        &["is the root"],
    );
    // As container runtimes do.
    let contained = || {
        let script = "umount -l $V2 && mount -t cgroup2 cgroup2 $V2";
        hidden(cgroup.path(), &["--cgroup"], script)
    };
    let id = format!("cgroup {}", cgroup.id()?);
    let why = [&id, "are not covered", "hostPath", "/proc/1/root"];

    let ended = contained()?.args(["check", "-o", "json"]).output()?.into();

    expect(&named(&ended, "cgroup namespace")?, "warning", &why);
    let bpffs = TemporaryBpffs::new()?;
    let folder = tempfile::tempdir()?;
    let log = start_and_stop(contained()?.args(["run", "--config-dir"]).args([
        folder.path(),
        "--bpf-dir".as_ref(),
        &bpffs.path().join("shunt"),
        "--state-dir".as_ref(),
        &folder.path().join("state"),
        "--socket".as_ref(),
        &folder.path().join("shunt.sock"),
    ]))?;
    for word in why {
        assert!(log.contains(word), "{word}: {log}");
    }
    Ok(())
}

#[test]
fn a_machine_that_shows_no_cgroup_v2_is_told_how_to_mount_it() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let cgroup = TemporaryCgroup::new()?;
    let script = "umount -l $V2";
    let what = if mounts::has_cgroup1() {
        "only cgroup v1 is"
    } else {
        "is not mounted"
    };

    let mut check = hidden(cgroup.path(), &[], script)?;
    let ended: Ended = check.args(["check", "-o", "json"]).output()?.into();

    assert_eq!(ended.status, Some(1), "{ended:?}");
    let why = [what, "mount -t cgroup2"];
    expect(&named(&ended, "cgroup v2")?, "failure", &why);
    for line in [
        &["run", "--config-dir", "/"][..],
        &["exec", "--config-dir", "/", "--", "true"],
    ] {
        let ended: Ended = hidden(cgroup.path(), &[], script)?
            .args(line)
            .output()?
            .into();
        assert_ne!(ended.status, Some(0), "{line:?}: {ended:?}");
        for word in why {
            assert!(ended.stderr.contains(word), "{line:?}: {ended:?}");
        }
    }
    Ok(())
}

#[test]
fn a_hybrid_mount_is_said_to_be_one() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let ended = shunt(["check", "-o", "json"]);
    let check = named(&ended, "cgroup v2")?;
    let is_said = check["detail"]
        .as_str()
        .is_some_and(|text| text.contains("hybrid"));
    assert_eq!(is_said, mounts::has_cgroup1(), "{check}");
    expect(&check, "ok", &[&mounts::cgroup2()?.display().to_string()]);
    Ok(())
}

#[test]
fn without_the_right_to_load_programs_nothing_is_said_of_the_kernel() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    // In a user namespace without users, rights over the machine are gone, and access to files is not.
    let mut check = Command::new("unshare");
    check.arg("--user").arg(binary::path());
    let ended: Ended = check.args(["check", "-o", "json"]).output()?.into();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    for name in ["compare-and-swap", "bpf_set_retval"] {
        expect(&named(&ended, name)?, "warning", &["not tried", "as root"]);
    }
    expect(&named(&ended, "neighbours")?, "warning", &["as root"]);
    Ok(())
}

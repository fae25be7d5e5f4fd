//! The real agent on the real kernel: who is answered on the control socket, and what others see of its files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tests::agent_process::AgentProcess;
use tests::binary::Ended;
use tests::confined::Confinement;
use tests::node::{Node, PATIENCE, entry};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// The group that the socket is given to, and a user of which it is not the first group.
const GROUP: u32 = 54_321;
const USER: u32 = 54_322;
const OTHER_GROUP: u32 = 54_323;

const NO_PERMISSION: i32 = 77;

fn mode(path: &Path) -> Result<u32> {
    let metadata = fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.permissions().mode() & 0o7777)
}

/// How `shunt status` ends for a user who is in `groups`.
fn ask(node: &Node, user: u32, groups: &[u32]) -> Result<Ended> {
    let confinement = Confinement {
        user,
        groups: groups.to_vec(),
        ..Confinement::default()
    };
    let output = Command::new(CLIENT)
        .args(["as", &serde_json::to_string(&confinement)?])
        .arg(node.program()?)
        .args(["status", "--socket"])
        .arg(node.socket())
        .output()?;
    Ok(output.into())
}

fn node() -> Result<Option<Node>> {
    let Some(node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let text = entry("a.test", "STATIC", &["10.9.0.1"]);
    fs::write(node.config_dir().join("a.yaml"), text)?;
    // Whoever is refused is refused by the socket, and not by the folder that it is in.
    fs::set_permissions(node.folder(), Permissions::from_mode(0o711))?;
    Ok(Some(node))
}

#[test]
fn members_of_the_sockets_group_are_answered_and_others_are_refused() -> Result<()> {
    let Some(node) = node()? else {
        return Ok(());
    };
    let agent = AgentProcess::confined(&node, CLIENT, &Confinement::default(), &[])?;
    assert_eq!(mode(&node.socket())?, 0o660);
    assert_eq!(ask(&node, 0, &[])?.status, Some(0));
    assert_eq!(ask(&node, USER, &[GROUP])?.status, Some(NO_PERMISSION));

    chown(node.socket(), None, Some(GROUP))?;

    assert_eq!(ask(&node, USER, &[GROUP])?.status, Some(0));
    assert_eq!(ask(&node, GROUP, &[])?.status, Some(0));
    let refused = ask(&node, USER, &[OTHER_GROUP])?;
    assert_eq!(refused.status, Some(NO_PERMISSION), "{refused:?}");
    assert!(!agent.log().contains("refused a client"), "by the kernel");
    agent.stop()
}

#[test]
fn a_socket_that_is_opened_to_all_is_not_for_all() -> Result<()> {
    let Some(node) = node()? else {
        return Ok(());
    };
    let mut agent = AgentProcess::confined(&node, CLIENT, &Confinement::default(), &[])?;
    chown(node.socket(), None, Some(GROUP))?;
    fs::set_permissions(node.socket(), Permissions::from_mode(0o666))?;

    let refused = ask(&node, USER, &[OTHER_GROUP])?;

    assert_eq!(refused.status, Some(NO_PERMISSION), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
    agent.wait_for_log("refused a client")?;
    assert_eq!(ask(&node, USER, &[OTHER_GROUP, GROUP])?.status, Some(0));
    agent.stop()
}

#[test]
fn what_the_agent_writes_is_its_own_to_read() -> Result<()> {
    let Some(node) = node()? else {
        return Ok(());
    };
    let agent = AgentProcess::confined(&node, CLIENT, &Confinement::default(), &[])?;
    let file = node.state_dir().join("vips.json");
    assert_eq!(mode(&node.state_dir())?, 0o700);
    assert_eq!(mode(&node.bpf_dir())?, 0o700);
    // Nothing half-written is beside them.
    let written = fs::read_dir(node.state_dir())?;
    let mut names = Vec::new();
    for entry in written {
        let path = entry?.path();
        assert_eq!(mode(&path)?, 0o600, "{}", path.display());
        names.extend(path.file_name().map(ToOwned::to_owned));
    }
    names.sort();
    assert_eq!(names, ["kept.redb", "last-good.redb", "vips.json"]);
    // A file that is replaced is another one: whoever reads has all of the old one or all of the new one.
    let before = fs::metadata(&file)?.ino();
    let text = entry("b.test", "STATIC", &["10.9.0.1"]);
    // Held open, lest its number is given to the next.
    let open = fs::File::open(&file)?;
    fs::write(node.config_dir().join("b.yaml"), text)?;
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(&file)?.ino() == before {
        ensure!(Instant::now() < deadline, "the file is not replaced");
        thread::yield_now();
    }
    drop(open);
    assert_eq!(mode(&file)?, 0o600);
    agent.stop()
}

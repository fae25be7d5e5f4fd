//! The real agent on the real kernel: from the ways in which files change to where sockets go.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use agent::api::Severity;
use anyhow::Result;
use tests::lab::{self, ECONNREFUSED, ENETUNREACH};
use tests::node::{Node, endpoints, entry, vip};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const HOST: &str = "a.test";

fn at(addresses: &[&str]) -> String {
    entry(HOST, "STATIC", addresses)
}

/// A running agent with one file, `a.yaml`.
fn node() -> Result<Option<Node>> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    fs::write(node.config_dir().join("a.yaml"), at(&["10.9.0.1"]))?;
    node.start()?;
    node.wait_for(HOST, &["10.9.0.1"])?;
    Ok(Some(node))
}

#[test]
fn a_file_takes_effect_however_it_is_saved() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let file = node.config_dir().join("a.yaml");

    fs::write(&file, at(&["10.9.0.2"]))?;
    node.wait_for(HOST, &["10.9.0.2"])?;

    let beside = node.config_dir().join(".a.yaml.swp");
    fs::write(&beside, at(&["10.9.0.2", "10.9.0.3"]))?;
    fs::rename(&beside, &file)?;
    node.wait_for(HOST, &["10.9.0.2", "10.9.0.3"])
}

#[test]
fn a_config_map_that_is_swapped_takes_effect_whole() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let dir = node.config_dir();
    let publish = |version: &str, addresses: &[&str]| -> Result<()> {
        fs::create_dir(dir.join(version))?;
        fs::write(dir.join(version).join("a.yaml"), at(addresses))?;
        symlink(version, dir.join("..data_tmp"))?;
        fs::rename(dir.join("..data_tmp"), dir.join("..data"))?;
        Ok(())
    };
    publish("..1", &["10.9.0.1"])?;
    symlink("..data/a.yaml", dir.join("a.yaml"))?;
    node.start()?;
    node.wait_for(HOST, &["10.9.0.1"])?;

    publish("..2", &["10.9.0.2"])?;
    fs::remove_dir_all(dir.join("..1"))?;

    node.wait_for(HOST, &["10.9.0.2"])
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_objects_and_says_where_it_is_broken() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let file = node.config_dir().join("a.yaml");

    fs::write(&file, at(&["10.9.0.2"]) + "  - {address: [\n")?;

    let state = node.wait_until("the file is broken", |state| {
        let mut errors = state
            .diagnostics()
            .filter(|d| d.severity == Severity::Error);
        errors.any(|d| d.file == file.display().to_string() && d.line >= 10)
    })?;
    assert_eq!(endpoints(&state, HOST), ["10.9.0.1".parse()?].into());
    node.wait_for(HOST, &["10.9.0.1"])?;

    fs::write(&file, at(&["10.9.0.3"]))?;
    node.wait_for(HOST, &["10.9.0.3"])?;
    assert_eq!(node.state().diagnostics().count(), 0);
    Ok(())
}

#[test]
fn a_file_that_is_deleted_takes_its_objects_with_it() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let own = "  addresses: [192.0.2.80]\n";
    fs::write(
        node.config_dir().join("b.yaml"),
        entry("b.test", "STATIC", &["10.9.0.2"])
            .replace("  resolution", &format!("{own}  resolution")),
    )?;
    node.wait_until("b.test is there", |state| {
        !endpoints(state, "b.test").is_empty()
    })?;
    let own: SocketAddr = "192.0.2.80:80".parse()?;
    assert_eq!(node.failure(own)?, None);
    let automatic = SocketAddr::new(vip(&node.state(), HOST)?, 80);

    fs::remove_file(node.config_dir().join("a.yaml"))?;
    fs::remove_file(node.config_dir().join("b.yaml"))?;

    node.wait_until("no object is left", |state| {
        state.snapshot.objects.is_empty()
    })?;
    assert_eq!(node.failure(automatic)?, Some(lab::refusal(ECONNREFUSED)));
    assert_eq!(node.failure(own)?, Some(ENETUNREACH));
    Ok(())
}

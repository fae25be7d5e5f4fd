//! The real agent on the real kernel: what somebody else changes of its maps is found and mended, and nothing else is.

use std::fs;
use std::time::Duration;

use agent::model::Fact;
use agent::settings::OnExit;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::binary::{Ended, shunt};
use tests::clients::workload;
use tests::node::{Node, entry};
use tests::pins::Map;
use tests::programs::at;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Where the entry of [`node`] is, once by an address and once by a CIDR.
const BY_ADDRESS: &str = "10.7.7.7:80";
const BY_CIDR: &str = "10.8.1.1:80";
const ENDPOINT: &str = "10.9.0.1";

/// A running agent with an entry, and with workloads and what they may reach.
fn node() -> Result<Option<Node>> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let text = format!(
        "{}  addresses: [10.7.7.7, 10.8.0.0/16]\n",
        entry("a.test", "STATIC", &[ENDPOINT])
    );
    fs::write(node.config_dir().join("a.yaml"), text)?;
    let spec = format!("cgroup: '{}/sub'", node.cgroup.path().display());
    let objects = workload("shop", "w", "", &spec)
        + "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\n\
           spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['*/*']}]}\n";
    fs::write(node.config_dir().join("w.yaml"), objects)?;
    node.start()?;
    Ok(Some(node))
}

fn verify(node: &Node) -> Ended {
    let socket = node.socket().display().to_string();
    shunt(["verify", "-o", "json", "--socket", &socket])
}

/// Holds that all is as it should be, for maps and for clients.
fn expect_clean(node: &mut Node) -> Result<()> {
    let ended = verify(node);
    ensure!(ended.status == Some(0), "{ended:?}");
    ensure!(
        ended.json()["found"] == Value::Array(Vec::new()),
        "{ended:?}"
    );
    expect_reached(node)
}

fn expect_reached(node: &mut Node) -> Result<()> {
    for to in [BY_ADDRESS, BY_CIDR] {
        let reached = node.attempt(at(to))?;
        ensure!(
            reached == Ok(at(&format!("{ENDPOINT}:1")).ip()),
            "{to}: {reached:?}"
        );
    }
    Ok(())
}

/// Holds that `damage` of a map is found as that, and mended.
fn expect_found(
    node: &mut Node,
    map: &str,
    deviation: &str,
    damage: impl FnOnce(&Map) -> Result<()>,
) -> Result<()> {
    damage(&Map::open(&node.bpf_dir(), map)?).with_context(|| format!("damaging {map}"))?;
    let ended = verify(node);
    ensure!(ended.status == Some(1), "{map} {deviation}: {ended:?}");
    let view = ended.json();
    let parts = view["parts"].as_array().context("parts are listed")?;
    let part = parts.iter().find(|part| part["name"] == map);
    let part = part.context("the part is listed")?;
    ensure!(
        part[deviation].as_u64() > Some(0),
        "{map} {deviation}: {view}"
    );
    ensure!(
        part["failed"] == 0 && part["repaired"].as_u64() > Some(0),
        "{view}"
    );
    expect_clean(node).with_context(|| format!("{map} {deviation}"))
}

fn first<const N: usize>(map: &Map) -> Result<[u8; N]> {
    map.keys()?
        .into_iter()
        .next()
        .context("the map holds something")
}

fn remove_all<const N: usize>(map: &Map) -> Result<()> {
    map.keys::<N>()?
        .iter()
        .try_for_each(|key| Ok(map.remove(key)?))
}

#[test]
fn whatever_is_changed_in_the_maps_is_found_and_mended_by_verify() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    expect_clean(&mut node)?;
    expect_found(&mut node, "FRONTENDS", "missing", remove_all::<24>)?;
    expect_found(&mut node, "FRONTENDS", "changed", |map| {
        map.keys::<24>()?
            .iter()
            .try_for_each(|key| Ok(map.set(key, &[9; 8])?))
    })?;
    expect_found(&mut node, "FRONTENDS", "foreign", |map| {
        let mut key = first::<24>(map)?;
        key[16] ^= 1;
        Ok(map.set(&key, &[9; 8])?)
    })?;
    expect_found(&mut node, "PREFIXES", "missing", remove_all::<20>)?;
    expect_found(&mut node, "PREFIXES", "changed", |map| {
        Ok(map.set(&first::<20>(map)?, &77u32.to_ne_bytes())?)
    })?;
    expect_found(&mut node, "PREFIXES", "foreign", |map| {
        Ok(map.set(&prefix([10, 7, 7, 0], 24), &1u32.to_ne_bytes())?)
    })?;
    expect_found(&mut node, "EXEMPT", "foreign", |map| {
        Ok(map.set(&prefix([192, 0, 2, 0], 24), &1u32.to_ne_bytes())?)
    })?;
    expect_found(&mut node, "SCOPES", "foreign", |map| {
        Ok(map.set(&1u64.to_ne_bytes(), &1u64.to_ne_bytes())?)
    })?;
    expect_found(&mut node, "CONFIG", "changed", |map| {
        Ok(map.set(&0u32.to_ne_bytes(), &[0; 96])?)
    })?;
    expect_found(&mut node, "IDENTITIES", "missing", |map| {
        Ok(map.set(&0u32.to_ne_bytes(), &[0; 32])?)
    })?;
    expect_found(&mut node, "CAPTURE", "changed", |map| {
        Ok(map.set(&0u32.to_ne_bytes(), &[0; 80])?)
    })
}

/// A key of a trie.
fn prefix(base: [u8; 4], bits: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&(96 + bits).to_ne_bytes());
    key[14..16].fill(0xff);
    key[16..].copy_from_slice(&base);
    key
}

#[test]
fn a_group_that_was_written_over_is_put_elsewhere() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let frontends = Map::open(&node.bpf_dir(), "FRONTENDS")?;
    let group = |frontends: &Map| -> Result<u32> {
        let word: [u8; 8] = frontends.get(&first::<24>(frontends)?)?;
        let [a, b, c, d, ..] = word;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    };
    let before = group(&frontends)?;
    expect_found(&mut node, "ARENA", "changed", |arena| {
        Ok(arena.set(&(before + 1).to_ne_bytes(), &[0; 32])?)
    })?;
    assert_ne!(group(&frontends)?, before);
    // What was done is shown afterwards, too.
    let status = node.status()?;
    let what = &status["drift"]["repairs"][0]["what"];
    assert_eq!(what, "the endpoints of default/a.test:80", "{status}");
    assert_eq!(status["degraded"], false, "{status}");
    Ok(())
}

/// Other shares for the second of two endpoints of `b.test` in each turn, and in every third none.
fn turn(node: &Node, turn: u32) -> Result<()> {
    let addresses: &[&str] = if turn.is_multiple_of(3) {
        &["10.9.0.2"]
    } else {
        &["10.9.0.2", "10.9.0.3"]
    };
    let weighted = format!("10.9.0.3, weight: {}", turn + 1);
    let text = entry("b.test", "STATIC", addresses).replace("10.9.0.3", &weighted);
    Ok(fs::write(node.config_dir().join("b.yaml"), text)?)
}

/// Somebody was told of a name that the wildcard covers.
fn learned(turn: u8) -> Fact {
    Fact::Learned {
        name: "a.w.test".into(),
        addresses: vec![[192, 0, 2, turn].into()],
        ttl: Duration::from_secs(30),
    }
}

#[test]
fn nothing_is_found_while_objects_names_and_sockets_come_and_go_and_agents_are_restarted()
-> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let wildcard = entry("w", "NONE", &[]).replace("hosts: [w]", "hosts: ['*.w.test']");
    fs::write(node.config_dir().join("n.yaml"), wildcard)?;
    node.wait_until("the wildcard is there", |state| {
        let services = &state.compiled.program.services;
        services.keys().any(|key| &*key.host == "*.w.test")
    })?;
    for restart in 0..3 {
        for number in 0..6 {
            turn(&node, number.into())?;
            node.teach(learned(number))?;
            fs::create_dir(node.cgroup.path().join("sub")).ok();
            expect_clean(&mut node)?;
            fs::remove_dir(node.cgroup.path().join("sub")).ok();
            expect_clean(&mut node)?;
        }
        node.on_exit = if restart == 0 {
            OnExit::Keep
        } else {
            OnExit::Detach
        };
        node.stop()?;
        node.start()?;
        expect_clean(&mut node)?;
    }
    let status = node.status()?;
    assert_eq!(status["drift"]["repaired"], 0, "{status}");
    Ok(())
}

//! From saving a file to the first connects that go where it says now: the real agent, a real file, real sockets.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::interrupt;
use tests::node::{Node, entry};

use crate::setting::Effort;
use crate::statistics::median;
use crate::table::{Budget, Table};

const HOST: &str = "effect.test";
const ADDRESSES: [&str; 2] = ["10.9.0.1", "10.9.0.2"];
/// What comes later never comes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<()> {
    let client = std::env::current_exe()?.with_file_name("client");
    let mut node = Node::new(client)?.context("the kernel programs cannot run here")?;
    let directory = node.config_dir();
    save(&directory, ADDRESSES[0])?;
    node.start()?;
    node.wait_for(HOST, &ADDRESSES[..1])?;
    let mut times = Vec::new();
    for turn in 1..=effort.rounds() {
        interrupt::check()?;
        let address = ADDRESSES[turn % ADDRESSES.len()];
        let wanted = [address.parse()?].into();
        let start = Instant::now();
        save(&directory, address)?;
        while node.reached(HOST)? != wanted {
            ensure!(start.elapsed() < PATIENCE, "a saved file has no effect");
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    node.stop()?;
    table.figure(
        "from saving a file to 64 connects in a row that follow it",
        median(times),
        "ms",
        Budget::None,
    );
    Ok(())
}

/// As careful editors do: beside it, then over it.
fn save(directory: &Path, address: &str) -> Result<()> {
    let beside = directory.join(".new");
    fs::write(&beside, entry(HOST, "STATIC", &[address]))?;
    fs::rename(beside, directory.join("effect.yaml")).context("saving a file")
}

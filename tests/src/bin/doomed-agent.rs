//! An agent that is killed: attaches to the cgroup of its second argument, pinned under its first, and aborts.

use std::path::PathBuf;
use std::process;

use agent::compile::Program;
use agent::dataplane::{Dataplane, LoadOptions};
use agent_common::abi::UDP;
use anyhow::{Context, Result};
use tests::lab;
use tests::programs::{at, balance, frontend};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let bpf_dir = arguments.next().context("which directory for pins?")?;
    let cgroup = arguments.next().context("which cgroup?")?;
    let mut dataplane = Dataplane::load(&LoadOptions {
        limits: lab::limits(),
        bpf_dir: Some(bpf_dir),
        ..LoadOptions::default()
    })?;
    let mut program = Program::default();
    let to = [(at("10.9.0.1:53"), 1)];
    balance(
        &mut program,
        "a.test",
        frontend(at("240.240.0.1:53"), UDP),
        &to,
    );
    dataplane.apply(&program);
    dataplane.attach(&[cgroup])?;
    process::abort();
}

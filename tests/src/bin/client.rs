//! A client process of the kernel tests: joins the cgroup named by its argument and a network namespace of its own, then
//! answers requests, one JSON line each.
//!
//! Called as `client connect ADDRESS` it only connects its standard input; as `client in CGROUP RESOLV_CONF COMMAND…` it
//! becomes that command, as a program that finds its name servers in that file; as `client as CONFINEMENT COMMAND…` one that may
//! do no more than that; the other words make it such a program.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process;

use anyhow::{Context, Result};
use tests::askers::{ask_both, ask_on, become_program, fetch, resolve};
use tests::confined::become_confined;
use tests::sockets::{Sockets, connect_standard_input};
use tests::{cgroup, netns};

fn main() -> Result<()> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map_while(|word| word.to_str()).collect();
    match words[..] {
        ["connect", to] => process::exit(connect_standard_input(to.parse()?)),
        ["in", group, servers, program, ..] => {
            become_program(group.as_ref(), servers.as_ref(), program, &arguments[4..])
        }
        ["as", confinement, ..] => {
            become_confined(&serde_json::from_str(confinement)?, &arguments[2..])
        }
        ["resolve", name] => resolve(name),
        ["ask-on", name] => ask_on(name),
        ["both", name, ref servers @ ..] => ask_both(name, servers),
        ["fetch", at] => fetch(at),
        _ => answer(arguments.first().context("which cgroup?")?.as_ref()),
    }
}

fn answer(group: &Path) -> Result<()> {
    cgroup::join(group)?;
    netns::isolate()?;
    let mut sockets = Sockets::default();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let reply = sockets.answer(serde_json::from_str(&line?)?);
        writeln!(output, "{}", serde_json::to_string(&reply)?)?;
        output.flush()?;
    }
    Ok(())
}

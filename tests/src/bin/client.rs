//! A client process of the kernel tests: joins the cgroup named by its argument and a network namespace of its own, then
//! answers requests, one JSON line each. Called as `client connect ADDRESS` it only connects its standard input.

use std::env;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process;

use anyhow::{Context, Result};
use tests::sockets::{Sockets, connect_standard_input};
use tests::{cgroup, netns};

fn main() -> Result<()> {
    let group = env::args_os().nth(1).context("which cgroup?")?;
    if group == "connect" {
        let to = env::args().nth(2).context("connect where?")?;
        process::exit(connect_standard_input(to.parse()?));
    }
    cgroup::join(Path::new(&group))?;
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

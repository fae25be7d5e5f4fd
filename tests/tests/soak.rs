//! The soak, for some seconds: that it runs, judges and leaves nothing behind.

use std::process::Command;

use anyhow::{Result, ensure};
use tests::lab;

const SOAK: &str = env!("CARGO_BIN_EXE_soak");

#[test]
fn some_seconds_of_everything_at_random_lose_nothing() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let output = Command::new(SOAK)
        .args(["--minutes=0.05", "--seed=1", "--verbose"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}\n{errors}");
    ensure!(said.contains("| **failed** | 0 |"), "{said}");
    Ok(())
}

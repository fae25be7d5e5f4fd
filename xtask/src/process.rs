//! Starting other programs: what is shown of them, and what they inherit.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tree;

/// The cargo that started us, working at the top of the tree.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree::root());
    cargo
}

/// Takes away what the cargo and rustup around us have put into the environment, so that another toolchain is not led
/// astray by it. What says where to download from and where to keep it stays.
pub(crate) fn forget_toolchain(command: &mut Command) -> &mut Command {
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    const ALSO: [&str; 2] = ["LD_LIBRARY_PATH", "RUST_RECURSION_COUNT"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let kept = KEPT.iter().any(|prefix| name.starts_with(prefix));
        let toolchain = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if toolchain && !kept || ALSO.contains(&name.as_ref()) {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// Shows the command, runs it in the foreground, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", program(command));
    }
    Ok(())
}

/// What a short command prints, or `None` if it is missing or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a long command with its output in `log`: shows the time that passes, and the end of the log if it fails.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    eprintln!("  $ {}", shown(command));
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start {}", program(command)))?;
    let terminal = io::stderr().is_terminal();
    let mut told = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let seconds = started.elapsed().as_secs();
        if seconds >= told + if terminal { 1 } else { 30 } {
            told = seconds;
            tell_elapsed(terminal, seconds);
        }
        thread::sleep(Duration::from_millis(50));
    };
    if terminal && told > 0 {
        eprint!("\r\x1b[K");
    }
    if status.success() {
        eprintln!("  done in {} s", started.elapsed().as_secs());
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(20)..] {
        eprintln!("  | {line}");
    }
    bail!(
        "{} failed ({status}); all it said is in {}",
        program(command),
        log.display()
    );
}

fn tell_elapsed(terminal: bool, seconds: u64) {
    if terminal {
        eprint!("\r  {seconds} s");
        // Only a progress line: if it cannot be shown, nothing is lost.
        io::stderr().flush().ok();
    } else {
        eprintln!("  {seconds} s, still at work");
    }
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            words.push(format!("{name}={}", quoted(&value)));
        }
    }
    words.push(program(command));
    words.extend(
        command
            .get_args()
            .map(|word| quoted(&word.to_string_lossy())),
    );
    words.join(" ")
}

/// The program's name; cargo's is shown without its folder, which is rustup's and of no interest.
fn program(command: &Command) -> String {
    let path = Path::new(command.get_program());
    match path.file_name() {
        Some(name) if name == "cargo" && !path.starts_with("/usr") => "cargo".to_owned(),
        _ => path.display().to_string(),
    }
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '*', '"', '$']) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

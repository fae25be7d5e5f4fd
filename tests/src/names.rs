//! A node whose programs go by names: name servers of others, the agent as a process of its own, and programs that know of
//! neither, all in one network namespace that nothing leaves.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binary::{self, Ended};
use crate::bpffs::TemporaryBpffs;
use crate::cgroup::TemporaryCgroup;
use crate::{lab, netns};

/// The name server that programs are told of.
pub const SERVER: &str = "10.9.0.53";
/// Far beyond any wait that a test counts on.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is dropped ends, in this order.
pub struct NameNode {
    agent: Option<Process>,
    servers: Vec<Process>,
    client: PathBuf,
    pub cgroup: TemporaryCgroup,
    bpffs: TemporaryBpffs,
    folder: TempDir,
    addresses: usize,
    _turn: MutexGuard<'static, ()>,
}

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl NameNode {
    /// Everything but the agent and the servers; programs are told of [`SERVER`] alone. `None`, with the reason printed,
    /// where it cannot be: kernel tests cannot run, or one of `programs` is missing.
    pub fn new(client: impl AsRef<OsStr>, programs: &[&str]) -> Result<Option<Self>> {
        if !lab::can_run() || !programs.iter().all(|program| has(program)) {
            return Ok(None);
        }
        let turn = lab::turn();
        netns::isolate()?;
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("config"))?;
        let mut node = Self {
            agent: None,
            servers: Vec::new(),
            client: client.as_ref().into(),
            cgroup: TemporaryCgroup::new()?,
            bpffs: TemporaryBpffs::new()?,
            folder,
            addresses: 0,
            _turn: turn,
        };
        node.tell_of(&[SERVER])?;
        Ok(Some(node))
    }

    /// Programs that start from now on find these name servers.
    pub fn tell_of(&mut self, servers: &[&str]) -> Result<()> {
        let lines = servers
            .iter()
            .map(|server| format!("nameserver {server}\n"));
        fs::write(self.resolv_conf(), lines.collect::<String>())?;
        Ok(())
    }

    pub fn resolv_conf(&self) -> PathBuf {
        self.folder.path().join("resolv.conf")
    }

    /// Gives the loopback device an address.
    pub fn add_address(&mut self, address: &str) -> Result<()> {
        self.addresses += 1;
        netns::add_address(address.parse()?, self.addresses)
    }

    /// Starts a server that tells everybody who connects where it is.
    pub fn serve(&mut self, at: &str) -> Result<()> {
        let at: SocketAddr = at.parse()?;
        if !at.ip().is_loopback() {
            self.add_address(&at.ip().to_string())?;
        }
        let listener = TcpListener::bind(at)?;
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                // A client that breaks off ends its own connection, and nothing else.
                stream.write_all(at.to_string().as_bytes()).ok();
            }
        });
        Ok(())
    }

    /// Starts a name server at `address`, in the cgroup like any program, with what `zone` says of it as dnsmasq's options.
    pub fn start_server(&mut self, address: &str, zone: &[&str]) -> Result<()> {
        if !address.parse::<IpAddr>()?.is_loopback() {
            self.add_address(address)?;
        }
        let own = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
            "--pid-file=",
            "--log-queries",
            &format!("--log-facility={}", self.log_of(address).display()),
            &format!("--listen-address={address}"),
        ]
        .map(str::to_owned);
        let options = own.iter().map(String::as_str).chain(zone.iter().copied());
        let command: Vec<&str> = ["dnsmasq"].into_iter().chain(options).collect();
        let child = self.command(&command).stdin(Stdio::null()).spawn()?;
        self.servers.push(Process(child));
        let at = SocketAddr::new(address.parse()?, 53);
        wait(&format!("{address} answers"), || {
            Ok(TcpStream::connect(at).is_ok())
        })
    }

    /// Kills the name server that was started last.
    pub fn stop_server(&mut self) {
        self.servers.pop();
    }

    /// How often the server at `address` was asked for `name`, whatever the type.
    pub fn asked(&self, address: &str, name: &str) -> Result<usize> {
        let text = fs::read_to_string(self.log_of(address))?;
        let asked = text.lines().filter(|line| {
            let mut words = line.split_whitespace();
            // The case of a name is drawn anew for each question.
            words.any(|word| word.starts_with("query["))
                && words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case(name))
        });
        Ok(asked.count())
    }

    fn log_of(&self, address: &str) -> PathBuf {
        self.folder.path().join(format!("server-{address}.log"))
    }

    /// Puts a file of objects in place.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join("config").join(name);
        Ok(fs::write(path, text)?)
    }

    /// Starts the agent, as a process that finds [`SERVER`] as its system's, and returns when its programs are attached.
    pub fn start_agent(&mut self, flags: &[&str]) -> Result<()> {
        let own = |name: &str| self.folder.path().join(name);
        let paths = [
            ("--config-dir", own("config")),
            ("--cgroup", self.cgroup.path().to_owned()),
            ("--state-dir", own("state")),
            ("--bpf-dir", self.bpffs.path().join("shunt")),
            ("--socket", own("shunt.sock")),
        ];
        let mut command = self.in_cgroup(Path::new("-"));
        command.arg(binary::path()).arg("run").args(flags);
        for (flag, path) in paths {
            command.arg(flag).arg(path);
        }
        binary::forget_variables(&mut command);
        let log = File::create(self.agent_log())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.agent = Some(Process(child));
        let ready = self.shunt(&["status", "--wait=20"]);
        let log = fs::read_to_string(self.agent_log())?;
        ensure!(ready.status == Some(0), "{}\n{log}", ready.stderr);
        Ok(())
    }

    fn agent_log(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }

    /// Sends the agent SIGKILL.
    pub fn kill_agent(&mut self) {
        self.agent.take();
    }

    /// Asks the agent to end, and waits until it has.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.signal_agent(Signal::TERM)?;
        let mut agent = self.agent.take().context("an agent runs")?;
        let status = agent.0.wait()?;
        ensure!(
            status.success(),
            "{status}: {}",
            fs::read_to_string(self.agent_log())?
        );
        Ok(())
    }

    /// Lets the agent do nothing from now on.
    pub fn suspend_agent(&self) -> Result<()> {
        self.signal_agent(Signal::STOP)
    }

    fn signal_agent(&self, signal: Signal) -> Result<()> {
        let agent = self.agent.as_ref().context("an agent runs")?;
        let id = Pid::from_child(&agent.0);
        Ok(kill_process(id, signal)?)
    }

    /// A command of the agent's own, which asks it by its socket.
    pub fn shunt(&self, arguments: &[&str]) -> Ended {
        let socket = self.folder.path().join("shunt.sock").display().to_string();
        let socket = ["--socket".to_owned(), socket];
        let arguments = arguments.iter().map(|word| (*word).to_owned());
        binary::shunt(arguments.chain(socket))
    }

    /// A program in the cgroup that finds its name servers as it was told.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut program = self.in_cgroup(self.cgroup.path());
        program.args(command);
        program
    }

    fn in_cgroup(&self, cgroup: &Path) -> Command {
        let mut program = Command::new(&self.client);
        program.arg("in").arg(cgroup).arg(self.resolv_conf());
        program
    }

    /// Runs such a program to its end.
    pub fn run(&self, command: &[&str]) -> Result<Ended> {
        Ok(self.command(command).output()?.into())
    }

    /// What the C library says of a name; empty where it says that there is none.
    pub fn resolve(&self, name: &str) -> Result<BTreeSet<IpAddr>> {
        let client = self.client.to_str().context("a path of ASCII")?;
        let ended = self.run(&[client, "resolve", name])?;
        ensure!(ended.status == Some(0), "{name}: {}", ended.stderr);
        let addresses = ended.stdout.lines().map(|line| Ok(line.parse()?));
        addresses.collect()
    }

    /// Where a program ends up that connects to `at`, a name and a port.
    pub fn fetch(&self, at: &str) -> Result<SocketAddr> {
        let client = self.client.to_str().context("a path of ASCII")?;
        let ended = self.run(&[client, "fetch", at])?;
        ensure!(ended.status == Some(0), "{at}: {}", ended.stderr);
        Ok(ended.stdout.trim().parse()?)
    }
}

impl Drop for NameNode {
    /// An agent that was killed leaves its cgroup and its attachments.
    fn drop(&mut self) {
        if self.agent.is_some()
            && let Err(error) = self
                .signal_agent(Signal::CONT)
                .and_then(|()| self.stop_agent())
        {
            eprintln!("stopping the agent: {error:#}");
        }
        let bpf_dir = self.bpffs.path().join("shunt").display().to_string();
        let cleaned = binary::shunt(["cleanup", "--bpf-dir", &bpf_dir]);
        if cleaned.status != Some(0) {
            eprintln!("cleaning up after agents: {cleaned:?}");
        }
    }
}

/// Waits until it is so.
pub fn wait(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "it is not so that {what}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether a program is installed. In CI it must be, but for virtual machines, which have none of others.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(also);
    let is_here = folders.any(|folder| folder.join(program).is_file());
    if !is_here {
        let reason = format!("{program} is not installed, which `cargo xtask test` does as root");
        let may_lack = std::env::var_os("IN_VM").is_some() || std::env::var_os("CI").is_none();
        assert!(may_lack, "in CI, {reason}");
        lab::skip(&reason);
    }
    is_here
}

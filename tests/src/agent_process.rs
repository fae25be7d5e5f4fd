//! The agent as a process of its own: `shunt run` on a [`Node`], watched by what it logs and by what the kernel says of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::binary;
use crate::cgroup::{self, TemporaryCgroup};
use crate::confined::Confinement;
use crate::node::{Node, PATIENCE};

/// Far beyond any start: on a machine that emulates beside others, verifying the programs takes long.
const START: Duration = Duration::from_mins(3);

/// Flags of small maps, so that it starts quickly.
pub const SMALL: [&str; 4] = [
    "--max-frontends=4096",
    "--max-services=1024",
    "--max-endpoints=4096",
    "--max-flows=32768",
];

/// Killed on drop, if it has not been stopped.
pub struct AgentProcess {
    process: Child,
    log: Arc<Mutex<String>>,
    /// The cgroup.
    started_in: PathBuf,
    /// Removed after the process is gone.
    _cgroup: Option<TemporaryCgroup>,
}

impl AgentProcess {
    /// Starts it with the flags of `node` and `more`, in the cgroup that we are in; returns when its programs are attached.
    pub fn start(node: &Node, more: &[&str]) -> Result<Self> {
        let mut command = binary::command(["run"]);
        command.args(node.flags()).args(more);
        Self::spawn(command, cgroup::present()?, None)
    }

    /// The same, confined by the program `client`, and alone in a cgroup unless `confinement` names one.
    pub fn confined(
        node: &Node,
        client: &str,
        confinement: &Confinement,
        more: &[&str],
    ) -> Result<Self> {
        Self::with(node, client, confinement, |command| {
            command.args(more);
        })
    }

    /// The same, with what `prepare` makes of the command.
    pub fn with(
        node: &Node,
        client: &str,
        confinement: &Confinement,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let cgroup = TemporaryCgroup::new()?;
        let given = confinement.cgroup.as_deref();
        let started_in = given.unwrap_or(cgroup.path()).to_owned();
        let confinement = Confinement {
            cgroup: Some(started_in.clone()),
            ..confinement.clone()
        };
        let mut command = Command::new(client);
        command
            .args(["as", &serde_json::to_string(&confinement)?])
            .arg(node.program()?)
            .arg("run")
            .args(node.flags());
        binary::forget_variables(&mut command);
        prepare(&mut command);
        Self::spawn(command, started_in, Some(cgroup))
    }

    fn spawn(
        mut command: Command,
        started_in: PathBuf,
        cgroup: Option<TemporaryCgroup>,
    ) -> Result<Self> {
        command.stderr(Stdio::piped());
        let mut process = command.spawn().context("starting the agent")?;
        let stderr = process.stderr.take().context("stderr is a pipe")?;
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut agent = Self {
            process,
            log,
            started_in,
            _cgroup: cgroup,
        };
        agent.wait_for_log_within("attached", START)?;
        Ok(agent)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The cgroup that it makes for itself where it is not alone.
    pub fn cgroup(&self) -> PathBuf {
        self.started_in.join(format!("shunt-agent-{}", self.id()))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }

    /// Holds it to it that it found the maps as they should be, whenever it has looked.
    pub fn expect_no_changes(&self) -> Result<()> {
        let log = self.log();
        let mut updates = log.lines().filter(|line| line.contains(" updated "));
        ensure!(updates.clone().count() > 0, "{log}");
        ensure!(updates.all(|line| line.contains(" changes=0 ")), "{log}");
        Ok(())
    }

    /// Waits until it has logged a line with `words`.
    pub fn wait_for_log(&mut self, words: &str) -> Result<()> {
        self.wait_for_log_within(words, PATIENCE)
    }

    fn wait_for_log_within(&mut self, words: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.log().contains(words) {
            if let Some(status) = self.process.try_wait()? {
                // What it said last may still be on its way.
                thread::sleep(Duration::from_millis(50));
                ensure!(
                    self.log().contains(words),
                    "it ended ({status}):\n{}",
                    self.log()
                );
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "it does not say {words:?}:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.id())?).context("a process has a number")?;
        Ok(kill_process(id, signal)?)
    }

    /// By SIGKILL, if it runs.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait()?;
        ensure!(status.success(), "it ended ({status}):\n{}", self.log());
        Ok(())
    }

    /// What a field of `/proc/PID/status` is for its threads.
    pub fn of_threads(&self, field: &str) -> Result<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        for status in self.threads()? {
            let text = match fs::read_to_string(status.join("status")) {
                Ok(text) => text,
                // It has ended meanwhile.
                Err(_) if !status.exists() => continue,
                Err(error) => bail!(error),
            };
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let value = line.with_context(|| format!("there is no {field}"))?;
            values.insert(value.trim_start_matches(':').trim().to_owned());
        }
        Ok(values)
    }

    /// The folders of its threads in `/proc`.
    pub fn threads(&self) -> Result<Vec<PathBuf>> {
        let folder = format!("/proc/{}/task", self.id());
        let entries = fs::read_dir(&folder).context(folder)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }

    /// The number of its thread of that name.
    pub fn thread(&self, name: &str) -> Result<i32> {
        let is_named = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let path = self.threads()?.into_iter().find(is_named);
        let path = path.with_context(|| format!("no thread is called {name}"))?;
        let number = path.file_name().and_then(|number| number.to_str());
        Ok(number.context("a thread has a number")?.parse()?)
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("killing the agent: {error:#}");
        }
        let cgroup = self.cgroup();
        if cgroup.exists()
            && let Err(error) = fs::remove_dir(&cgroup)
        {
            eprintln!("{} stays: {error}", cgroup.display());
        }
    }
}

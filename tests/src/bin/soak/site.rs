//! An agent, as the binary is run, with what is its own: a cgroup, pins, a folder. It can be ended in any way, and started again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::mem::offset_of;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent::observe::{Request, Response, StatusView, ask};
use agent_common::abi::EndpointState;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tests::bpffs::TemporaryBpffs;
use tests::cgroup::TemporaryCgroup;
use tests::{binary, cgroup, pins};

/// Far beyond any start, end or answer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Of the maps; any two need maps of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    cells: u32,
    endpoints: u32,
    flows: u32,
    replies: u32,
}

pub(crate) const CAPACITIES: [Capacity; 5] = [
    Capacity {
        cells: 16_384,
        endpoints: 4096,
        flows: 2048,
        replies: 4096,
    },
    Capacity {
        cells: 32_768,
        endpoints: 8192,
        flows: 2048,
        replies: 8192,
    },
    Capacity {
        cells: 65_536,
        endpoints: 2048,
        flows: 2048,
        replies: 4096,
    },
    Capacity {
        cells: 16_384,
        endpoints: 8192,
        flows: 4096,
        replies: 2048,
    },
    Capacity {
        cells: 16_384,
        endpoints: 4096,
        flows: 1024,
        replies: 4096,
    },
];

/// What an agent of a site can be asked by others.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) name: &'static str,
    pub(crate) socket: PathBuf,
    pub(crate) bpf_dir: PathBuf,
    /// The process, from when it is ready until it is told to end; else 0.
    pub(crate) up: Arc<AtomicU32>,
}

impl Door {
    pub(crate) fn ask(&self, request: &Request) -> Result<Response> {
        Ok(ask(&self.socket, request)?)
    }

    pub(crate) fn status(&self) -> Result<StatusView> {
        match self.ask(&Request::Status)? {
            Response::Status(status) => Ok(*status),
            other => bail!("the agent of {} says {other:?}", self.name),
        }
    }

    /// What counts as open, be it less than nothing, by the numbers of services and endpoints.
    pub(crate) fn open(&self) -> Result<BTreeMap<u32, i32>> {
        let endpoints = pins::Map::open(&self.bpf_dir, "ENDPOINTS")?;
        let mut open = BTreeMap::new();
        for number in endpoints.keys::<4>()? {
            let state: [u8; size_of::<EndpointState>()] = endpoints.get(&number)?;
            let count = state[offset_of!(EndpointState, open)..].first_chunk();
            let count = i32::from_ne_bytes(*count.context("a word")?);
            if count != 0 {
                open.insert(u32::from_ne_bytes(number), count);
            }
        }
        Ok(open)
    }

    /// The process that is up.
    pub(crate) fn up(&self) -> Option<u32> {
        Some(self.up.load(Ordering::SeqCst)).filter(|process| *process > 0)
    }
}

/// Leaves nothing when it is dropped, in this order.
pub(crate) struct Site {
    agent: Option<Child>,
    pub(crate) door: Door,
    pub(crate) cgroup: TemporaryCgroup,
    _bpffs: TemporaryBpffs,
    folder: PathBuf,
    /// But for the capacity.
    flags: Vec<String>,
    pub(crate) capacity: Capacity,
}

impl Site {
    /// In a new folder below `parent`, with `flags` beside those of what is its own.
    pub(crate) fn new(name: &'static str, parent: &Path, flags: &[String]) -> Result<Self> {
        let folder = parent.join(name);
        fs::create_dir(&folder)?;
        let cgroup = TemporaryCgroup::new()?;
        let bpffs = TemporaryBpffs::new()?;
        let door = Door {
            name,
            socket: folder.join("shunt.sock"),
            bpf_dir: bpffs.path().join("shunt"),
            up: Arc::default(),
        };
        let own = [
            ("--cgroup", cgroup.path()),
            ("--state-dir", &folder.join("state")),
            ("--bpf-dir", &door.bpf_dir),
            ("--socket", &door.socket),
        ];
        let own = own.map(|(flag, path)| format!("{flag}={}", path.display()));
        let limits = [
            "--max-frontends=1024",
            "--max-services=2048",
            "--on-exit=keep",
        ];
        let own = own.into_iter().chain(limits.map(str::to_owned));
        Ok(Self {
            agent: None,
            door,
            cgroup,
            _bpffs: bpffs,
            folder,
            flags: own.chain(flags.iter().cloned()).collect(),
            capacity: CAPACITIES[0],
        })
    }
    pub(crate) fn flags(&self) -> Vec<String> {
        let Capacity {
            cells,
            endpoints,
            flows,
            replies,
        } = self.capacity;
        let capacity = [
            format!("--max-cells={cells}"),
            format!("--max-endpoints={endpoints}"),
            format!("--max-flows={flows}"),
            format!("--max-replies={replies}"),
        ];
        [&self.flags[..], &capacity].concat()
    }

    /// Starts an agent, and does not wait for anything.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        ensure!(self.agent.is_none(), "an agent runs");
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log_file())?;
        let agent = binary::command(["run"])
            .args(self.flags())
            .stdin(Stdio::null())
            .stderr(log)
            // The terminal's Ctrl-C is ours to handle.
            .process_group(0)
            .spawn()
            .context("starting an agent")?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Waits until the agent that was started has attached.
    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
        let agent = self.agent.as_mut().context("no agent was started")?;
        let (id, deadline) = (agent.id(), Instant::now() + PATIENCE);
        while !self.door.status().is_ok_and(|status| status.ready) {
            if let Some(status) = agent.try_wait()? {
                self.agent = None;
                bail!("the agent of {} ended: {status}", self.door.name);
            }
            ensure!(
                Instant::now() < deadline,
                "the agent of {} is not ready after {PATIENCE:?}",
                self.door.name
            );
            thread::sleep(Duration::from_millis(20));
        }
        self.door.up.store(id, Ordering::SeqCst);
        Ok(())
    }

    /// By SIGKILL, whatever it does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.door.up.store(0, Ordering::SeqCst);
        if let Some(mut agent) = self.agent.take() {
            agent.kill()?;
            agent.wait()?;
        }
        Ok(())
    }

    /// As a service manager does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.door.up.store(0, Ordering::SeqCst);
        let status = self.wait()?;
        ensure!(
            status.success(),
            "the agent of {}: {status}",
            self.door.name
        );
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let agent = self.agent.as_ref().context("no agent runs")?;
        Ok(kill_process(Pid::from_child(agent), signal)?)
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let mut agent = self.agent.take().context("no agent runs")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = agent.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.agent = Some(agent);
                bail!("the agent of {} does not end", self.door.name);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the agent, and all that it has left.
    pub(crate) fn clean_up(&mut self) -> Result<()> {
        let id = self.agent.as_ref().map(Child::id);
        self.kill()?;
        let bpf_dir = self.door.bpf_dir.display().to_string();
        let cleaned = binary::shunt(["cleanup", "--bpf-dir", &bpf_dir]);
        ensure!(cleaned.status == Some(0), "cleaning up: {cleaned:?}");
        ensure!(!self.door.bpf_dir.exists(), "pins stay: {cleaned:?}");
        if let Some(id) = id {
            let own = cgroup::present()?.join(format!("shunt-agent-{id}"));
            ensure!(!own.exists(), "{} stays", own.display());
        }
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// How many maps and links are pinned, but for what is there while sockets are recorded in it.
    pub(crate) fn pins(&self) -> Result<usize> {
        Ok(self.count_pins(|name| !name.starts_with("EARLIER_"))?)
    }

    /// How many programs are pinned: more from when an agent begins to exchange them until it has.
    pub(crate) fn programs(&self) -> usize {
        // Folders may go while they are looked through.
        let programs = self.count_pins(|name| name.starts_with("program-"));
        programs.unwrap_or(0)
    }

    fn count_pins(&self, is: impl Fn(&str) -> bool) -> io::Result<usize> {
        let all = pins::all(&self.door.bpf_dir)?;
        let names = all.iter().filter_map(|pin| pin.file_name());
        Ok(names.filter(|name| is(&name.to_string_lossy())).count())
    }

    /// Keeps what agents have logged, beyond the run. Returns where.
    pub(crate) fn keep_log(&self, seed: u64) -> Result<PathBuf> {
        let name = format!("soak-{seed}-{}.log", self.door.name);
        let kept = std::env::temp_dir().join(name);
        fs::copy(self.log_file(), &kept)?;
        Ok(kept)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = self.clean_up() {
            eprintln!("{error:#}");
        }
    }
}

//! A data plane in the running kernel on a cgroup of its own, with a client in that cgroup.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent::compile::Program;
use agent::dataplane::Limits;
use agent::dataplane::{Dataplane, LoadOptions, mounts};
use anyhow::Result;

use crate::cgroup::TemporaryCgroup;
use crate::client::Client;
use crate::programs::{self, at, balance, frontend};
use crate::sockets::{Request, Server, Transport};

/// What a connect fails with, as Linux numbers it.
pub const ENETUNREACH: i32 = libc::ENETUNREACH;
pub const ECONNREFUSED: i32 = libc::ECONNREFUSED;
pub const EHOSTUNREACH: i32 = libc::EHOSTUNREACH;

/// The data plane moves the whole process between cgroups, so that there is one laboratory at a time.
static TURN: Mutex<()> = Mutex::new(());

pub struct Lab {
    pub client: Client,
    pub dataplane: Dataplane,
    pub cgroup: TemporaryCgroup,
    pub turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// `client` is the path of the binary `client`. `None`, with the reason printed, where kernel tests cannot run; in CI
    /// that is a failure.
    pub fn new(client: impl AsRef<OsStr>) -> Result<Option<Self>> {
        Self::with(
            client,
            &LoadOptions {
                limits: limits(),
                ..LoadOptions::default()
            },
        )
    }

    pub fn with(client: impl AsRef<OsStr>, options: &LoadOptions) -> Result<Option<Self>> {
        if !can_run() {
            return Ok(None);
        }
        let turn = turn();
        let cgroup = TemporaryCgroup::new()?;
        let mut dataplane = Dataplane::load(options)?;
        dataplane.attach(&[cgroup.path().to_owned()])?;
        let client = Client::start(client, cgroup.path())?;
        Ok(Some(Self {
            client,
            dataplane,
            cgroup,
            turn,
        }))
    }

    /// With a balanced service of one endpoint behind each frontend: what clients ask for, how, and where they get. There
    /// is no server yet.
    pub fn with_services(
        client: impl AsRef<OsStr>,
        services: &[(&str, Transport, &str)],
    ) -> Result<Option<Self>> {
        let Some(mut lab) = Self::new(client)? else {
            return Ok(None);
        };
        let mut program = Program::default();
        for (vip, transport, endpoint) in services {
            let frontend = frontend(at(vip), transport.protocol());
            balance(&mut program, vip, frontend, &[(at(endpoint), 1)]);
        }
        lab.apply(&program);
        let endpoints: BTreeSet<_> = services.iter().map(|(_, _, to)| at(to).ip()).collect();
        let addresses = endpoints.into_iter().collect();
        lab.client.order(&Request::AddAddresses(addresses))?;
        Ok(Some(lab))
    }

    /// The same, with a server at each endpoint that tells who came.
    pub fn serving(
        client: impl AsRef<OsStr>,
        services: &[(&str, Transport, &str)],
    ) -> Result<Option<Self>> {
        let Some(mut lab) = Self::with_services(client, services)? else {
            return Ok(None);
        };
        let servers: BTreeSet<_> = services.iter().map(|&(_, how, to)| (to, how)).collect();
        for (endpoint, transport) in servers {
            lab.serve(endpoint, Server::Tell(transport))?;
        }
        Ok(Some(lab))
    }

    pub fn serve(&mut self, at: &str, server: Server) -> Result<()> {
        let at = programs::at(at);
        self.client.order(&Request::Serve { at, server })
    }

    /// How many sockets are on record.
    pub fn records(&self) -> usize {
        self.dataplane.tables().flows().count()
    }

    /// Waits until no socket is on record: the kernel lets go of a socket a moment after it was closed.
    pub fn expect_no_records(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.records() > 0 {
            let left: Vec<_> = self.dataplane.tables().flows().take(3).collect();
            assert!(Instant::now() < deadline, "records are left: {left:?}");
            thread::yield_now();
        }
    }

    /// Puts `program` into effect, all of it.
    pub fn apply(&mut self, program: &Program) {
        let applied = self.dataplane.apply(program);
        assert_eq!(applied.diagnostics, []);
    }
}

/// Waits until no other test of this process has a data plane.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small maps, so that a laboratory is set up quickly.
pub fn limits() -> Limits {
    Limits {
        frontends: 4096,
        prefixes: 64,
        cells: 16_384,
        services: 1024,
        endpoints: 4096,
        flows: 32_768,
        replies: 1_024,
    }
}

/// Whether this machine can load programs. In CI it must.
pub fn can_run() -> bool {
    obstacle().is_none_or(|reason| {
        skip(reason);
        false
    })
}

/// Says that a test is left out, and why. In CI that is a failure.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI kernel tests must run, but {reason}"
    );
    // Past what captures the output of tests that pass; and named as libtest names its threads.
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(io::stderr(), "skipped: {test}: {reason}").expect("standard error is open");
}

fn obstacle() -> Option<&'static str> {
    let is_root = fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")));
    if !is_root {
        return Some("this is not root");
    }
    mounts::cgroup2()
        .is_none()
        .then_some("cgroup v2 is not mounted")
}

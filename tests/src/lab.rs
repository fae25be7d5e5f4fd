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
use agent::dataplane::{Dataplane, LoadOptions, ServiceCounts, closing, mounts};
use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use crate::cgroup::TemporaryCgroup;
use crate::client::Client;
use crate::programs::{self, at};
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

    /// Runs `check` with flow records in lines, and then with those at the sockets, which kernels before Linux 5.12 have. It
    /// leaves nothing open.
    pub fn with_records_anywhere(
        client: impl AsRef<OsStr> + Copy,
        check: impl Fn(&mut Self) -> Result<()>,
    ) -> Result<()> {
        for flows_at_sockets in [false, true] {
            let options = LoadOptions {
                limits: limits(),
                flows_at_sockets,
                ..LoadOptions::default()
            };
            let Some(mut lab) = Self::with(client, &options)? else {
                return Ok(());
            };
            check(&mut lab)
                .with_context(|| format!("flow records at sockets: {flows_at_sockets}"))?;
            lab.expect_nothing_open();
        }
        Ok(())
    }

    /// With [`programs::services`], and no server yet.
    pub fn with_services(
        client: impl AsRef<OsStr>,
        services: &[(&str, Transport, &str)],
    ) -> Result<Option<Self>> {
        let Some(mut lab) = Self::new(client)? else {
            return Ok(None);
        };
        lab.apply(&programs::services(services));
        let endpoints: Vec<_> = services.iter().map(|&(_, _, to)| to).collect();
        lab.add_addresses(&endpoints)?;
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

    /// Gives the client's loopback device the addresses of these endpoints.
    pub fn add_addresses(&mut self, endpoints: &[&str]) -> Result<()> {
        let addresses: BTreeSet<_> = endpoints.iter().map(|to| at(to).ip()).collect();
        let addresses = addresses.into_iter().collect();
        self.client.order(&Request::AddAddresses(addresses))
    }

    pub fn serve(&mut self, at: &str, server: Server) -> Result<()> {
        let at = programs::at(at);
        self.client.order(&Request::Serve { at, server })
    }

    /// How many sockets are on record.
    pub fn records(&self) -> usize {
        self.dataplane.tables().flows().count()
    }

    /// Waits until no socket is on record, or counts as open: the kernel lets go of a socket a moment after it was closed.
    pub fn expect_no_records(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.records() > 0 {
            let left: Vec<_> = self.dataplane.tables().flows().take(3).collect();
            assert!(Instant::now() < deadline, "records are left: {left:?}");
            thread::yield_now();
        }
        // Records at the sockets themselves are not seen, but are what is counted.
        self.expect_open(0);
    }

    /// How many sockets count as open, at all endpoints together.
    pub fn open(&self) -> u64 {
        open(&self.dataplane)
    }

    /// Waits until so many sockets count as open: the kernel lets go of a socket a moment after it was closed.
    pub fn expect_open(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.open() != count {
            let open = self.open();
            assert!(
                Instant::now() < deadline,
                "{open} are open, which should be {count}"
            );
            thread::yield_now();
        }
    }

    /// Another client in the same cgroup.
    pub fn start_client(&self, client: impl AsRef<OsStr>) -> Result<Client> {
        Client::start(client, self.cgroup.path())
    }

    /// Ends the client, and with it its sockets; waits until none counts at any endpoint or is on record.
    pub fn expect_nothing_open(self) {
        let Self {
            client,
            dataplane,
            cgroup,
            turn,
        } = self;
        drop(client);
        let deadline = Instant::now() + Duration::from_secs(5);
        while open(&dataplane) > 0 || dataplane.tables().flows().count() > 0 {
            let left: Vec<_> = dataplane.tables().flows().take(3).collect();
            let open = open(&dataplane);
            assert!(
                Instant::now() < deadline,
                "{open} are open; on record: {left:?}"
            );
            thread::yield_now();
        }
        drop((dataplane, cgroup, turn));
    }

    /// Puts `program` into effect, all of it.
    pub fn apply(&mut self, program: &Program) {
        let applied = self.dataplane.apply(program);
        assert_eq!(applied.diagnostics, []);
    }
}

/// What a client sees of an errno that we choose: before Linux 6.1 it is EPERM.
pub fn refusal(errno: i32) -> i32 {
    if Dataplane::can_set_errno() {
        errno
    } else {
        libc::EPERM
    }
}

/// How many sockets count as open, at all endpoints together.
pub fn open(dataplane: &Dataplane) -> u64 {
    let services = dataplane.counts().services;
    let of_service = |service: &ServiceCounts| {
        let of_endpoints = service.endpoints.values().map(|endpoint| endpoint.open);
        // A service that has a limit counts those of its endpoints once more.
        of_endpoints.sum::<u64>().max(service.open)
    };
    services.values().map(of_service).sum()
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
        cgroups: 64,
        exempt: 16,
    }
}

/// Whether this machine can load programs. In CI it must.
pub fn can_run() -> bool {
    let Some(reason) = obstacle() else {
        return true;
    };
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI kernel tests must run, but {reason}"
    );
    skip(reason);
    false
}

/// Whether sockets can be closed here, by `sock_diag` and what is in FLOWS. Says so where they cannot.
pub fn can_close() -> bool {
    let can = closing::is_possible().is_ok_and(|is| is);
    if !can {
        skip("this kernel cannot close sockets");
    } else if !has_compare_and_swap() {
        skip("records are at the sockets, which are not found");
    }
    can && has_compare_and_swap()
}

/// Whether flow records can be lines of a map (Linux 5.12).
pub fn has_compare_and_swap() -> bool {
    Dataplane::has_compare_and_swap()
}

/// Whether this kernel has MPTCP, and lets it be used.
pub fn has_mptcp() -> bool {
    if let Err(error) = socket(
        AddressFamily::INET,
        SocketType::STREAM,
        Some(ipproto::MPTCP),
    ) {
        skip(&format!("MPTCP is not to be had: {error}"));
        return false;
    }
    true
}

/// Says that a test is left out, and what of the kernel is missing. In CI `cargo xtask test` takes that for a failure;
/// `cargo xtask vm` shows it, as old kernels lack what they lack.
pub fn skip(reason: &str) {
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
        .is_err()
        .then_some("cgroup v2 is not mounted")
}

//! A place for data planes that come and go: a cgroup with a client in it, and a BPF file system for pins.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::MutexGuard;

use agent::dataplane::{AttachError, Dataplane, LoadOptions};
use anyhow::{Result, bail, ensure};

use crate::bpffs::TemporaryBpffs;
use crate::cgroup::TemporaryCgroup;
use crate::client::{Client, Outcome};
use crate::lab;
use crate::programs::{DOOMED_VIP, at, ip};
use crate::sockets::{Request, Transport};

pub struct Site {
    /// Has the address of the endpoints behind [`DOOMED_VIP`].
    pub client: Client,
    pub cgroup: TemporaryCgroup,
    bpffs: TemporaryBpffs,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    /// `client` is the path of the binary `client`. `None`, with the reason printed, where kernel tests cannot run.
    pub fn new(client: impl AsRef<OsStr>) -> Result<Option<Self>> {
        if !lab::can_run() {
            return Ok(None);
        }
        let turn = lab::turn();
        let cgroup = TemporaryCgroup::new()?;
        let mut client = Client::start(client, cgroup.path())?;
        client.order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
        Ok(Some(Self {
            client,
            cgroup,
            bpffs: TemporaryBpffs::new()?,
            _turn: turn,
        }))
    }

    pub fn pins(&self) -> PathBuf {
        self.bpffs.path().join("shunt")
    }

    /// Of a data plane that leaves what is pinned.
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            limits: lab::limits(),
            bpf_dir: Some(self.pins()),
            keep: true,
            ..LoadOptions::default()
        }
    }

    pub fn attach(&self, dataplane: &mut Dataplane) -> Result<(), AttachError> {
        dataplane.attach(&[self.cgroup.path().to_owned()])
    }

    /// Connects to [`DOOMED_VIP`] while [`crate::programs::doomed`] is in force.
    pub fn connect(&mut self) -> Result<u32> {
        self.connect_to(at(DOOMED_VIP))
    }

    /// Connects to a VIP, by UDP.
    pub fn connect_to(&mut self, vip: SocketAddr) -> Result<u32> {
        match self.client.connect(Transport::Udp, vip)? {
            Outcome::Connected { socket, peer, .. } => {
                ensure!(peer == vip, "the peer is {peer}");
                Ok(socket)
            }
            Outcome::Failed(errno) => bail!("the connect failed: {errno}"),
        }
    }
}

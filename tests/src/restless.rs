//! Somebody who never stops connecting, whatever becomes of the agent meanwhile.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::client::Client;
use crate::node::{Node, listen};
use crate::sockets::{Churn, Churned};

/// A client that does nothing but connect to one destination, until it is told to stop.
pub struct Restless {
    client: Client,
    to: SocketAddr,
}

impl Restless {
    /// The client has the servers that [`Node`]'s own client has, in a network namespace of its own.
    pub fn new(program: impl AsRef<OsStr>, node: &Node, to: SocketAddr) -> Result<Self> {
        let mut client = Client::start(program, node.cgroup.path())?;
        listen(&mut client)?;
        Ok(Self { client, to })
    }

    /// Returns what became of its connects.
    pub fn connect(mut self, is_over: &AtomicBool) -> Result<Churned> {
        let order = Churn {
            threads: 2,
            connects: 200,
            kept: 4,
        };
        let mut all = Churned::default();
        while !is_over.load(Ordering::Relaxed) {
            let churned = self.client.churn(order, self.to)?;
            all.connected += churned.connected;
            for (errno, count) in churned.failed {
                *all.failed.entry(errno).or_default() += count;
            }
        }
        Ok(all)
    }
}

//! Who answers where connects of scenarios end: in the network namespace of a client.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use agent_common::abi::TCP;
use anyhow::Result;

use crate::client::Client;
use crate::sockets::Request;

/// What the namespace holds.
#[derive(Default)]
pub struct Servers {
    addresses: BTreeSet<IpAddr>,
    listeners: BTreeSet<SocketAddr>,
}

impl Servers {
    /// Makes `at` answer. Nothing else does, so that a connect to another port fails.
    pub fn serve(&mut self, client: &mut Client, at: SocketAddr, protocol: u8) -> Result<()> {
        // Loopback is there already.
        if !at.ip().is_loopback() && self.addresses.insert(at.ip()) {
            client.order(&Request::AddAddresses(vec![at.ip()]))?;
        }
        if protocol == TCP && self.listeners.insert(at) {
            client.order(&Request::Listen(at))?;
        }
        Ok(())
    }
}

//! Which steps of a plan wait because others were refused: those after which a connect would come to what is valid neither before
//! the plan nor after it. Steps for destinations that have nothing in common do not wait for each other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::Destination;

use super::super::plan::{ClientStep, Step};

/// The destinations that are not as they are to be.
#[derive(Debug, Default)]
pub(super) struct Held {
    addresses: BTreeSet<IpAddr>,
    nets: Vec<IpNet>,
}

impl Held {
    /// Has all that comes later for this destination, and for those within and around it, wait.
    pub(super) fn hold(&mut self, destination: Destination) {
        match destination {
            Destination::Address(address) => {
                self.addresses.insert(address);
            }
            Destination::Prefix(net) => self.nets.push(net),
        }
    }

    pub(super) fn holds(&self, destination: Destination) -> bool {
        match destination {
            Destination::Address(address) => self.nets.iter().any(|net| net.contains(&address)),
            Destination::Prefix(net) => {
                let mut within = self.addresses.range(net.network()..=net.broadcast());
                let meets = |other: &IpNet| net.contains(other) || other.contains(&net);
                within.next().is_some() || self.nets.iter().any(meets)
            }
        }
    }

    /// Whether the step makes clients count on all that comes before it.
    pub(super) fn stops(&self, step: &Step) -> bool {
        let counts_on_all = matches!(
            step,
            Step::SetConfig(_) | Step::Client(ClientStep::Set { .. } | ClientStep::Remove(_))
        );
        counts_on_all && !(self.addresses.is_empty() && self.nets.is_empty())
    }
}

//! The part of a plan that is about clients: who is in which cgroup, and what is exempt.
//!
//! A client becomes another between the additions and the removals, so that it has the whole of what it had, or of what it
//! gets. Cgroups are named before the levels change at which the kernel looks for them, and forgotten after: in between, who is
//! known by a cgroup around its own is still known by it.

use std::collections::BTreeMap;

use agent_common::abi::{ClientWord, Config, Exemption};
use ipnet::IpNet;

use super::super::clients::is_wider;
use super::super::live::Live;
use super::super::store::PrefixKey;
use super::super::wanted::Wanted;
use super::{Plan, Step, prefix_key};

#[derive(Clone, Copy, Debug)]
pub(in super::super) enum ClientStep {
    SetExempt {
        net: IpNet,
        key: PrefixKey,
        value: u32,
    },
    RemoveExempt {
        net: IpNet,
        key: PrefixKey,
    },
    Set {
        cgroup: u64,
        client: ClientWord,
    },
    Remove(u64),
}

impl From<ClientStep> for Step {
    fn from(step: ClientStep) -> Self {
        Self::Client(step)
    }
}

/// Whether readers may take clients for whom they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Settled,
    Moving,
}

impl Plan {
    /// Changes what is exempt where more may be reached then.
    pub(super) fn widen_exempt(&mut self, live: &Live, wanted: &Wanted<'_>) {
        self.change_exempt(live, wanted, false);
    }

    /// Changes it where less may be reached then.
    pub(super) fn narrow_exempt(&mut self, live: &Live, wanted: &Wanted<'_>) {
        self.change_exempt(live, wanted, true);
    }

    /// Changes those elements for which it is so of what holds within them, before and after. First come those that are set, as
    /// another of them may take the place of one that is removed.
    fn change_exempt(&mut self, live: &Live, wanted: &Wanted<'_>, narrows: bool) {
        let is_due = |net| {
            let (old, new) = (effect(&live.exempt, net), effect(&wanted.exempt, net));
            is_wider(old, new) == narrows
        };
        for (&net, &value) in &wanted.exempt {
            if live.exempt.get(&net) != Some(&value) && is_due(net) {
                let key = prefix_key(net);
                self.steps
                    .push(ClientStep::SetExempt { net, key, value }.into());
            }
        }
        // From the outside in: what is within a CIDR keeps what holds there until both are gone. Only what keeps IPv4 destinations
        // from an IPv6 CIDR of everything goes last.
        let is_last = |value: u32| value == Exemption::value(None);
        let (last, first): (Vec<_>, Vec<_>) =
            live.exempt.iter().partition(|(_, value)| is_last(**value));
        for (&net, &value) in first.into_iter().chain(last) {
            let is_due = if is_last(value) { narrows } else { is_due(net) };
            if !wanted.exempt.contains_key(&net) && is_due {
                let key = prefix_key(net);
                self.steps
                    .push(ClientStep::RemoveExempt { net, key }.into());
            }
        }
    }

    /// Makes clients whom they shall be.
    pub(super) fn move_clients(
        &mut self,
        live: &Live,
        wanted: &Wanted<'_>,
        base: &Config,
    ) -> Standing {
        let first = self.steps.len();
        // The kernel numbers cgroups in the order of their making: what is in another is named before that, and forgotten after it.
        for (&cgroup, &client) in wanted.clients.iter().rev() {
            if live.clients.get(&cgroup) != Some(&client) {
                self.steps.push(ClientStep::Set { cgroup, client }.into());
            }
        }
        let config = wanted.config(base);
        let is_moving = live.is_settling
            || self.steps.len() > first
            || (config.levels, config.client) != (live.config.levels, live.config.client);
        if config != live.config {
            self.steps.push(Step::SetConfig(config));
        }
        let clients = live.clients.keys();
        let mut gone = clients
            .filter(|cgroup| !wanted.clients.contains_key(cgroup))
            .peekable();
        if is_moving && gone.peek().is_some() {
            // Who did not find a cgroup that is named now must find the one around it.
            self.steps.push(Step::Grace);
        }
        if is_moving || gone.peek().is_some() {
            self.steps
                .extend(gone.map(|&cgroup| ClientStep::Remove(cgroup).into()));
            Standing::Moving
        } else {
            Standing::Settled
        }
    }
}

/// What holds for the addresses of the CIDR, but for those of narrower ones.
fn effect(exempt: &BTreeMap<IpNet, u32>, net: IpNet) -> u32 {
    let mut around = Some(net);
    while let Some(net) = around {
        if let Some(&value) = exempt.get(&net) {
            return value;
        }
        around = net.supernet();
    }
    Exemption::value(None)
}

//! The part of a plan that is about clients: who is in which cgroup, and what is exempt.
//!
//! A client becomes another between the additions and the removals, so that it has the whole of what it had, or of what it
//! gets. Cgroups are named before the levels change at which the kernel looks for them, and forgotten after: in between, who is
//! known by a cgroup around its own is still known by it.

use agent_common::abi::{ClientWord, Config};
use ipnet::IpNet;

use super::super::clients::is_wider;
use super::super::live::Live;
use super::super::store::PrefixKey;
use super::super::wanted::Wanted;
use super::{Plan, Step, prefix_key};

#[derive(Clone, Debug)]
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
    /// Adds what is exempt, or is so on more ports.
    pub(super) fn widen_exempt(&mut self, live: &Live, wanted: &Wanted<'_>) {
        for (&net, &value) in &wanted.exempt {
            if live
                .exempt
                .get(&net)
                .is_none_or(|&old| is_wider(value, old))
            {
                let key = prefix_key(net);
                self.steps
                    .push(ClientStep::SetExempt { net, key, value }.into());
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
        for (&cgroup, &client) in &wanted.clients {
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

    /// Removes what is exempt no more, or is so on fewer ports. What is in an IPv6 CIDR of everything but is not exempt with it
    /// comes last.
    pub(super) fn narrow_exempt(&mut self, live: &Live, wanted: &Wanted<'_>) {
        for (&net, &old) in live.exempt.iter().rev() {
            let key = prefix_key(net);
            match wanted.exempt.get(&net) {
                None => self
                    .steps
                    .push(ClientStep::RemoveExempt { net, key }.into()),
                Some(&value) if is_wider(old, value) => {
                    self.steps
                        .push(ClientStep::SetExempt { net, key, value }.into());
                }
                Some(_) => {}
            }
        }
    }
}

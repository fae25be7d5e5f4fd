//! The plan: what must change so that the tables hold what is wanted, in an order in which every prefix of it leaves
//! each frontend with a whole group, old or new.
//!
//! Adding goes from the bottom up (groups, frontends, prefixes, exemptions, clients, configuration), removing from the top
//! down, and cells and ids are reused only after a grace period. This file decides; it changes nothing but the allocators.

mod clients;

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_common::abi::{Cell, Config, FrontendKey, Port};
use ipnet::IpNet;

use crate::compile::{Destination, Frontend, Service, ServiceKey};

use super::address;
use super::group::{Content, Layout, digest};
use super::live::{Group, Live, MadeOf};
use super::names::{Names, UNCOUNTED};
use super::space::Space;
use super::store::PrefixKey;
use super::wanted::Wanted;

pub(super) use clients::ClientStep;

#[derive(Clone, Debug)]
pub(super) enum Step {
    WriteGroup {
        group: Group,
        cells: Vec<Cell>,
        /// Ids of endpoints that nobody had before.
        fresh: Vec<u32>,
    },
    SetFrontend {
        frontend: Frontend,
        key: FrontendKey,
        group: u32,
    },
    SetPrefix {
        net: IpNet,
        key: PrefixKey,
        id: u32,
    },
    SetConfig(Config),
    Client(ClientStep),
    RemovePrefix {
        net: IpNet,
        key: PrefixKey,
    },
    RemoveFrontend {
        frontend: Frontend,
        key: FrontendKey,
    },
    /// Wait until no reader can hold what was replaced or removed, or take a client for whom it was before.
    Grace,
    /// Free the group at this cell, unless a frontend still points at it because a step failed.
    ReleaseGroup(u32),
    /// Free the id of a CIDR, unless something of it is still in place.
    ReleasePrefix(IpNet),
}

impl Step {
    /// Where connects may come to something else by it.
    pub(super) fn destination(&self) -> Option<Destination> {
        match self {
            Self::SetFrontend { frontend, .. } | Self::RemoveFrontend { frontend, .. } => {
                Some(frontend.destination)
            }
            Self::SetPrefix { net, .. } | Self::RemovePrefix { net, .. } => {
                Some(Destination::Prefix(*net))
            }
            _ => None,
        }
    }
}

/// A limit that keeps something of a service, or of the clients, out of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    Cells,
    Frontends,
    Prefixes,
    Services,
    Endpoints,
    Cgroups,
    Exempt,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// What does not fit. The rest works.
    pub refused: Vec<(ServiceKey, Limit)>,
}

/// What the planner allocates from.
#[derive(Debug)]
pub(super) struct Allocators<'a> {
    pub names: &'a mut Names,
    pub space: &'a mut Space,
}

/// The difference between `live` and `wanted`.
pub(super) fn plan(
    live: &Live,
    wanted: &Wanted<'_>,
    base: &Config,
    alloc: &mut Allocators<'_>,
) -> Plan {
    let mut plan = Plan::default();
    let current = plan.write_groups(live, wanted, alloc);
    let prefixes = name_prefixes(wanted, alloc.names);
    plan.set_frontends(live, wanted, &current, &prefixes);
    plan.set_prefixes(live, &prefixes);
    plan.widen_exempt(live, wanted);
    let standing = plan.move_clients(live, wanted, base);
    plan.remove(live, wanted, alloc.names, standing);
    plan.release(live, wanted, &current, alloc.names);
    plan
}

/// The difference that one service makes whose frontends stay as they are; its old group is not released. `None` where it has
/// no group yet, or there is no room for the new one.
pub(super) fn plan_service(
    live: &Live,
    key: &ServiceKey,
    service: &Arc<Service>,
    alloc: &mut Allocators<'_>,
) -> Option<Plan> {
    let mut plan = Plan::default();
    let old = *live.services.get(key)?;
    if live.groups[&old].is_of(service) {
        return Some(plan);
    }
    let group = plan.write_group(key, service, alloc)?;
    for (&frontend, _) in live.frontends.iter().filter(|(_, at)| **at == old) {
        let key = frontend_key(&frontend, |net| alloc.names.prefixes.get(&net))
            .expect("a CIDR keeps its id while a frontend of it is in place");
        plan.steps.push(Step::SetFrontend {
            frontend,
            key,
            group,
        });
    }
    Some(plan)
}

impl Plan {
    /// Writes the groups that are new or different. Returns the group of each service, an old one where the new does not fit.
    fn write_groups<'a>(
        &mut self,
        live: &Live,
        wanted: &Wanted<'a>,
        alloc: &mut Allocators<'_>,
    ) -> BTreeMap<&'a ServiceKey, u32> {
        let mut current = BTreeMap::new();
        for (key, service) in &wanted.program.services {
            let old = live
                .services
                .get(key)
                .map(|first| (first, &live.groups[first]));
            if let Some((&first, group)) = old
                && group.is_of(service)
            {
                self.report_uncounted(group);
                current.insert(key, first);
                continue;
            }
            let placed = self
                .write_group(key, service, alloc)
                .or(old.map(|(&first, _)| first));
            current.extend(placed.map(|first| (key, first)));
        }
        current
    }

    fn write_group(
        &mut self,
        key: &ServiceKey,
        service: &Arc<Service>,
        alloc: &mut Allocators<'_>,
    ) -> Option<u32> {
        let content = Content::of(service);
        let layout = Layout::new(&content);
        let cells = layout.cells();
        let Some(run) = cells.and_then(|cells| alloc.space.allocate(cells)) else {
            self.refused.push((key.clone(), Limit::Cells));
            return None;
        };
        let service_id = alloc.names.acquire_service(key).unwrap_or(UNCOUNTED);
        let endpoint_ids: Vec<u32> = content
            .members
            .iter()
            .map(|member| {
                let endpoint = (service_id, member.address, member.port);
                alloc.names.acquire_endpoint(&endpoint).unwrap_or(UNCOUNTED)
            })
            .collect();
        let mut cells = layout.encode(run.first, service_id, &endpoint_ids);
        cells.resize(run.cells as usize, Cell::default());
        let mut fresh = endpoint_ids.clone();
        fresh.retain(|&id| alloc.names.endpoints.references(id) == 1);
        let group = Group {
            service: key.clone(),
            run,
            digest: digest(cells.iter().map(Some)),
            made_of: Some(MadeOf {
                content,
                source: Arc::clone(service),
            }),
            service_id,
            endpoint_ids,
            references: 0,
        };
        self.report_uncounted(&group);
        self.steps.push(Step::WriteGroup {
            group,
            cells,
            fresh,
        });
        Some(run.first)
    }

    fn report_uncounted(&mut self, group: &Group) {
        if group.service_id == UNCOUNTED {
            self.refused.push((group.service.clone(), Limit::Services));
        }
        if group.endpoint_ids.contains(&UNCOUNTED) {
            self.refused.push((group.service.clone(), Limit::Endpoints));
        }
    }

    fn set_frontends(
        &mut self,
        live: &Live,
        wanted: &Wanted<'_>,
        current: &BTreeMap<&ServiceKey, u32>,
        prefixes: &BTreeMap<IpNet, u32>,
    ) {
        for (&frontend, service) in &wanted.program.frontends {
            // Without a group there is a finding about its service already.
            let Some(&group) = current.get(service) else {
                continue;
            };
            if live.frontends.get(&frontend) == Some(&group) {
                continue;
            }
            match frontend_key(&frontend, |net| prefixes.get(&net).copied()) {
                Some(key) => self.steps.push(Step::SetFrontend {
                    frontend,
                    key,
                    group,
                }),
                None => self.refused.push((service.clone(), Limit::Prefixes)),
            }
        }
    }

    fn set_prefixes(&mut self, live: &Live, prefixes: &BTreeMap<IpNet, u32>) {
        // The longest first: nobody falls for a moment to one that is to be beside it.
        for (&net, &id) in prefixes.iter().rev() {
            if live.prefixes.get(&net) != Some(&id) {
                let key = prefix_key(net);
                self.steps.push(Step::SetPrefix { net, key, id });
            }
        }
    }

    fn remove(
        &mut self,
        live: &Live,
        wanted: &Wanted<'_>,
        names: &Names,
        clients: clients::Standing,
    ) {
        let first = self.steps.len();
        // Before the frontends, or what was one would for a moment be exempt.
        self.narrow_exempt(live, wanted);
        for &net in live
            .prefixes
            .keys()
            .filter(|net| !wanted.prefixes.contains(net))
        {
            let key = prefix_key(net);
            self.steps.push(Step::RemovePrefix { net, key });
        }
        let frontends = &wanted.program.frontends;
        let gone = |frontend: &&Frontend| !frontends.contains_key(*frontend);
        for &frontend in live.frontends.keys().filter(gone) {
            let key = frontend_key(&frontend, |net| names.prefixes.get(&net))
                .expect("a CIDR keeps its id while a frontend of it is in place");
            self.steps.push(Step::RemoveFrontend { frontend, key });
        }
        if clients == clients::Standing::Moving && self.steps.len() > first {
            self.steps.insert(first, Step::Grace);
        }
    }

    fn release(
        &mut self,
        live: &Live,
        wanted: &Wanted<'_>,
        current: &BTreeMap<&ServiceKey, u32>,
        names: &Names,
    ) {
        let groups = live
            .groups
            .iter()
            .filter(|(first, group)| current.get(&group.service) != Some(first))
            .map(|(&first, _)| Step::ReleaseGroup(first));
        let prefixes = names
            .prefixes
            .iter()
            .filter(|(_, net)| !wanted.prefixes.contains(net))
            .map(|(_, &net)| Step::ReleasePrefix(net));
        let mut releases = groups.chain(prefixes).peekable();
        if releases.peek().is_some() {
            self.steps.push(Step::Grace);
            self.steps.extend(releases);
        }
    }
}

/// The ids of the wanted CIDRs, as far as there are ids. A CIDR has one reference to its id, however often it is planned.
fn name_prefixes(wanted: &Wanted<'_>, names: &mut Names) -> BTreeMap<IpNet, u32> {
    let prefixes = wanted.prefixes.iter();
    prefixes
        .filter_map(|&net| {
            let known = names.prefixes.get(&net);
            Some((net, known.or_else(|| names.acquire_prefix(&net))?))
        })
        .collect()
}

pub(super) fn frontend_key(
    frontend: &Frontend,
    prefix: impl FnOnce(IpNet) -> Option<u32>,
) -> Option<FrontendKey> {
    let port = Port::new(frontend.port);
    let (transport, scope) = (frontend.transport, frontend.scope);
    Some(match frontend.destination {
        Destination::Address(ip) => {
            FrontendKey::address(address::from_ip(ip), port, transport, scope)
        }
        Destination::Prefix(net) => {
            FrontendKey::prefix(prefix(net.trunc())?, port, transport, scope)
        }
    })
}

pub(super) fn prefix_key(net: IpNet) -> PrefixKey {
    let (base, bits) = address::from_net(net);
    PrefixKey { base, bits }
}

//! What the tables hold now: all that was written and not taken back. The plan is the difference to this, so that whatever
//! failed is tried again by the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_common::abi::{ClientWord, Config};
use ipnet::IpNet;

use crate::compile::{Frontend, Service, ServiceKey};

use super::group::Content;
use super::space::Run;

/// A group in ARENA.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub service: ServiceKey,
    pub run: Run,
    /// Of its cells.
    pub digest: u64,
    /// `None` for a group that says something else than is wanted: another agent has written it, or somebody wrote over it.
    pub made_of: Option<MadeOf>,
    /// Index in COUNTERS, or `UNCOUNTED`.
    pub service_id: u32,
    /// Of the content's members, in their order.
    pub endpoint_ids: Vec<u32>,
    /// Frontends that point here.
    pub references: u32,
}

/// What a group says.
#[derive(Clone, Debug)]
pub(super) struct MadeOf {
    pub content: Content,
    /// What the content was made from, so that the same service is recognised without a look at its endpoints.
    pub source: Arc<Service>,
}

impl Group {
    /// Whether the group says what `service` says.
    pub(super) fn is_of(&self, service: &Arc<Service>) -> bool {
        self.made_of.as_ref().is_some_and(|made_of| {
            Arc::ptr_eq(&made_of.source, service) || made_of.content == Content::of(service)
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// By first cell.
    pub groups: BTreeMap<u32, Group>,
    /// The newest group of each service.
    pub services: BTreeMap<ServiceKey, u32>,
    /// The group that each frontend points at.
    pub frontends: BTreeMap<Frontend, u32>,
    pub prefixes: BTreeMap<IpNet, u32>,
    pub exempt: BTreeMap<IpNet, u32>,
    /// Who is in each cgroup.
    pub clients: BTreeMap<u64, ClientWord>,
    pub config: Config,
    /// Whether readers may take clients for whom they were before the last change to any: what those had must stay.
    pub is_settling: bool,
}

impl Live {
    /// Records that `frontend` points at `group` now.
    pub(super) fn point(&mut self, frontend: Frontend, group: u32) {
        self.unpoint(&frontend);
        self.frontends.insert(frontend, group);
        self.reference(group, |references| references + 1);
    }

    /// Records that `frontend` is gone.
    pub(super) fn unpoint(&mut self, frontend: &Frontend) {
        if let Some(group) = self.frontends.remove(frontend) {
            self.reference(group, |references| references - 1);
        }
    }

    /// Forgets a group that nothing points at, and returns it.
    pub(super) fn forget_group(&mut self, first: u32) -> Option<Group> {
        if self.groups.get(&first)?.references > 0 {
            return None;
        }
        let group = self.groups.remove(&first)?;
        if self.services.get(&group.service) == Some(&first) {
            self.services.remove(&group.service);
        }
        Some(group)
    }

    fn reference(&mut self, group: u32, change: impl FnOnce(u32) -> u32) {
        let group = self
            .groups
            .get_mut(&group)
            .expect("a frontend points at a group that is kept");
        group.references = change(group.references);
    }
}

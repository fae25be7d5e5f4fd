//! Which scope each cgroup is of, now and when cgroups come and go.

use std::sync::Arc;

use agent_common::abi::DEFAULT_SCOPE;
use imbl::OrdMap;

use crate::api::{Diagnostic, LocalWorkload, Meta, Object, ObjectId, Spec};

use super::codes;
use super::placement::{LocalWorkloads, Placement};
use super::program::Compiled;

/// The workloads that cgroups are given to, each with its scope; the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Residents(Arc<[Resident]>);

#[derive(Clone, Debug)]
struct Resident {
    object: Arc<Object>,
    scope: u32,
}

/// The cgroups of workloads.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    pub(super) cgroups: OrdMap<u64, u32>,
    pub(super) levels: Vec<u8>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Residents {
    /// Of the workloads among the objects, which have these scopes in their order.
    pub(super) fn new(objects: &[Arc<Object>], scopes: impl Iterator<Item = u32>) -> Self {
        let workloads = objects
            .iter()
            .filter(|object| matches!(object.spec, Spec::LocalWorkload(_)));
        let residents = workloads.zip(scopes).map(|(object, scope)| Resident {
            object: Arc::clone(object),
            scope,
        });
        Self(residents.collect())
    }

    pub(super) fn settle(&self, cgroups: &OrdMap<Arc<str>, u64>) -> Settled {
        if self.0.is_empty() {
            return Settled::default();
        }
        let Placement {
            workloads,
            levels,
            diagnostics,
        } = self.placed(cgroups);
        let scope = |owner: Option<usize>| owner.map_or(DEFAULT_SCOPE, |place| self.0[place].scope);
        let cgroups = workloads.into_iter();
        Settled {
            cgroups: cgroups.map(|(id, owner)| (id, scope(owner))).collect(),
            levels,
            diagnostics,
        }
    }

    fn placed(&self, cgroups: &OrdMap<Arc<str>, u64>) -> Placement {
        let workloads = self.0.iter().filter_map(|resident| resident.workload());
        LocalWorkloads::new(workloads.collect()).place(cgroups)
    }

    /// The workload that each cgroup is of, by id of the cgroup.
    pub fn owners(&self, cgroups: &OrdMap<Arc<str>, u64>) -> OrdMap<u64, &ObjectId> {
        let placed = self.placed(cgroups).workloads.into_iter();
        let owned = placed.filter_map(|(id, owner)| Some((id, &self.0[owner?].object.meta.id)));
        owned.collect()
    }

    /// Every workload with its scope.
    pub fn iter(&self) -> impl Iterator<Item = (&Meta, &LocalWorkload, u32)> {
        self.0.iter().filter_map(|resident| {
            let (meta, workload) = resident.workload()?;
            Some((meta, workload, resident.scope))
        })
    }
}

impl Resident {
    fn workload(&self) -> Option<(&Meta, &LocalWorkload)> {
        match &self.object.spec {
            Spec::LocalWorkload(workload) => Some((&self.object.meta, workload)),
            _ => None,
        }
    }
}

/// What other cgroups change about a program.
#[derive(Clone, Debug)]
pub struct Moved {
    /// As compiling everything anew would give it.
    pub compiled: Compiled,
    /// The scope of each cgroup that is new or has another, and `None` of each that is gone. `None` where the maps must be looked
    /// at as a whole.
    pub changes: Option<Vec<(u64, Option<u32>)>>,
}

/// The same program where these are the cgroups. Takes time for cgroups and workloads alone.
pub fn settle(compiled: &Compiled, cgroups: &OrdMap<Arc<str>, u64>) -> Moved {
    let settled = compiled.residents.settle(cgroups);
    let mut next = compiled.clone();
    next.cgroup_paths = cgroups.clone();
    let clients = &mut next.program.clients;
    let before = std::mem::replace(&mut clients.cgroups, settled.cgroups);
    let levels = std::mem::replace(&mut clients.levels, settled.levels);
    let is_placement =
        |d: &&Diagnostic| ![codes::CGROUP_TAKEN, codes::NO_CGROUP].contains(&d.code.as_str());
    let kept = compiled.diagnostics.iter().filter(is_placement).cloned();
    let mut diagnostics: Vec<Diagnostic> = kept.chain(settled.diagnostics).collect();
    diagnostics.sort();
    next.diagnostics = diagnostics.into();
    let after = &next.program.clients;
    let set = after
        .cgroups
        .iter()
        .filter(|(id, scope)| before.get(*id) != Some(*scope));
    let gone = before.keys().filter(|id| !after.cgroups.contains_key(*id));
    let set = set.map(|(id, scope)| (*id, Some(*scope)));
    let changes = set.chain(gone.map(|id| (*id, None))).collect();
    let changes = (levels == after.levels).then_some(changes);
    Moved {
        compiled: next,
        changes,
    }
}

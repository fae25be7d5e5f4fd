//! Going on from what another agent has left: its groups, ids and counts become this engine's, and whatever is not as wanted
//! is then changed by a plan as any other.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use crate::compile::{Program, Service, ServiceKey};
use crate::dataplane::Limits;

use super::super::group::{Content, Extent, Layout, Member};
use super::super::identity::{self, ServiceHash};
use super::super::inheritance::{Damage, Inheritance};
use super::super::live::{Group, MadeOf};
use super::super::store::{Map, Store};
use super::Engine;

impl<S: Store> Engine<S> {
    /// An engine over tables that another has filled, which must have ended. What is in force stays so until the first
    /// [`Self::apply`], which alone can tell what it is: nothing takes the short ways before.
    pub(in super::super) fn adopt(store: S, limits: &Limits) -> Result<Self, Damage> {
        let (inheritance, inventory) = Inheritance::read(&store, limits)?;
        let mut engine = Self::bare(store, limits);
        // Whoever reads what was replaced last must have ended before anything else is put there.
        engine.store.wait_for_readers()?;
        for key in &inheritance.orphans {
            if let Err(error) = engine.store.frontends().remove(key) {
                tracing::warn!(%error, "an element of FRONTENDS that nothing reaches stays");
            }
        }
        let config = engine.store.config().copied().unwrap_or_default();
        engine.base.own_cgroup = config.own_cgroup;
        engine.base.is_following = config.is_following;
        engine.live.config = config;
        engine.live.prefixes.clone_from(&inheritance.prefixes);
        engine.live.exempt.clone_from(&inheritance.exempt);
        engine.live.clients = inventory.scopes.into_iter().collect();
        engine.inheritance = Some(inheritance);
        Ok(engine)
    }

    /// An engine over tables that lead nowhere yet, but for IDENTITIES: under those numbers another has counted, whose programs
    /// go on by other tables until [`Self::stop_sharing`].
    pub(in super::super) fn succeed(store: S, limits: &Limits) -> io::Result<Self> {
        let inventory = store.inventory()?;
        let mut engine = Self::new(store, limits);
        engine.inheritance = Some(Inheritance::of_ids(&inventory, limits));
        engine.share_ids();
        Ok(engine)
    }

    /// Programs of another count under these ids until [`Self::stop_sharing`].
    pub(in super::super) fn share_ids(&mut self) {
        self.shares_ids = true;
    }

    /// Nobody else counts any more.
    pub(in super::super) fn stop_sharing(&mut self) {
        self.shares_ids = false;
    }

    /// Makes what was found this engine's own. Of services it knows hashes; `program` tells which those are that are wanted.
    pub(in super::super) fn settle(&mut self, mut inheritance: Inheritance, program: &Program) {
        self.space = inheritance.space.clone();
        self.name(&inheritance, program);
        let of_service = endpoints_of_services(&inheritance);
        for (first, extent) in std::mem::take(&mut inheritance.groups) {
            let known = inheritance.services.get(&extent.service_id);
            let is_newest = known.is_some_and(|known| known.group == first);
            let all = of_service.get(&extent.service_id).filter(|_| is_newest);
            let group = self.group(first, extent, all.map_or(&[], Vec::as_slice), program);
            if is_newest || !self.live.services.contains_key(&group.service) {
                self.live.services.insert(group.service.clone(), first);
            }
            self.live.groups.insert(first, group);
        }
        for (frontend, group) in inheritance.frontends {
            self.live.point(frontend, group);
        }
        let (services, endpoints) = (inheritance.services, inheritance.endpoints);
        self.release_unnamed(services.keys().copied(), endpoints.keys().copied());
        // They name groups of other tables, or such as a killed agent had not written yet.
        for id in services.into_keys().chain(endpoints.into_keys()) {
            self.identify(id);
        }
    }

    /// Gives every id that was found back to whom it was, without a reference.
    fn name(&mut self, inheritance: &Inheritance, program: &Program) {
        let keys = program.services.keys();
        let keys: HashMap<ServiceHash, &ServiceKey> =
            keys.map(|key| (identity::hash(key), key)).collect();
        for (&id, known) in &inheritance.services {
            let key = keys.get(&known.hash).copied().cloned();
            // Of two with one name, one was lingering when the other came: it has no group, and is a stranger for the rest of it.
            let is_named = key.is_some_and(|key| self.names.take_service(id, key));
            if !is_named {
                let stranger = identity::stranger(known.hash, id);
                self.names.take_service(id, stranger);
            }
            if known.retired > 0 {
                self.retired.insert(id, known.retired);
            }
        }
        for (&id, &endpoint) in &inheritance.endpoints {
            self.names.take_endpoint(id, endpoint);
        }
        for (&net, &id) in &inheritance.prefixes {
            self.names.take_prefix(id, net);
            self.names.prefixes.refer(id);
        }
    }

    /// The group at `first`, as it is where that is wanted. `all` are the ids of endpoints that its service has or had.
    fn group(&mut self, first: u32, extent: Extent, all: &[u32], program: &Program) -> Group {
        let service_id = extent.service_id;
        let key = match self.names.services.key(service_id) {
            Some(key) => key.clone(),
            None => identity::stranger(ServiceHash::default(), first),
        };
        let wanted = program.services.get(&key);
        let as_wanted = wanted.and_then(|service| self.recognise(first, service_id, service));
        let (made_of, endpoint_ids) = if let Some((made_of, ids)) = as_wanted {
            (Some(made_of), ids)
        } else {
            let mut ids = extent.endpoint_ids;
            ids.extend(all);
            (None, ids.into_iter().collect())
        };
        self.names.services.refer(service_id);
        for &id in &endpoint_ids {
            self.names.endpoints.refer(id);
        }
        Group {
            service: key,
            run: extent.run,
            digest: self.digest(extent.run),
            made_of,
            service_id,
            endpoint_ids,
            references: 0,
        }
    }

    /// What the group at `first` says, if it is byte for byte what would be written of `service`; with the ids of its endpoints.
    fn recognise(
        &self,
        first: u32,
        service_id: u32,
        service: &Arc<Service>,
    ) -> Option<(MadeOf, Vec<u32>)> {
        let content = Content::of(service);
        let id = |member: &Member| {
            let endpoint = (service_id, member.address, member.port);
            self.names.endpoints.get(&endpoint)
        };
        // Also those that have no slot must have an id.
        let ids: Vec<u32> = content.members.iter().map(id).collect::<Option<_>>()?;
        let cells = Layout::new(&content).encode(first, service_id, &ids);
        let is_same = (first..)
            .zip(&cells)
            .all(|(at, cell)| self.store.cell(at) == Some(cell));
        let source = Arc::clone(service);
        is_same.then_some((MadeOf { content, source }, ids))
    }

    /// Frees the ids that no group names, unless sockets still count under them.
    fn release_unnamed(
        &mut self,
        services: impl Iterator<Item = u32>,
        endpoints: impl Iterator<Item = u32>,
    ) {
        for id in endpoints {
            let Some(&(service, ..)) = self.names.endpoints.key(id) else {
                continue;
            };
            if self.names.endpoints.references(id) > 0 {
                continue;
            }
            self.names.endpoints.refer(id);
            if self.is_in_use(id) {
                self.names.services.refer(service);
                self.lingering.insert(id);
            } else {
                self.release_endpoint(service, id);
            }
        }
        for id in services {
            let is_in_use = self.is_in_use(id);
            if self.names.services.references(id) > 0 {
                continue;
            }
            self.names.services.refer(id);
            if is_in_use {
                self.lingering.insert(id);
            } else {
                self.release_service(id);
            }
        }
    }
}

fn endpoints_of_services(inheritance: &Inheritance) -> BTreeMap<u32, Vec<u32>> {
    let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (&id, &(service, ..)) in &inheritance.endpoints {
        all.entry(service).or_default().push(id);
    }
    all
}

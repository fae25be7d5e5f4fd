//! Who has which id: what groups hold, and sockets after them, and what IDENTITIES says of it.

use agent_common::abi::{Identified, IdentifiedService, Identity, NO_GROUP};

use crate::compile::ServiceKey;

use super::super::identity;
use super::super::live::Group;
use super::super::names::UNCOUNTED;
use super::super::store::Store;
use super::Engine;

impl<S: Store> Engine<S> {
    /// Says in IDENTITIES whose the id is.
    pub(super) fn identify(&mut self, id: u32) {
        if id != UNCOUNTED {
            let identity = self.identity_of(id);
            self.store.set_identity(id, &identity);
        }
    }

    /// The service that the number is of, or whose endpoint.
    pub(super) fn named(&self, id: u32) -> Option<&ServiceKey> {
        let of_endpoint = self.names.endpoint(id).map(|(service, ..)| service);
        of_endpoint.or_else(|| self.names.service(id))
    }

    /// Who has that number, as IDENTITIES should have it.
    pub(super) fn identity_of(&self, id: u32) -> Identity {
        if let Some(endpoint) = self.names.endpoints.key(id) {
            return identity::of_endpoint(endpoint);
        }
        let Some(service) = self.names.services.key(id) else {
            return Identity::default();
        };
        let group = self.live.services.get(service).copied();
        Identity::from(Identified::Service(IdentifiedService {
            hash: identity::hash(service),
            group: group.unwrap_or(NO_GROUP),
            retired: self.retired.get(&id).copied().unwrap_or(0),
        }))
    }

    pub(super) fn release(&mut self, group: &Group) {
        self.space.release(group.run);
        for &id in group.endpoint_ids.iter().filter(|&&id| id != UNCOUNTED) {
            if self.is_in_use(id) && self.lingering.insert(id) {
                // The reference of the group is that of the sockets now, and they want the service to keep its id too.
                if group.service_id != UNCOUNTED {
                    self.names.acquire_service(&group.service);
                }
            } else {
                self.release_endpoint(group.service_id, id);
            }
        }
        let id = group.service_id;
        if id == UNCOUNTED || !self.is_in_use(id) || !self.lingering.insert(id) {
            self.release_service(id);
        }
    }

    /// Frees the ids of endpoints and services whose last socket has gone.
    pub(super) fn release_lingering(&mut self) {
        let all = std::mem::take(&mut self.lingering);
        let (in_use, gone) = all.into_iter().partition(|&id| self.is_in_use(id));
        self.lingering = in_use;
        for id in gone {
            if let Some(&(service, ..)) = self.names.endpoints.key(id) {
                self.release_endpoint(service, id);
                self.release_service(service);
            } else {
                self.release_service(id);
            }
        }
    }

    /// Whether sockets count under an id that no group names.
    pub(super) fn is_in_use(&self, id: u32) -> bool {
        self.shares_ids || self.store.open(id) > 0
    }

    /// Takes one reference back. With the last one the id is free, unless the kernel does not let go of what was counted under
    /// it: then it lingers, and with it that of its service.
    pub(super) fn release_endpoint(&mut self, service: u32, id: u32) {
        if self.names.endpoints.references(id) == 1 {
            let counter = self.store.counter(id);
            let forgotten = counter.and_then(|counter| {
                self.store.forget(id)?;
                Ok(counter.connects)
            });
            match forgotten {
                Ok(connects) => self.retire(service, connects),
                Err(error) => {
                    tracing::debug!(%error, id, "the id of an endpoint stays for now");
                    self.lingering.insert(id);
                    self.names.services.refer(service);
                    return;
                }
            }
        }
        self.names.release_endpoint(id);
    }

    /// The same of a service.
    pub(super) fn release_service(&mut self, id: u32) {
        if self.names.services.references(id) == 1 {
            if let Err(error) = self.store.forget(id) {
                tracing::debug!(%error, id, "the id of a service stays for now");
                self.lingering.insert(id);
                return;
            }
            self.retired.remove(&id);
        }
        self.names.release_service(id);
    }

    /// Has the service keep the connects of an endpoint that goes.
    fn retire(&mut self, service: u32, connects: u64) {
        if connects == 0 || service == UNCOUNTED {
            return;
        }
        *self.retired.entry(service).or_default() += connects;
        self.identify(service);
    }
}

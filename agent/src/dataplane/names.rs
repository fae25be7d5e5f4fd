//! Which number stands for what: the ids of services, endpoints and prefixes in the kernel's tables.
//!
//! An id stays with its key for as long as something in the kernel refers to it, so that counters and flow records mean the
//! same before and after an update.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Also of what every id of its kind is taken.
pub(super) use agent_common::abi::UNCOUNTED;
use agent_common::abi::{Address, Port};
use ipnet::IpNet;

use crate::compile::ServiceKey;
use crate::dataplane::Limits;

use super::address;

/// Ids of one kind, counted by their references.
#[derive(Clone, Debug)]
pub(super) struct Ids<K> {
    first: u32,
    capacity: u32,
    by_key: BTreeMap<K, u32>,
    by_id: BTreeMap<u32, (K, u32)>,
    /// Those from here on have never been in use.
    next: u32,
    freed: BTreeSet<u32>,
}

impl<K: Ord + Clone> Ids<K> {
    fn new(first: u32, capacity: u32) -> Self {
        Self {
            first,
            capacity,
            by_key: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next: first,
            freed: BTreeSet::new(),
        }
    }

    /// The id of `key`, with one more reference. `None` when all are taken.
    pub(super) fn acquire(&mut self, key: &K) -> Option<u32> {
        if let Some(&id) = self.by_key.get(key) {
            self.by_id.get_mut(&id).expect("both maps hold the same").1 += 1;
            return Some(id);
        }
        let id = match self.freed.pop_first() {
            Some(id) => id,
            None if self.next - self.first >= self.capacity => return None,
            None => {
                self.next += 1;
                self.next - 1
            }
        };
        self.by_key.insert(key.clone(), id);
        self.by_id.insert(id, (key.clone(), 1));
        Some(id)
    }

    /// Gives an id that is free to `key`, without a reference. Returns whether the id was free, and the key had none.
    pub(super) fn take(&mut self, id: u32, key: K) -> bool {
        let is_within = id >= self.first && id - self.first < self.capacity;
        if !is_within || self.by_id.contains_key(&id) || self.by_key.contains_key(&key) {
            return false;
        }
        self.freed.extend(self.next..id);
        self.next = self.next.max(id + 1);
        self.freed.remove(&id);
        self.by_key.insert(key.clone(), id);
        self.by_id.insert(id, (key, 0));
        true
    }

    /// One more reference to an id that is in use.
    pub(super) fn refer(&mut self, id: u32) {
        if let Some((_, references)) = self.by_id.get_mut(&id) {
            *references += 1;
        }
    }

    pub(super) fn references(&self, id: u32) -> u32 {
        self.by_id.get(&id).map_or(0, |(_, references)| *references)
    }

    /// Takes one reference back; returns the key when it was the last, and its id is free.
    pub(super) fn release(&mut self, id: u32) -> Option<K> {
        let (_, references) = self.by_id.get_mut(&id)?;
        *references -= 1;
        if *references > 0 {
            return None;
        }
        let (key, _) = self.by_id.remove(&id)?;
        self.by_key.remove(&key);
        self.freed.insert(id);
        Some(key)
    }

    pub(super) fn get(&self, key: &K) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn key(&self, id: u32) -> Option<&K> {
        self.by_id.get(&id).map(|(key, _)| key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        self.by_id.iter().map(|(&id, (key, _))| (id, key))
    }

    pub(super) fn count(&self) -> usize {
        self.by_key.len()
    }
}

/// An endpoint of a service, by the service's id.
pub(super) type EndpointKey = (u32, Address, Port);

/// Every id that is in use.
#[derive(Clone, Debug)]
pub struct Names {
    pub(super) services: Ids<ServiceKey>,
    pub(super) endpoints: Ids<EndpointKey>,
    pub(super) prefixes: Ids<IpNet>,
}

impl Names {
    /// Services and endpoints are numbered as COUNTERS has them: endpoints after all possible services.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            services: Ids::new(0, limits.services),
            endpoints: Ids::new(limits.services, limits.endpoints),
            prefixes: Ids::new(1, limits.prefixes),
        }
    }

    pub fn service(&self, id: u32) -> Option<&ServiceKey> {
        self.services.key(id)
    }

    pub fn service_id(&self, service: &ServiceKey) -> Option<u32> {
        self.services.get(service)
    }

    /// The service, address and port of an endpoint.
    pub fn endpoint(&self, id: u32) -> Option<(&ServiceKey, IpAddr, u16)> {
        let &(service, at, port) = self.endpoints.key(id)?;
        Some((self.services.key(service)?, address::to_ip(at), port.get()))
    }

    pub fn prefix(&self, id: u32) -> Option<&IpNet> {
        self.prefixes.key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_with_its_key_until_the_last_reference_goes() {
        let mut ids = Ids::new(10, 2);
        assert_eq!(ids.acquire(&"a"), Some(10));
        assert_eq!(ids.acquire(&"b"), Some(11));
        assert_eq!(ids.acquire(&"a"), Some(10));
        assert_eq!(ids.acquire(&"c"), None);
        assert_eq!(ids.release(10), None);
        assert_eq!(ids.release(10), Some("a"));
        assert_eq!(ids.acquire(&"c"), Some(10));
        assert_eq!((ids.key(10), ids.get(&"b")), (Some(&"c"), Some(11)));
    }
}

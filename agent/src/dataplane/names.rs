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

/// Numbers that are given out, of a range.
#[derive(Clone, Debug)]
struct Numbers {
    end: u32,
    /// Those from here on have never been in use.
    next: u32,
    freed: BTreeSet<u32>,
}

impl Numbers {
    fn new(first: u32, count: u32) -> Self {
        Self {
            end: first.saturating_add(count),
            next: first,
            freed: BTreeSet::new(),
        }
    }

    /// `None` when all are taken.
    fn draw(&mut self) -> Option<u32> {
        let freed = self.freed.pop_first();
        if freed.is_some() || self.next >= self.end {
            return freed;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Returns whether the number was free.
    fn take(&mut self, number: u32) -> bool {
        if number < self.next || number >= self.end {
            return self.freed.remove(&number);
        }
        self.freed.extend(self.next..number);
        self.next = number + 1;
        true
    }
}

/// Ids of one kind, counted by their references.
#[derive(Clone, Debug)]
pub(super) struct Ids<K> {
    capacity: u32,
    by_key: BTreeMap<K, u32>,
    by_id: BTreeMap<u32, (K, u32)>,
}

impl<K: Ord + Clone> Ids<K> {
    fn new(capacity: u32) -> Self {
        Self {
            capacity,
            by_key: BTreeMap::new(),
            by_id: BTreeMap::new(),
        }
    }

    /// The id of `key`, with one more reference. `None` when all are taken.
    fn acquire(&mut self, key: &K, numbers: &mut Numbers) -> Option<u32> {
        if let Some(&id) = self.by_key.get(key) {
            self.by_id.get_mut(&id).expect("both maps hold the same").1 += 1;
            return Some(id);
        }
        if self.count() >= self.capacity as usize {
            return None;
        }
        let id = numbers.draw()?;
        self.by_key.insert(key.clone(), id);
        self.by_id.insert(id, (key.clone(), 1));
        Some(id)
    }

    /// Gives an id that is free to `key`, without a reference, be there room for one more or not. Returns whether the id was
    /// free, and the key had none.
    fn take(&mut self, id: u32, key: K, numbers: &mut Numbers) -> bool {
        if self.by_key.contains_key(&key) || !numbers.take(id) {
            return false;
        }
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
    fn release(&mut self, id: u32, numbers: &mut Numbers) -> Option<K> {
        let (_, references) = self.by_id.get_mut(&id)?;
        *references -= 1;
        if *references > 0 {
            return None;
        }
        let (key, _) = self.by_id.remove(&id)?;
        self.by_key.remove(&key);
        numbers.freed.insert(id);
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
    /// Of COUNTERS, which services and endpoints share: so a number stays whose it is when there is room for more of either.
    counted: Numbers,
    of_prefixes: Numbers,
}

impl Names {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            services: Ids::new(limits.services),
            endpoints: Ids::new(limits.endpoints),
            prefixes: Ids::new(limits.prefixes),
            counted: Numbers::new(0, limits.counters()),
            of_prefixes: Numbers::new(1, limits.prefixes),
        }
    }

    /// See [`Ids::acquire`]; the same for those below.
    pub(super) fn acquire_service(&mut self, key: &ServiceKey) -> Option<u32> {
        self.services.acquire(key, &mut self.counted)
    }

    pub(super) fn acquire_endpoint(&mut self, key: &EndpointKey) -> Option<u32> {
        self.endpoints.acquire(key, &mut self.counted)
    }

    pub(super) fn acquire_prefix(&mut self, net: &IpNet) -> Option<u32> {
        self.prefixes.acquire(net, &mut self.of_prefixes)
    }

    /// See [`Ids::take`]; the same for those below.
    pub(super) fn take_service(&mut self, id: u32, key: ServiceKey) -> bool {
        self.services.take(id, key, &mut self.counted)
    }

    pub(super) fn take_endpoint(&mut self, id: u32, key: EndpointKey) -> bool {
        self.endpoints.take(id, key, &mut self.counted)
    }

    pub(super) fn take_prefix(&mut self, id: u32, net: IpNet) -> bool {
        self.prefixes.take(id, net, &mut self.of_prefixes)
    }

    /// See [`Ids::release`]; the same for those below.
    pub(super) fn release_service(&mut self, id: u32) -> Option<ServiceKey> {
        self.services.release(id, &mut self.counted)
    }

    pub(super) fn release_endpoint(&mut self, id: u32) -> Option<EndpointKey> {
        self.endpoints.release(id, &mut self.counted)
    }

    pub(super) fn release_prefix(&mut self, id: u32) -> Option<IpNet> {
        self.prefixes.release(id, &mut self.of_prefixes)
    }

    /// Numbers of COUNTERS that are somebody's.
    pub(super) fn counted(&self) -> impl Iterator<Item = u32> {
        let services = self.services.iter().map(|(id, _)| id);
        services.chain(self.endpoints.iter().map(|(id, _)| id))
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
        let (mut ids, mut numbers) = (Ids::new(2), Numbers::new(10, 3));
        assert_eq!(ids.acquire(&"a", &mut numbers), Some(10));
        assert_eq!(ids.acquire(&"b", &mut numbers), Some(11));
        assert_eq!(ids.acquire(&"a", &mut numbers), Some(10));
        assert_eq!(ids.acquire(&"c", &mut numbers), None);
        assert_eq!(ids.release(10, &mut numbers), None);
        assert_eq!(ids.release(10, &mut numbers), Some("a"));
        assert_eq!(ids.acquire(&"c", &mut numbers), Some(10));
        assert_eq!((ids.key(10), ids.get(&"b")), (Some(&"c"), Some(11)));
    }

    #[test]
    fn a_number_is_given_to_one_key_alone() {
        let mut numbers = Numbers::new(0, 4);
        assert!(numbers.take(2) && !numbers.take(2) && !numbers.take(4));
        assert_eq!(
            std::iter::from_fn(|| numbers.draw()).collect::<Vec<_>>(),
            [0, 1, 3]
        );
        assert!(!numbers.take(1));
    }
}

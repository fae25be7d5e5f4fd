//! One range of addresses, and which of them are free. Knows nothing of who takes them, but for the hash of a name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

/// The addresses at the start of a range that are never given: the network's own, and room for the agent's own use.
const RESERVED: u128 = 16;

#[derive(Debug)]
pub(super) struct Pool {
    range: IpNet,
    /// Offsets that are given out, counted from the start of the range.
    taken: BTreeSet<u128>,
    /// First → last offset of what users declared; disjoint.
    declared: BTreeMap<u128, u128>,
    first: u128,
    last: u128,
}

impl Pool {
    pub(super) fn new(range: IpNet, declared: &[IpNet]) -> Self {
        let (start, end) = (number(range.network()), number(range.broadcast()));
        let size_less_one = end - start;
        // A range of a few addresses cannot spare sixteen of them.
        let first = RESERVED.min(size_less_one / 4 + 1);
        // The last address of an IPv4 range is its broadcast address.
        let last = size_less_one - u128::from(matches!(range, IpNet::V4(_)) && size_less_one > 0);
        let inside = declared
            .iter()
            .filter(|net| overlap(&range, net))
            .map(|net| {
                let low = number(net.network()).max(start) - start;
                (low, number(net.broadcast()).min(end) - start)
            });
        Self {
            range,
            taken: BTreeSet::new(),
            declared: disjoint(inside.collect()),
            first,
            last,
        }
    }

    /// Whether `addr` may be given: in the range, not reserved, not declared and not taken.
    pub(super) fn is_free(&self, addr: IpAddr) -> bool {
        self.offset(addr).is_some_and(|offset| {
            (self.first..=self.last).contains(&offset)
                && !self.taken.contains(&offset)
                && self.declared_until(offset).is_none()
        })
    }

    pub(super) fn take(&mut self, addr: IpAddr) {
        if let Some(offset) = self.offset(addr) {
            self.taken.insert(offset);
        }
    }

    pub(super) fn give_back(&mut self, addr: IpAddr) {
        if let Some(offset) = self.offset(addr) {
            self.taken.remove(&offset);
        }
    }

    /// How many addresses are free.
    pub(super) fn room(&self) -> u128 {
        let declared: u128 = self
            .declared
            .iter()
            .map(|(low, high)| (*high.min(&self.last) + 1).saturating_sub(*low.max(&self.first)))
            .sum();
        (self.last + 1)
            .saturating_sub(self.first)
            .saturating_sub(declared)
            .saturating_sub(self.taken.len() as u128)
    }

    /// The free address that a host is given: the first from where its name's hash points, round the range.
    pub(super) fn choose(&self, namespace: &str, host: &str) -> Option<IpAddr> {
        if self.room() == 0 {
            return None;
        }
        let size = self.last - self.first + 1;
        let mut offset = self.first + u128::from(hash(namespace, host)) % size;
        // Terminates: each step passes a taken or a declared address, and there is room.
        loop {
            let next = match self.declared_until(offset) {
                Some(high) => high + 1,
                None if self.taken.contains(&offset) => offset + 1,
                None => return Some(self.address(offset)),
            };
            offset = if next > self.last { self.first } else { next };
        }
    }

    /// The last offset of the declared stretch that holds `offset`.
    fn declared_until(&self, offset: u128) -> Option<u128> {
        let (_, high) = self.declared.range(..=offset).next_back()?;
        (*high >= offset).then_some(*high)
    }

    fn offset(&self, addr: IpAddr) -> Option<u128> {
        self.range
            .contains(&addr)
            .then(|| number(addr) - number(self.range.network()))
    }

    fn address(&self, offset: u128) -> IpAddr {
        let number = number(self.range.network()) + offset;
        match self.range {
            IpNet::V4(_) => {
                let bits = u32::try_from(number).expect("an offset stays within an IPv4 range");
                IpAddr::V4(bits.into())
            }
            IpNet::V6(_) => IpAddr::V6(number.into()),
        }
    }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Joins stretches that meet or overlap.
fn disjoint(mut stretches: Vec<(u128, u128)>) -> BTreeMap<u128, u128> {
    stretches.sort_unstable();
    let mut joined: BTreeMap<u128, u128> = BTreeMap::new();
    for (low, high) in stretches {
        if let Some(mut last) = joined.last_entry()
            && low <= *last.get()
        {
            let end = (*last.get()).max(high);
            last.insert(end);
        } else {
            joined.insert(low, high);
        }
    }
    joined
}

/// FNV-1a of both names, finished as in `SplitMix64`, as FNV's last characters hardly reach the low bits. Part of what
/// makes addresses stable: it must never change.
fn hash(namespace: &str, host: &str) -> u64 {
    let names = namespace.bytes().chain([b'/']).chain(host.bytes());
    let mut hash = names.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

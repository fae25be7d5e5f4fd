//! Who connects, as a number: what algorithms that keep a client at its endpoint go by.

use crate::abi::Address;

/// Of a socket that is bound to an address.
#[inline(always)]
pub fn of_address(address: Address) -> u32 {
    let words = address.words();
    words.into_iter().fold(0, |hash, word| mix(hash ^ word))
}

/// Of any other: the cgroup that its process is in.
#[inline(always)]
pub fn of_cgroup(id: u64) -> u32 {
    mix(mix(id as u32) ^ (id >> 32) as u32)
}

/// The finalizer of `MurmurHash3`: each bit changes about half of the others.
#[inline(always)]
const fn mix(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_that_follow_each_other_are_spread_evenly() {
        const PARTS: u64 = 16;
        const IDS: u64 = 16_000;
        let mut counts = [0u64; PARTS as usize];
        for id in 1..=IDS {
            counts[((u64::from(of_cgroup(id)) * PARTS) >> 32) as usize] += 1;
        }
        for count in counts {
            assert!(count.abs_diff(IDS / PARTS) < 150, "{counts:?}");
        }
    }

    #[test]
    fn an_address_is_the_same_client_in_either_family() {
        let v4 = Address::from_v4_octets([10, 0, 0, 1]);
        let mapped = Address::from_octets(v4.octets());
        assert_eq!(of_address(v4), of_address(mapped));
        assert_ne!(
            of_address(v4),
            of_address(Address::from_v4_octets([10, 0, 0, 2]))
        );
    }
}

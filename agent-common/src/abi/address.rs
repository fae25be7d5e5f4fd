//! Addresses, ports and ranges of addresses.

use core::cmp::Ordering;
use core::fmt;
use core::net::Ipv6Addr;

/// An IPv6 address, or an IPv4 address as v4-mapped: 16 bytes in network order, held as two words so that the BPF target,
/// which assumes no unaligned access, moves and compares it in two instructions.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Address(pub(super) [u64; 2]);

impl Address {
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let o = &octets;
        Self([
            u64::from_ne_bytes([o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]]),
            u64::from_ne_bytes([o[8], o[9], o[10], o[11], o[12], o[13], o[14], o[15]]),
        ])
    }

    /// The v4-mapped form of an IPv4 address in network order.
    pub const fn from_v4_octets(v4: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(v4))
    }

    /// The v4-mapped form of the word of a `sockaddr_in`, in network order.
    pub const fn from_v4_word(word: u32) -> Self {
        let host = u32::from_be(word) as u64;
        Self([0, (MAPPED | host).to_be()])
    }

    /// From the four words of a `sockaddr_in6`, each in network order.
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self([join(words[0], words[1]), join(words[2], words[3])])
    }

    pub const fn octets(self) -> [u8; 16] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5],
            b[6], b[7],
        ]
    }

    /// The four words of a `sockaddr_in6`, each in network order.
    pub const fn words(self) -> [u32; 4] {
        let [a, b] = self.0;
        let (a, b) = (u64::from_be(a), u64::from_be(b));
        [
            ((a >> 32) as u32).to_be(),
            (a as u32).to_be(),
            ((b >> 32) as u32).to_be(),
            (b as u32).to_be(),
        ]
    }

    /// The halves as numbers: addresses are in the order of these.
    #[inline(always)]
    pub(crate) const fn numbers(self) -> [u64; 2] {
        [u64::from_be(self.0[0]), u64::from_be(self.0[1])]
    }

    /// The word of a `sockaddr_in`: the IPv4 address of a v4-mapped one, in network order.
    pub const fn v4_word(self) -> u32 {
        (u64::from_be(self.0[1]) as u32).to_be()
    }

    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && u64::from_be(self.0[1]) >> 32 == MAPPED >> 32
    }

    /// Whether the address stands for another host depending on where it is used (loopback, which the unspecified address
    /// means too, and `fe80::/10`), or for many: multicast (`ff00::/8`, `224.0.0.0/4`) and broadcast.
    pub const fn is_relative(self) -> bool {
        let [high, low] = [u64::from_be(self.0[0]), u64::from_be(self.0[1])];
        let is_loopback = if self.is_v4() {
            low as u32 >> 24 == 127
        } else {
            high == 0 && low == 1
        };
        is_loopback || self.is_many()
    }

    /// The same but for loopback: nothing within one network namespace is that address and no other.
    pub const fn is_many(self) -> bool {
        let [high, low] = [u64::from_be(self.0[0]), u64::from_be(self.0[1])];
        if self.is_v4() {
            let v4 = low as u32;
            return v4 == 0 || v4 >> 28 == 0xe || v4 == u32::MAX;
        }
        high >> 54 == 0xfe80 >> 6 || high >> 56 == 0xff || high | low == 0
    }

    /// Whether nothing beyond the link is meant: loopback, the unspecified address, link-local ones (`169.254.0.0/16`,
    /// `fe80::/10`), multicast that no router passes on (`224.0.0.0/24`, `ff01::/16`, `ff02::/16`), and broadcast.
    pub const fn is_of_link(self) -> bool {
        let [high, low] = [u64::from_be(self.0[0]), u64::from_be(self.0[1])];
        if self.is_v4() {
            let v4 = low as u32;
            return v4 >> 24 == 127
                || v4 >> 16 == 0xa9fe
                || v4 >> 8 == 0xe0_0000
                || v4 == 0
                || v4 == u32::MAX;
        }
        let first = high >> 48;
        (high == 0 && low <= 1) || first >> 6 == 0xfe80 >> 6 || first == 0xff01 || first == 0xff02
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers())
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Ipv6Addr::from(self.octets()), f)
    }
}

/// The second half of every v4-mapped address, as a number.
const MAPPED: u64 = 0xffff_0000_0000;

/// Two words of network order as one.
const fn join(first: u32, second: u32) -> u64 {
    ((u32::from_be(first) as u64) << 32 | u32::from_be(second) as u64).to_be()
}

/// A port: two bytes in network order.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Port(u16);

impl Port {
    pub const fn new(port: u16) -> Self {
        Self(port.to_be())
    }

    /// From the word of a socket address, in network order.
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    /// The word of a socket address, in network order.
    pub const fn word(self) -> u16 {
        self.0
    }

    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(&other.get())
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// An address range: the addresses that equal `base` where `mask` has ones. All zero means no range.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    base: Address,
    mask: Address,
}

impl Range {
    /// The addresses whose first `bits` bits are those of `base`; an IPv4 range counts from bit 96.
    #[must_use]
    pub fn new(base: Address, bits: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        let mask = Address::from_octets(mask.to_be_bytes());
        Self {
            base: Address([base.0[0] & mask.0[0], base.0[1] & mask.0[1]]),
            mask,
        }
    }

    #[inline(always)]
    pub const fn contains(&self, address: Address) -> bool {
        let [base_high, base_low] = self.base.0;
        let [mask_high, mask_low] = self.mask.0;
        let [high, low] = address.0;
        mask_high | mask_low != 0 && high & mask_high == base_high && low & mask_low == base_low
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::string::String;

    use super::*;

    #[test]
    fn a_range_holds_its_own_addresses_only() {
        let range = Range::new(Address::from_v4_octets([240, 240, 7, 9]), 96 + 16);
        assert!(range.contains(Address::from_v4_octets([240, 240, 0, 0])));
        assert!(range.contains(Address::from_v4_octets([240, 240, 255, 255])));
        assert!(!range.contains(Address::from_v4_octets([240, 241, 0, 0])));
        assert!(!Range::default().contains(Address::default()));
    }

    #[test]
    fn addresses_that_stand_for_no_single_host_are_told_apart() {
        let v6 = |text: &str| {
            let address: Ipv6Addr = text.parse().expect("a valid address");
            Address::from_octets(address.octets())
        };
        let mapped = [
            "127.0.0.1",
            "127.9.9.9",
            "224.0.0.251",
            "255.255.255.255",
            "0.0.0.0",
        ];
        let mapped = mapped.map(|text| format!("::ffff:{text}"));
        let relative = ["::", "::1", "fe80::1", "febf::1", "ff02::1"].map(String::from);
        for relative in mapped.iter().chain(&relative) {
            assert!(v6(relative).is_relative(), "{relative}");
        }
        for other in [
            "fec0::1",
            "fd00::1",
            "::2",
            "::ffff:169.254.169.254",
            "::ffff:240.240.0.1",
        ] {
            assert!(!v6(other).is_relative(), "{other}");
        }
    }

    #[test]
    fn addresses_of_the_link_are_told_apart() {
        let of_link = |text: &str| {
            let address: Ipv6Addr = text.parse().expect("a valid address");
            Address::from_octets(address.octets()).is_of_link()
        };
        for address in [
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff01::1",
            "ff02::fb",
            "::ffff:0.0.0.0",
            "::ffff:127.0.0.53",
            "::ffff:169.254.169.254",
            "::ffff:224.0.0.251",
            "::ffff:255.255.255.255",
        ] {
            assert!(of_link(address), "{address}");
        }
        for address in [
            "::2",
            "fec0::1",
            "ff05::1",
            "2001:db8::1",
            "::ffff:126.0.0.1",
            "::ffff:169.253.0.1",
            "::ffff:224.0.1.1",
            "::ffff:239.1.2.3",
        ] {
            assert!(!of_link(address), "{address}");
        }
    }

    #[test]
    fn only_mapped_addresses_are_v4() {
        assert!(Address::from_v4_octets([127, 0, 0, 1]).is_v4());
        assert!(!Address::default().is_v4());
    }
}

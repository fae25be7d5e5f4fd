//! FRONTENDS: which destinations are captured, and the group that each leads to.

use super::address::{Address, Port};

/// What the first 16 bytes of a [`FrontendKey`] are.
const KIND_ADDRESS: u8 = 0;
const KIND_PREFIX: u8 = 1;

/// Key of FRONTENDS: a destination as a client of one scope names it. Three words, which the kernel programs write and
/// hash whole: bytes written one by one would have to reach the cache before the words that hold them can be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    address: Address,
    /// Port in network order, protocol, kind, scope.
    door: u64,
}

impl FrontendKey {
    pub const fn address(address: Address, port: Port, protocol: u8, scope: u32) -> Self {
        Self {
            address,
            door: door(port, protocol, KIND_ADDRESS, scope),
        }
    }

    /// The key under which the ports of a CIDR stand: its id in PREFIXES takes the place of the address.
    #[must_use]
    pub const fn prefix(id: u32, port: Port, protocol: u8, scope: u32) -> Self {
        Self {
            address: Address([0, (id as u64).to_be()]),
            door: door(port, protocol, KIND_PREFIX, scope),
        }
    }

    /// A hash of the key, kept beside the group in its [`FrontendWord`]. A hash-table element may be recycled for
    /// another key while a program reads it; the check tells.
    #[must_use]
    pub const fn check(&self) -> u32 {
        let [high, low] = self.address.0;
        let mut hash = mix(0x9e37_79b9_7f4a_7c15, high);
        hash = mix(hash, low);
        hash = mix(hash, self.door);
        (hash >> 32) as u32
    }

    pub const fn destination(&self) -> Address {
        self.address
    }

    pub const fn port(&self) -> Port {
        let [a, b, ..] = self.door.to_ne_bytes();
        Port::from_word(u16::from_ne_bytes([a, b]))
    }

    pub const fn protocol(&self) -> u8 {
        let [_, _, protocol, ..] = self.door.to_ne_bytes();
        protocol
    }

    pub const fn scope(&self) -> u32 {
        let [_, _, _, _, scope @ ..] = self.door.to_ne_bytes();
        u32::from_ne_bytes(scope)
    }

    /// The id of the CIDR that stands in the place of the address.
    pub const fn prefix_id(&self) -> Option<u32> {
        let Address([_, low]) = self.address;
        if self.is_prefix() {
            Some(u64::from_be(low) as u32)
        } else {
            None
        }
    }

    pub const fn is_prefix(&self) -> bool {
        let [_, _, _, kind, ..] = self.door.to_ne_bytes();
        kind == KIND_PREFIX
    }
}

const fn door(port: Port, protocol: u8, kind: u8, scope: u32) -> u64 {
    let port = port.word().to_ne_bytes();
    let scope = scope.to_ne_bytes();
    u64::from_ne_bytes([
        port[0], port[1], protocol, kind, scope[0], scope[1], scope[2], scope[3],
    ])
}

const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

/// Value of FRONTENDS: one 64-bit word, so that it is read and replaced whole. The group is in the low half, the check in the
/// high one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendWord(u64);

impl FrontendWord {
    /// Points `key` at the group whose header is ARENA cell `group`.
    #[must_use]
    pub const fn new(key: &FrontendKey, group: u32) -> Self {
        Self((key.check() as u64) << 32 | group as u64)
    }

    pub const fn group(self) -> u32 {
        self.0 as u32
    }

    /// Whether this word was written for `key`.
    pub const fn is_for(self, key: &FrontendKey) -> bool {
        (self.0 >> 32) as u32 == key.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::{DEFAULT_SCOPE, TCP};

    #[test]
    fn a_prefix_key_never_equals_an_address_key() {
        let loopback = Address::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let port = Port::new(80);
        let by_address = FrontendKey::address(loopback, port, TCP, DEFAULT_SCOPE);
        let by_prefix = FrontendKey::prefix(1, port, TCP, DEFAULT_SCOPE);
        assert_ne!(by_address, by_prefix);
        assert_ne!(by_address.check(), by_prefix.check());
    }
}

//! SCOPES and EXEMPT: who a client is, and what it may reach beyond what is registered.

/// What becomes of a connect to a destination that nothing claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outbound {
    /// It passes.
    #[default]
    AllowAny,
    /// It is denied, unless the destination is exempt.
    RegistryOnly,
    /// It passes, and is told of where `RegistryOnly` would have denied it.
    Audited,
}

const REGISTRY_ONLY: u8 = 1;
const AUDITED: u8 = 2;

/// Value of SCOPES, under the id of a cgroup: one 64-bit word, so that it is read and replaced whole. The scope is in the low
/// half; above it are the number of what it is told of names, and a byte of its [`Outbound`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientWord(u64);

impl ClientWord {
    #[must_use]
    pub const fn new(scope: u32, names: u16, outbound: Outbound) -> Self {
        let outbound = match outbound {
            Outbound::AllowAny => 0,
            Outbound::RegistryOnly => REGISTRY_ONLY,
            Outbound::Audited => AUDITED,
        };
        Self((outbound as u64) << 48 | (names as u64) << 32 | scope as u64)
    }

    pub const fn scope(self) -> u32 {
        self.0 as u32
    }

    /// Scopes with the same number are told the same of names.
    pub const fn names(self) -> u16 {
        (self.0 >> 32) as u16
    }

    pub const fn outbound(self) -> Outbound {
        match (self.0 >> 48) as u8 {
            REGISTRY_ONLY => Outbound::RegistryOnly,
            AUDITED => Outbound::Audited,
            _ => Outbound::AllowAny,
        }
    }
}

/// Depths in the hierarchy at which the cgroup of a workload is looked for.
pub const LEVELS: usize = 4;

/// What may be reached though nothing claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exemption {
    /// On every port.
    Destination,
    /// On port 53 alone.
    NameServer,
}

const DESTINATION: u32 = 1;
const NAME_SERVER: u32 = 2;

impl Exemption {
    /// As a value of EXEMPT. There 0 is none: it keeps what is in a wider CIDR from being exempt.
    #[must_use]
    pub const fn value(exemption: Option<Self>) -> u32 {
        match exemption {
            None => 0,
            Some(Self::Destination) => DESTINATION,
            Some(Self::NameServer) => NAME_SERVER,
        }
    }

    pub const fn from_value(value: u32) -> Option<Self> {
        match value {
            DESTINATION => Some(Self::Destination),
            NAME_SERVER => Some(Self::NameServer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_it_was_made_of() {
        for outbound in [
            Outbound::AllowAny,
            Outbound::RegistryOnly,
            Outbound::Audited,
        ] {
            let word = ClientWord::new(0xffff_fff0, 0xfff1, outbound);
            assert_eq!(
                (word.scope(), word.names(), word.outbound()),
                (0xffff_fff0, 0xfff1, outbound)
            );
        }
        assert_eq!(
            ClientWord::default(),
            ClientWord::new(super::super::DEFAULT_SCOPE, 0, Outbound::AllowAny)
        );
    }
}

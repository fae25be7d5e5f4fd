//! IDENTITIES: what each number of COUNTERS and ENDPOINTS stands for. No kernel program has it; it is for the next agent.

use super::address::{Address, Port};

/// Who has a number: an element of IDENTITIES, under the same index as in COUNTERS.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Of a service, a hash of its key; of an endpoint, its address.
    name: Address,
    /// Of a service: connects to endpoints that it had.
    retired: u64,
    /// Of a service, the cell of its newest group; of an endpoint, its service.
    place: u32,
    kind: u16,
    /// Of an endpoint.
    port: Port,
}

const SERVICE: u16 = 1;
const ENDPOINT: u16 = 2;

/// What an [`Identity`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identified {
    Service(IdentifiedService),
    Endpoint {
        service: u32,
        address: Address,
        port: Port,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifiedService {
    /// Of its key.
    pub hash: [u8; 16],
    /// Cell of its newest group, or [`NO_GROUP`].
    pub group: u32,
    /// Connects to endpoints that it had.
    pub retired: u64,
}

/// In the place of a group's cell, as none is there.
pub const NO_GROUP: u32 = 0;

impl Identity {
    /// `None` for a number that nobody has.
    pub fn get(&self) -> Option<Identified> {
        match self.kind {
            SERVICE => Some(Identified::Service(IdentifiedService {
                hash: self.name.octets(),
                group: self.place,
                retired: self.retired,
            })),
            ENDPOINT => Some(Identified::Endpoint {
                service: self.place,
                address: self.name,
                port: self.port,
            }),
            _ => None,
        }
    }
}

impl From<Identified> for Identity {
    fn from(identified: Identified) -> Self {
        match identified {
            Identified::Service(service) => Self {
                name: Address::from_octets(service.hash),
                retired: service.retired,
                place: service.group,
                kind: SERVICE,
                port: Port::default(),
            },
            Identified::Endpoint {
                service,
                address,
                port,
            } => Self {
                name: address,
                retired: 0,
                place: service,
                kind: ENDPOINT,
                port,
            },
        }
    }
}

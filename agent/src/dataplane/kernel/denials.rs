//! What the programs tell: connects that policies denied, or would have.

use std::net::SocketAddr;

use agent_common::abi::Denial;
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};

use crate::compile::ServiceKey;
use crate::dataplane::names::Names;

use super::error::LoadError;
use super::tables::take;

/// The reading end of DENIALS.
pub struct Denials(RingBuf<MapData>);

impl Denials {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self(RingBuf::try_from(take(ebpf, "DENIALS")?)?))
    }

    /// Returns all that has been told since the last time, the oldest first; does not wait.
    pub fn drain(&mut self) -> Vec<Denial> {
        let mut denials = Vec::new();
        while let Some(item) = self.0.next() {
            denials.extend(Denial::from_bytes(&item));
        }
        denials
    }
}

/// Whom a denial is about, as far as it is still there: the service, and the endpoint where it is one's.
pub(super) fn place<'a>(
    names: &'a Names,
    denial: &Denial,
) -> (Option<&'a ServiceKey>, Option<SocketAddr>) {
    let endpoint = names.endpoint(denial.endpoint);
    let at = endpoint.map(|(_, address, port)| SocketAddr::new(address, port));
    (names.service(denial.service), at)
}

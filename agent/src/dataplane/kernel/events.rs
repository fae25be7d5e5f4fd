//! What the programs tell: failed connects, as they happen.
#![expect(
    unsafe_code,
    reason = "a descriptor is watched for as long as its owner lives"
)]

use std::io;
use std::net::SocketAddr;

use agent_common::abi::Event;
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use crate::compile::ServiceKey;
use crate::dataplane::names::Names;

use super::error::LoadError;

/// The reading end of EVENTS.
pub struct Events(AsyncFd<RingBuf<MapData>>);

impl Events {
    /// Must be called within a Tokio runtime.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let name = "EVENTS";
        let map = ebpf.take_map(name).ok_or(LoadError::Incomplete { name })?;
        let ring = RingBuf::try_from(map)?;
        // SAFETY: the ring owns its descriptor, and closes it when it is dropped.
        let ring = unsafe { AsyncFd::register(ring) };
        let ring = ring.map_err(|error| LoadError::Events(error.into()))?;
        Ok(Self(ring))
    }

    /// Returns all that has been told since, once there is anything. Nothing is lost where this is not awaited to its end.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            let ring = guard.get_inner_mut();
            let mut events = Vec::new();
            while let Some(item) = ring.next() {
                events.extend(Event::from_bytes(&item));
            }
            guard.clear_ready();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// The endpoint that an event is of, unless it is gone.
pub(super) fn place(names: &Names, event: &Event) -> Option<(ServiceKey, SocketAddr)> {
    let (service, address, port) = names.endpoint(event.endpoint)?;
    Some((service.clone(), SocketAddr::new(address, port)))
}

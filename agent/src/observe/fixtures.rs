//! A small state for the tests of this stage, compiled from objects as the agent does it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::api::{Object, Resolution};
use crate::compile::compile;
use crate::dataplane::Limits;
use crate::dataplane::MemoryDataplane;
use crate::model::fixtures::{endpoint, entry, snapshot};

use super::State;

/// Two endpoints, 3 to 1, at two addresses of its own.
pub(crate) fn weighted() -> Object {
    entry("api.example.com")
        .at_addresses(&["10.0.0.1", "2001:db8::1"])
        .with_endpoints(vec![
            endpoint("192.0.2.1").weighing(3).within("r1/z1"),
            endpoint("192.0.2.2").weighing(1).labelled(&[("v", "2")]),
        ])
}

/// Resolution NONE on a CIDR.
pub(crate) fn passed() -> Object {
    entry("net.example.com")
        .at_addresses(&["10.9.0.0/16"])
        .resolving(Resolution::None)
}

/// No endpoint, at an automatic address.
pub(crate) fn empty() -> Object {
    entry("empty.example.com")
}

pub(crate) fn state(objects: &[Object]) -> State {
    let snapshot = Arc::new(snapshot(objects));
    let compiled = Arc::new(compile(&snapshot));
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    State {
        generation: 1,
        ready: true,
        snapshot,
        compiled,
        updated: started + Duration::from_secs(5),
        took: Duration::from_millis(2),
        ..State::initial(started, Duration::ZERO, vec!["/sys/fs/cgroup".into()])
    }
}

/// Tables that hold what the state says.
pub(crate) fn tables(state: &State) -> MemoryDataplane {
    let mut dataplane = MemoryDataplane::in_memory(&Limits::default());
    let applied = dataplane.apply(&state.compiled.program);
    assert_eq!(applied.diagnostics, []);
    dataplane
}

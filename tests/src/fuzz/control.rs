//! Whether any bytes on the control socket are a request, or none, that means the same when it is sent on; and whether what is
//! asked to be explained can be.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use agent::api::decode;
use agent::compile::{Judge, compile};
use agent::dataplane::{Counts, Limits, MemoryDataplane};
use agent::model::{Fact, FileFact, Registry, SourceId};
use agent::observe::explain::{Question, Sight};
use agent::observe::view::Live;
use agent::observe::{Request, State, explain};

/// Draws that a fuzzer has the patience for.
const MAX_COUNT: u32 = 100;

const OBJECTS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.test, '*.b.test']
  addresses: [10.1.0.1, 10.2.0.0/16]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 53, name: udp, protocol: UDP}]
  resolution: STATIC
  endpoints: [{address: 10.3.0.1}, {address: fd00::1, weight: 3}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: c}
spec:
  hosts: [c.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
---
apiVersion: shunt.internal/v1alpha1
kind: LocalWorkload
metadata: {name: w, namespace: shop}
spec: {cgroup: w.service}
";

static STATE: LazyLock<State> = LazyLock::new(|| {
    let mut registry = Registry::default();
    registry.apply(Fact::File {
        source: SourceId("fuzz".into()),
        path: "x".into(),
        fact: FileFact::Read(decode("x", OBJECTS)),
    });
    let snapshot = Arc::new(registry.snapshot());
    State {
        compiled: Arc::new(compile(&snapshot)),
        snapshot,
        ..State::initial(SystemTime::UNIX_EPOCH, Duration::ZERO, Vec::new())
    }
});

pub fn control(input: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(input) else {
        return;
    };
    let sent = serde_json::to_vec(&request).expect("a request can be written");
    let read: Request = serde_json::from_slice(&sent).expect("what is written can be read");
    assert_eq!(read, request);
    if let Request::Explain(question) = request {
        check(&Question {
            count: question.count.min(MAX_COUNT),
            ..question
        });
    }
}

fn check(question: &Question) {
    let mut dataplane = MemoryDataplane::in_memory(&Limits::default());
    dataplane.apply(&STATE.compiled.program);
    let counts = Counts::default();
    let sight = Sight {
        tables: dataplane.tables(),
        names: dataplane.names(),
        compiled: &STATE.compiled,
        judge: &Judge::new(&STATE.snapshot),
        live: Live::at(&STATE, &counts, STATE.updated),
    };
    let mut draw = 0_u32;
    let explanation = explain(&sight, question, || {
        draw = draw.wrapping_add(0x9e37_79b9);
        draw
    });
    assert!(!explanation.target.is_empty());
    for connect in &explanation.connects {
        let drawn: u64 = connect.distribution.iter().map(|to| to.connects).sum();
        assert!(drawn <= question.count.into(), "{connect:?}");
    }
}

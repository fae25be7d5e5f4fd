//! The real agent on the real kernel: an endpoint that no client connects to is left out, and comes back, by probes alone.
//! They need nothing of the kernel, so that this holds also where it cannot tell of failed connects.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use agent::model::Vital;
use agent::observe::view::EndpointView;
use agent::observe::{Request as Question, Response, ask};
use anyhow::{Result, bail};
use tests::netns::add_address;
use tests::node::Node;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Addresses of the agent's own network namespace, where its probes can reach them.
const STAYS: &str = "10.9.1.1";
const ENDS: &str = "10.9.1.2";

const RULE: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r}
spec:
  host: a.test
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 100}
";

fn entry(endpoints: [SocketAddr; 2]) -> String {
    let text = tests::node::entry("a.test", "STATIC", &[]).replace(
        "metadata: {name: a.test}",
        "metadata: {name: a.test, annotations: {shunt.internal/probe-interval: 1s}}",
    );
    let lines = endpoints.map(|at| {
        let (address, port) = (at.ip(), at.port());
        format!("  - {{address: {address}, ports: {{http: {port}}}}}\n")
    });
    text + "  endpoints:\n" + &lines.concat()
}

fn listen(address: &str, number: usize) -> Result<TcpListener> {
    let address: IpAddr = address.parse()?;
    add_address(address, number)?;
    Ok(TcpListener::bind((address, 0))?)
}

/// Waits until that endpoint, and no other, is left out, or until none is.
fn wait_until_out(node: &mut Node, expected: Option<SocketAddr>) -> Result<()> {
    node.wait_until(&format!("{expected:?} is left out"), |state| {
        let services = state.compiled.program.services.values();
        let out = services
            .flat_map(|service| &service.endpoints)
            .filter(|endpoint| endpoint.vital == Vital::Ejected)
            .map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port));
        out.collect::<Vec<_>>() == Vec::from_iter(expected)
    })?;
    Ok(())
}

fn endpoints(node: &Node) -> Result<Vec<EndpointView>> {
    match ask(&node.socket(), &Question::Endpoints)? {
        Response::Endpoints(endpoints) => Ok(endpoints),
        other => bail!("{other:?}"),
    }
}

#[test]
fn an_endpoint_that_no_client_connects_to_is_left_out_and_let_in_by_probes_alone() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let (stays, ends) = (listen(STAYS, 1)?, listen(ENDS, 2)?);
    let (stays_at, ends_at) = (stays.local_addr()?, ends.local_addr()?);
    let object = entry([stays_at, ends_at]);
    fs::write(node.config_dir().join("a.yaml"), object + RULE)?;
    node.start()?;

    let (mut probe, _) = ends.accept()?;
    probe.set_read_timeout(Some(Duration::from_secs(10)))?;
    assert_eq!(probe.read(&mut [0])?, 0, "an orderly end, and no word");
    wait_until_out(&mut node, None)?;

    drop(ends);
    wait_until_out(&mut node, Some(ends_at))?;
    let ends = TcpListener::bind(ends_at)?;
    wait_until_out(&mut node, None)?;

    let seen = endpoints(&node)?;
    assert_eq!(seen.len(), 2);
    for endpoint in seen {
        assert!(endpoint.healthy, "{endpoint:?}");
        assert_eq!((endpoint.connects, endpoint.open), (0, 0), "{endpoint:?}");
    }
    drop((stays, ends));
    Ok(())
}

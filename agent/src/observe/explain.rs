//! Why a connect goes where it goes: the decision of the kernel programs, run step by step over the same tables.
//!
//! It takes no lock and reads no clock; the random numbers are the caller's.

mod client;
mod lookup;
mod target;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use agent_common::{Connect, Tables, Verdict, decide};
use serde::{Deserialize, Serialize};

use crate::compile::{Access, Compiled, Judge, Service, ServiceKey};
use crate::dataplane::Names;

use client::Known;

use super::view::endpoint::{Live, endpoints_of, fraction};
use super::view::{EndpointView, Place};

pub use client::{ClientName, ClientNameError};
pub use target::{Target, TargetError, Transport};

/// Most draws for one question, so that the tables, which are locked meanwhile, are soon free again.
pub const MAX_DRAWS: u32 = 1_000_000;
/// Most destinations that are explained at once; a host may have thousands of addresses.
const MAX_DESTINATIONS: usize = 64;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    pub target: Target,
    /// Absent: TCP for an address, and whatever its ports are for a host.
    pub transport: Option<Transport>,
    /// Who connects. Absent: a client that no workload claims.
    #[serde(default)]
    pub from: Option<ClientName>,
    /// How many connects to draw for each destination, together up to [`MAX_DRAWS`].
    pub count: u32,
}

/// What there is to know about a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub target: String,
    /// How the target was understood, in sentences.
    pub steps: Vec<String>,
    /// What becomes of a connect to each address and port that the target stands for.
    pub connects: Vec<ConnectView>,
    /// The host that was likely meant, where none matches.
    pub suggestion: Option<String>,
}

/// What becomes of connects to one address and port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectView {
    pub address: IpAddr,
    pub port: u16,
    pub transport: Transport,
    /// The decision in sentences, in its order.
    pub steps: Vec<String>,
    #[serde(flatten)]
    pub verdict: VerdictView,
    pub service: Option<ServiceName>,
    pub object: Option<Place>,
    pub endpoints: Vec<EndpointView>,
    /// Where `count` connects went, most first.
    pub distribution: Vec<DrawsView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "verdict",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum VerdictView {
    /// Not redirected: it goes where the client says.
    Pass,
    /// Claimed by a service, which leaves the address, and the port unless one is given.
    Original { original_port: Option<u16> },
    /// Sent to one of the endpoints.
    Rewrite,
    /// A query to a name server, which the agent's own answers.
    Ask,
    /// Fails with this error.
    Deny { errno: String, reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceName {
    pub namespace: String,
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrawsView {
    pub address: IpAddr,
    pub port: u16,
    pub connects: u64,
    /// Of all draws for this destination.
    pub fraction: f64,
}

/// What the explanation reads.
#[derive(Debug)]
pub struct Sight<'a, T> {
    pub tables: &'a T,
    pub names: &'a Names,
    pub compiled: &'a Compiled,
    pub judge: &'a Judge<'a>,
    pub live: Live<'a>,
}

/// Explains. `random` gives 32 uniform bits at each call.
pub fn explain<T: Tables>(
    sight: &Sight<'_, T>,
    question: &Question,
    mut random: impl FnMut() -> u32,
) -> Explanation {
    let (client, mut steps) = match client::find(sight.compiled, question.from.as_ref()) {
        Ok(found) => found,
        Err(why) => {
            return Explanation {
                target: question.target.to_string(),
                steps: vec![why],
                connects: Vec::new(),
                suggestion: None,
            };
        }
    };
    let found = lookup::destinations(&sight.compiled.program, question, client.word.scope());
    steps.extend(found.steps);
    let all = found.destinations.len();
    if all > MAX_DESTINATIONS {
        steps.push(format!(
            "it has {all} destinations, of which the first {MAX_DESTINATIONS} are shown"
        ));
    }
    let shown = found.destinations.into_iter().take(MAX_DESTINATIONS);
    let shares = u32::try_from(shown.len().max(1)).expect("at most MAX_DESTINATIONS are shown");
    let count = question.count.min(MAX_DRAWS / shares);
    Explanation {
        target: question.target.to_string(),
        steps,
        connects: shown
            .map(|(to, transport)| connect_view(sight, client, (to, transport), count, &mut random))
            .collect(),
        suggestion: found.suggestion,
    }
}

fn connect_view<T: Tables>(
    sight: &Sight<'_, T>,
    client: Known<'_>,
    (to, transport): (SocketAddr, Transport),
    count: u32,
    random: &mut impl FnMut() -> u32,
) -> ConnectView {
    let connect = target::connect(to, transport, client.word);
    let verdict = decide(sight.tables, &connect, &mut *random);
    let place = lookup::matched(sight, &connect, to);
    let key = service_id(verdict)
        .and_then(|id| sight.names.service(id))
        .or(place.service);
    let claimed = key.and_then(|key| Some((key, sight.compiled.program.services.get(key)?)));
    let mut steps = vec![text::match_step(&connect, to, transport, &place, claimed)];
    if let Some((_, service)) = claimed {
        steps.extend(text::service_steps(service));
    }
    let access = claimed.and_then(|(_, service)| access(sight, client, verdict, service));
    let access = access.as_ref();
    if !matches!(verdict, Verdict::Deny { .. }) {
        steps.extend(access.map(Access::sentence));
    }
    steps.push(text::verdict_step(verdict, to, client.policy, access));
    ConnectView {
        address: to.ip(),
        port: to.port(),
        transport,
        steps,
        verdict: text::verdict_view(verdict, access),
        service: key.map(name),
        object: claimed.map(|(_, service)| Place::new(&service.object, &service.origin)),
        endpoints: claimed
            .map(|(key, service)| endpoints_of(key, service, sight.live))
            .unwrap_or_default(),
        distribution: distribution(sight.tables, &connect, count, random),
    }
}

/// What policies say to the client of the endpoint that the verdict is about, where they say anything of it, or else of the service.
fn access<T>(
    sight: &Sight<'_, T>,
    client: Known<'_>,
    verdict: Verdict,
    service: &Service,
) -> Option<Access> {
    let endpoint = match verdict {
        Verdict::Deny { endpoint, .. } | Verdict::Rewrite { endpoint, .. } => {
            sight.names.endpoint(endpoint)
        }
        _ => None,
    };
    let at = endpoint.map(|(_, address, port)| SocketAddr::new(address, port));
    let endpoint = at.and_then(|at| service.endpoint(at));
    let (judge, workload) = (sight.judge, client.workload);
    endpoint
        .and_then(|endpoint| judge.of_endpoint(workload, endpoint))
        .or_else(|| judge.of_service(workload, service))
}

/// A service as the program has it.
type Claim<'a> = (&'a ServiceKey, &'a std::sync::Arc<Service>);

fn name(key: &ServiceKey) -> ServiceName {
    ServiceName {
        namespace: key.namespace.to_string(),
        host: key.host.to_string(),
        port: key.port,
    }
}

const fn service_id(verdict: Verdict) -> Option<u32> {
    match verdict {
        Verdict::Pass | Verdict::PassUnregistered | Verdict::Ask { .. } => None,
        Verdict::Original { service, .. } | Verdict::Rewrite { service, .. } => Some(service),
        Verdict::Deny { service, .. } => service,
    }
}

fn distribution(
    tables: &impl Tables,
    connect: &Connect,
    count: u32,
    random: &mut impl FnMut() -> u32,
) -> Vec<DrawsView> {
    let mut draws: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    for _ in 0..count {
        match decide(tables, connect, &mut *random) {
            Verdict::Rewrite { address, port, .. } => {
                let to = SocketAddr::new(target::ip(address), port.get());
                *draws.entry(to).or_default() += 1;
            }
            // One that is drawn may be denied, or not be there.
            Verdict::Deny { .. } => {}
            // The same each time.
            _ => break,
        }
    }
    let mut views: Vec<DrawsView> = draws
        .into_iter()
        .map(|(to, connects)| DrawsView {
            address: to.ip(),
            port: to.port(),
            connects,
            fraction: fraction(connects, u64::from(count)),
        })
        .collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.connects));
    views
}

//! What becomes of what the kernel tells of denied connects? Alike ones are counted together, told in the log once in a while,
//! and kept for whoever asks.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent_common::abi::{Denial, Denied, TCP, UDP};
use imbl::OrdMap;

use crate::api::ObjectId;
use crate::compile::{Judge, ServiceKey};
use crate::dataplane::{Dataplane, ip_address};
use crate::observe::State;
use crate::observe::view::DenialView;

/// Kinds of denials that are kept; of more, those that are longest past are forgotten.
const MOST: usize = 1024;
/// How often the same is told in the log.
const QUIET: Duration = Duration::from_mins(1);

/// Denied connects, alike ones together.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<Key, Entry>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    cgroup: u64,
    destination: SocketAddr,
    protocol: u8,
    denied: Denied,
}

#[derive(Clone, Debug)]
struct Entry {
    count: u64,
    process: u32,
    reason: String,
    last: Instant,
    /// When it was told last, and how many there were by then.
    told: Option<(Instant, u64)>,
}

impl Ledger {
    /// Takes in what the kernel told.
    pub(super) fn note(&self, denials: &[Denial], state: &State, dataplane: &Dataplane) {
        let now = Instant::now();
        let mut entries = self.lock();
        let directory = LazyCell::new(|| Directory::new(state));
        let judge = LazyCell::new(|| Judge::new(&state.snapshot));
        let reason = |denial: &Denial, denied| match denied {
            Denied::NotRegistered | Denied::Audited => unregistered(denial, state),
            Denied::Policy => {
                let workload = directory.owners.get(&denial.cgroup).copied();
                by_policies(dataplane.denied(denial), state, &judge, workload)
            }
        };
        for denial in denials {
            let Some(denied) = denial.denied() else {
                continue;
            };
            let key = Key {
                cgroup: denial.cgroup,
                destination: SocketAddr::new(ip_address(denial.address), denial.port.get()),
                protocol: denial.protocol,
                denied,
            };
            let entry = entries.entry(key).or_insert_with(|| Entry {
                count: 0,
                process: denial.process,
                reason: reason(denial, denied),
                last: now,
                told: None,
            });
            entry.count += 1;
            entry.process = denial.process;
            entry.last = now;
        }
        let is_due = |entry: &Entry| {
            entry
                .told
                .is_none_or(|(at, count)| now.duration_since(at) >= QUIET && entry.count > count)
        };
        if entries.values().any(is_due) {
            for (key, entry) in entries.iter_mut().filter(|(_, entry)| is_due(entry)) {
                tell(key, entry, &directory);
                entry.told = Some((now, entry.count));
            }
        }
        if entries.len() > MOST {
            let mut times: Vec<Instant> = entries.values().map(|entry| entry.last).collect();
            times.sort_unstable();
            let oldest = times[entries.len() - MOST];
            entries.retain(|_, entry| entry.last >= oldest);
        }
    }

    /// All of them, the last first.
    pub(super) fn view(&self, state: &State) -> Vec<DenialView> {
        let now = Instant::now();
        let entries = self.lock();
        let mut all: Vec<(&Key, &Entry)> = entries.iter().collect();
        all.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.last));
        let directory = Directory::new(state);
        let view = |(key, entry): (&Key, &Entry)| {
            let (workload, cgroup) = directory.find(key.cgroup);
            DenialView {
                workload,
                cgroup,
                process: entry.process,
                destination: key.destination,
                protocol: protocol(key.protocol),
                outcome: outcome(key.denied).to_owned(),
                reason: entry.reason.clone(),
                count: entry.count,
                age_seconds: now.duration_since(entry.last).as_secs(),
            }
        };
        all.into_iter().map(view).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(key: &Key, entry: &Entry, directory: &Directory<'_>) {
    let (workload, cgroup) = directory.find(key.cgroup);
    tracing::warn!(
        workload = workload.as_deref().unwrap_or("-"),
        cgroup = cgroup.as_deref().unwrap_or("-"),
        process = entry.process,
        destination = %key.destination,
        protocol = %protocol(key.protocol),
        count = entry.count,
        reason = %entry.reason,
        "{}",
        match key.denied {
            Denied::Audited => "a connect would be denied",
            Denied::NotRegistered | Denied::Policy => "a connect is denied",
        }
    );
}

/// Who is in each cgroup, by its id.
struct Directory<'a> {
    owners: OrdMap<u64, &'a ObjectId>,
    paths: HashMap<u64, &'a str>,
}

impl<'a> Directory<'a> {
    fn new(state: &'a State) -> Self {
        let compiled = &state.compiled;
        let paths = compiled.cgroup_paths.iter();
        Self {
            owners: compiled.residents.owners(&compiled.cgroup_paths),
            paths: paths.map(|(path, id)| (*id, &**path)).collect(),
        }
    }

    /// The workload and the path of the cgroup.
    fn find(&self, cgroup: u64) -> (Option<String>, Option<String>) {
        let workload = self.owners.get(&cgroup);
        let workload = workload.map(|id| format!("{}/{}", id.namespace, id.name));
        let path = self.paths.get(&cgroup);
        (workload, path.map(|path| (*path).to_owned()))
    }
}

const fn outcome(denied: Denied) -> &'static str {
    match denied {
        Denied::Audited => "AUDITED",
        Denied::NotRegistered | Denied::Policy => "DENIED",
    }
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        other => other.to_string(),
    }
}

fn unregistered(denial: &Denial, state: &State) -> String {
    let clients = &state.compiled.program.clients;
    let scope = clients.scopes.get(&denial.scope);
    let by = scope.and_then(|scope| scope.policy.as_deref());
    let by = by.unwrap_or("outboundTrafficPolicy of the mesh");
    format!("no ServiceEntry that the client sees has the destination, and {by} is REGISTRY_ONLY")
}

/// `key` and `at` are what was denied, as far as it is still there.
fn by_policies(
    (key, at): (Option<&ServiceKey>, Option<SocketAddr>),
    state: &State,
    judge: &Judge<'_>,
    workload: Option<&ObjectId>,
) -> String {
    let service = key.and_then(|key| state.compiled.program.services.get(key));
    let access = service.and_then(|service| match at {
        Some(at) => judge.of_endpoint(workload, service.endpoint(at)?),
        None => judge.of_service(workload, service),
    });
    let name = key.map_or_else(|| "the service".to_owned(), ToString::to_string);
    let what = at.map_or(name.clone(), |at| format!("{at} of {name}"));
    match access {
        Some(access) => format!("{what}: {}", access.sentence()),
        None => format!("policies denied {what}"),
    }
}

//! Answers the control socket's questions from the published state and the live maps.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::compile::Judge;
use crate::dataplane::{Counts, Dataplane};
use crate::model::VipRanges;
use crate::nameserver::{NameServer, Question as NameQuestion};
use crate::observe::explain::{Question, Sight, explain};
use crate::observe::view::status::{UnreadableView, unix_seconds};
use crate::observe::view::{self, Live, NameView, SourceView, StatusInput};
use crate::observe::{Listening, Request, Response, State, control, coverage};
use crate::sources::{DirectoryStatus, NameStatus, Refresher};

use super::closing::Tally;
use super::denials::Ledger;
use super::drift::Desk;
use super::hits::HitCounter;
use super::supervisor::Pulse;

/// Where answers come from.
pub(super) struct Control {
    pub(super) state: watch::Receiver<Arc<State>>,
    /// The agent's alone, so that what it detaches when it ends waits for no client.
    pub(super) dataplane: Weak<Mutex<Dataplane>>,
    pub(super) refresher: Arc<Refresher>,
    pub(super) directories: Vec<watch::Receiver<DirectoryStatus>>,
    pub(super) vip_ranges: VipRanges,
    pub(super) names: Arc<NameServer>,
    pub(super) closed: Arc<Tally>,
    pub(super) denials: Arc<Ledger>,
    pub(super) hits: Arc<HitCounter>,
    pub(super) drift: Desk,
}

impl Control {
    /// Answers on `socket` until what is returned is dropped. Must be called within a Tokio runtime.
    pub(super) fn listen(self, socket: &Path, pulse: Arc<Pulse>) -> Result<Listening> {
        let handler = move |request| self.answer(request);
        control::serve(socket, handler, move || pulse.beat()).context("opening the control socket")
    }

    fn answer(&self, request: Request) -> Response {
        let state = Arc::clone(&self.state.borrow());
        let Some(dataplane) = self.dataplane.upgrade() else {
            return Response::Error("the agent is ending".to_owned());
        };
        match request {
            Request::Services => Response::Services(view::services(&state, &counts(&dataplane))),
            Request::Endpoints => {
                let counts = counts(&dataplane);
                Response::Endpoints(view::endpoints(
                    &state,
                    Live::at(&state, &counts, SystemTime::now()),
                ))
            }
            Request::Objects => Response::Objects(view::objects(&state)),
            Request::Workloads => Response::Workloads(view::workloads(&state)),
            Request::Denials => Response::Denials(self.denials.view(&state)),
            Request::Policies => {
                let hits = self.hits.look(&lock(&dataplane));
                Response::Policies(view::policies(&state, &hits))
            }
            Request::Status => self.status(&state, &dataplane),
            Request::Explain(question) => explain_live(&state, &dataplane, &question),
            Request::Lookup { name, kind } => {
                let question = NameQuestion::plain(&name, kind.0);
                match self.names.lookup(question) {
                    Some((reply, source)) => Response::Lookup(view::lookup(&reply, source)),
                    None => Response::Error("the name server does not answer".to_owned()),
                }
            }
            Request::Verify => match self.drift.verify() {
                Some(survey) => Response::Verify(view::survey(&survey)),
                None => Response::Error("its programs are not attached yet, or no more".to_owned()),
            },
            Request::NameCache => Response::NameCache(self.names.cached()),
            Request::Coverage => {
                let dataplane = lock(&dataplane);
                let (tables, counts) = (dataplane.tables(), dataplane.counts());
                Response::Coverage(coverage(&state, tables, &counts, &self.vip_ranges))
            }
        }
    }

    fn status(&self, state: &State, dataplane: &Mutex<Dataplane>) -> Response {
        let (counts, programs, fill) = {
            let dataplane = lock(dataplane);
            (dataplane.counts(), dataplane.programs(), dataplane.fill())
        };
        let directories = self.directories.iter();
        let input = StatusInput {
            state,
            now: SystemTime::now(),
            sources: directories.map(|d| source_view(&d.borrow())).collect(),
            names: self
                .refresher
                .status()
                .iter()
                .flat_map(name_views)
                .collect(),
            counts: &counts,
            name_server: self.names.stats(),
            closed: self.closed.view(),
            programs: &programs,
            fill: &fill,
            drift: self.drift.view(),
        };
        Response::Status(Box::new(view::status(input)))
    }
}

/// The maps are locked while they are read, and not while the answer is made.
fn counts(dataplane: &Mutex<Dataplane>) -> Counts {
    lock(dataplane).counts()
}

fn explain_live(state: &State, dataplane: &Mutex<Dataplane>, question: &Question) -> Response {
    let judge = Judge::new(&state.snapshot);
    let dataplane = lock(dataplane);
    let counts = dataplane.counts();
    let sight = Sight {
        tables: dataplane.tables(),
        names: dataplane.names(),
        compiled: &state.compiled,
        judge: &judge,
        live: Live::at(state, &counts, SystemTime::now()),
    };
    let mut draws = 0u64;
    let seeds = RandomState::new();
    let explanation = explain(&sight, question, || {
        draws += 1;
        u32::try_from(seeds.hash_one(draws) >> 32).expect("32 bits are left")
    });
    Response::Explain(Box::new(explanation))
}

pub(super) fn lock(dataplane: &Mutex<Dataplane>) -> MutexGuard<'_, Dataplane> {
    // A panic elsewhere under this lock does not make the maps wrong: every change to them is whole.
    dataplane.lock().unwrap_or_else(PoisonError::into_inner)
}

fn source_view(status: &DirectoryStatus) -> SourceView {
    let unreadable = status.unreadable.iter();
    SourceView {
        path: status.path.clone(),
        synced: status.is_synced,
        files: status.files,
        last_read: status.last_read.map(unix_seconds),
        failure: status.failure.clone(),
        watch_failure: status.watch_failure.clone(),
        unreadable: unreadable
            .map(|(file, reason)| UnreadableView {
                file: file.to_string(),
                reason: reason.clone(),
            })
            .collect(),
    }
}

/// One for each address family.
fn name_views(status: &NameStatus) -> impl Iterator<Item = NameView> {
    status.families.iter().map(|family| NameView {
        host: status.host.to_string(),
        record: family.family.record().to_owned(),
        addresses: family.addresses.clone(),
        age_seconds: family.age.as_ref().map(Duration::as_secs_f64),
        next_seconds: family.next.as_ref().map(Duration::as_secs_f64),
        failures: family.failures,
        reason: family.reason.clone(),
    })
}

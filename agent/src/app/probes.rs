//! How are endpoints probed? Each by a connect of the agent's own, which ends as soon as it stands. The kernel programs leave
//! the agent's sockets alone, so that a probe reaches the endpoint itself and counts nowhere as a client's.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::iter;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::compile::Program;
use crate::dataplane::Dataplane;
use crate::health::{Failure, Place, Probe, Schedule};

use super::control::lock;
use super::core::{Core, far_away};

/// Between two looks at who is due, so that many endpoints do not cost as many wake-ups.
const PAUSE: Duration = Duration::from_millis(20);

/// The probes that are planned, and those that are under way. Dropping it ends them.
pub(super) struct Probes {
    schedule: Schedule,
    under_way: JoinSet<Ended>,
    started: Instant,
    looked: Instant,
}

/// A probe that is over.
pub(super) struct Ended {
    place: Place,
    /// `None` where it says nothing of the endpoint.
    result: Option<Result<(), Failure>>,
}

impl Probes {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            schedule: Schedule::new(RandomState::new().hash_one(())),
            under_way: JoinSet::new(),
            started: now,
            looked: now,
        }
    }

    /// Probes the endpoints of `program` from now on.
    pub(super) fn watch(&mut self, program: &Program) {
        self.schedule.watch(program, self.started.elapsed());
    }

    /// Returns when there is something to do, with the probes that have ended. Nothing is lost where this is not awaited to its
    /// end.
    pub(super) async fn next(&mut self) -> Vec<Ended> {
        let due = self.schedule.next().map(|due| self.started + due);
        let due = due.map_or_else(far_away, |due| due.max(self.looked + PAUSE));
        let first = tokio::select! {
            Some(ended) = self.under_way.join_next() => Some(ended),
            () = sleep_until(due.into()) => None,
        };
        let others = iter::from_fn(|| self.under_way.try_join_next());
        let ended = first.into_iter().chain(others);
        ended
            .map(|ended| ended.expect("a probe neither panics nor is aborted"))
            .collect()
    }

    /// Begins the probes that are due, and returns where clients have connected instead.
    fn begin(&mut self, dataplane: &Mutex<Dataplane>) -> Vec<Place> {
        self.looked = Instant::now();
        let now = self.started.elapsed();
        if self.schedule.next().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let turn = {
            let dataplane = lock(dataplane);
            let state = |place: &Place| dataplane.endpoint(&place.service, place.at);
            self.schedule.turn(now, state)
        };
        for probe in turn.probes {
            self.under_way.spawn(carry_out(probe));
        }
        turn.answered
    }
}

impl Core {
    /// Takes in the probes that have ended, and begins those that are due. Returns whether a whole update must follow.
    pub(super) fn probe(&mut self, ended: Vec<Ended>) -> bool {
        let mut shown = Vec::with_capacity(ended.len());
        for Ended { place, result } in ended {
            self.probes.schedule.ended(&place);
            shown.extend(result.map(|result| (place, result)));
        }
        let answered = self.probes.begin(&self.dataplane).into_iter();
        shown.extend(answered.map(|place| (place, Ok(()))));
        self.judge(shown)
    }
}

/// Connects, and closes at once what comes of it: the endpoint sees an orderly end.
async fn carry_out(
    Probe {
        place,
        timeout: limit,
    }: Probe,
) -> Ended {
    let at = place.at;
    let result = match timeout(limit, TcpStream::connect(at)).await {
        Ok(Ok(stream)) => Some(accepted(&stream)),
        Ok(Err(error)) => failure(&error).map(Err),
        Err(_) => Some(Err(Failure::TimedOut)),
    };
    match result {
        Some(Ok(())) => {}
        Some(Err(failure)) => {
            tracing::debug!(service = %place.service, %at, ?failure, "a probe failed");
        }
        None => tracing::debug!(service = %place.service, %at, "a probe could not be made"),
    }
    Ended { place, result }
}

/// Where nobody listens on an address of the node's own, a socket may by chance meet itself.
fn accepted(stream: &TcpStream) -> Result<(), Failure> {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(own), Ok(peer)) if own == peer => Err(Failure::Refused),
        _ => Ok(()),
    }
}

/// What is the endpoint's fault, or that of the way there. Anything else, such as a want of ports, is the agent's own.
fn failure(error: &io::Error) -> Option<Failure> {
    match error.raw_os_error()? {
        libc::ECONNREFUSED | libc::ECONNRESET => Some(Failure::Refused),
        libc::ETIMEDOUT => Some(Failure::TimedOut),
        libc::EHOSTUNREACH | libc::ENETUNREACH => Some(Failure::Unreachable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use agent_common::abi::TCP;

    use crate::compile::ServiceKey;

    use super::*;

    fn probe(at: SocketAddr) -> Probe {
        let service = ServiceKey {
            namespace: "default".into(),
            host: "a.example".into(),
            port: 80,
            transport: TCP,
            route: None,
            clients: None,
        };
        Probe {
            place: Place { service, at },
            timeout: Duration::from_secs(10),
        }
    }

    #[tokio::test]
    async fn a_probe_succeeds_where_somebody_listens_and_is_refused_where_nobody_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(carry_out(probe(at)).await.result, Some(Ok(())));
        drop(listener);
        let refused = carry_out(probe(at)).await;
        assert_eq!(refused.result, Some(Err(Failure::Refused)));
        assert_eq!(refused.place, probe(at).place);
    }

    #[test]
    fn what_the_agent_lacks_is_not_the_fault_of_an_endpoint() {
        let of = |errno| failure(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ETIMEDOUT), Some(Failure::TimedOut));
        assert_eq!(of(libc::EHOSTUNREACH), Some(Failure::Unreachable));
        for errno in [
            libc::EMFILE,
            libc::EADDRNOTAVAIL,
            libc::ENOBUFS,
            libc::EACCES,
        ] {
            assert_eq!(of(errno), None);
        }
    }
}

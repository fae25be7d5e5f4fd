//! Connects of many threads, each with the time that it took and whom it reached, to be held against what was in effect then.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::connect::{self, Way};
use super::{Transport, open};

/// What is to be done: each thread connects so often, to each destination in turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Race {
    pub threads: usize,
    pub connects: usize,
    pub to: Vec<(Transport, SocketAddr)>,
}

/// Of one connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Of the destinations.
    pub to: usize,
    /// In [`nanoseconds`].
    pub start: u64,
    pub end: u64,
    /// Whom it reached, or its errno.
    pub reached: Result<IpAddr, i32>,
    /// Whom it says it is connected to, if it still is.
    pub peer: Option<SocketAddr>,
}

/// Of a clock that all processes share.
pub fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = std::time::Duration::try_from(now).expect("the clock starts at 0");
    u64::try_from(now.as_nanos()).expect("centuries fit")
}

pub(super) fn race(order: &Race) -> io::Result<Vec<Run>> {
    thread::scope(|scope| {
        let threads = (0..order.threads).map(|first| scope.spawn(move || one_thread(order, first)));
        let threads: Vec<_> = threads.collect();
        let mut all = Vec::new();
        for thread in threads {
            all.append(&mut thread.join().expect("connecting does not panic")?);
        }
        Ok(all)
    })
}

fn one_thread(order: &Race, first: usize) -> io::Result<Vec<Run>> {
    let numbers = (0..order.to.len()).cycle().skip(first);
    let runs = numbers.take(order.connects).map(|number| {
        let (transport, to) = order.to[number];
        let socket = open::open(transport, to.is_ipv6())?;
        let start = nanoseconds();
        let connected = connect::by(Way::Call, &socket, to);
        let end = nanoseconds();
        let reached = match connected {
            // An address of the machine itself is connected to from itself.
            Ok(()) => Ok(connect::local(&socket)?.ip().to_canonical()),
            Err(error) => Err(error.raw_os_error().ok_or(error)?),
        };
        Ok(Run {
            to: number,
            start,
            end,
            reached,
            peer: connect::peer(&socket).ok(),
        })
    });
    runs.collect()
}

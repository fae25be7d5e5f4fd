//! Many threads that connect and close at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::connect::{self, Way};
use super::{Transport, open};

/// What is to be done: each thread connects so often, and keeps so many of its connections, of which it closes the oldest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Churn {
    pub threads: u32,
    pub connects: u32,
    pub kept: usize,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Churned {
    pub connected: u32,
    /// By errno.
    pub failed: BTreeMap<i32, u32>,
    /// Connections that there were at one time, at the most.
    pub most: u32,
}

/// Returns when all sockets are closed.
pub(super) fn churn(order: Churn, to: SocketAddr) -> io::Result<Churned> {
    let present = AtomicU32::new(0);
    let most = AtomicU32::new(0);
    let mut all = Churned::default();
    thread::scope(|scope| {
        let work = || one_thread(order, to, &present, &most);
        let threads: Vec<_> = (0..order.threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let churned = thread.join().expect("connecting does not panic")?;
            all.connected += churned.connected;
            for (errno, count) in churned.failed {
                *all.failed.entry(errno).or_default() += count;
            }
        }
        Ok::<_, io::Error>(())
    })?;
    all.most = most.into_inner();
    Ok(all)
}

fn one_thread(
    order: Churn,
    to: SocketAddr,
    present: &AtomicU32,
    most: &AtomicU32,
) -> io::Result<Churned> {
    let mut churned = Churned::default();
    let mut kept = VecDeque::new();
    for _ in 0..order.connects {
        let socket = open::open(Transport::Tcp, to.is_ipv6())?;
        match connect::by(Way::Call, &socket, to) {
            Ok(()) => {
                churned.connected += 1;
                kept.push_back(socket);
                // Counted for less time than it is open.
                let now = present.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                if kept.len() <= order.kept {
                    continue;
                }
            }
            Err(error) => {
                let errno = error.raw_os_error().ok_or(error)?;
                *churned.failed.entry(errno).or_default() += 1;
            }
        }
        // Whoever is refused makes room for others.
        if !kept.is_empty() {
            present.fetch_sub(1, Ordering::SeqCst);
            kept.pop_front();
        }
    }
    present.fetch_sub(u32::try_from(kept.len()).expect("a few"), Ordering::SeqCst);
    Ok(churned)
}

//! connect4 and connect6: where a socket connects, TCP and connected UDP.

use agent_common::abi::{CONNECTED, Extra, Flow, TCP, TIMED};
use agent_common::{Client, Connect, Family, Reach, Verdict};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::flows::{self, Recorded};
use crate::maps;
use crate::options;
use crate::outbound::{self, Way};
use crate::sockaddr::SockAddr;
use crate::trace::trace;

#[cgroup_sock_addr(connect4)]
pub fn shunt_connect4(ctx: SockAddrContext) -> i32 {
    connect(&SockAddr {
        ctx: &ctx,
        family: Family::V4,
    })
}

#[cgroup_sock_addr(connect6)]
pub fn shunt_connect6(ctx: SockAddrContext) -> i32 {
    connect(&SockAddr {
        ctx: &ctx,
        family: Family::V6,
    })
}

#[inline(always)]
fn connect(socket: &SockAddr<'_>) -> i32 {
    outbound::send_on(socket, &mut Connecting { socket })
}

/// A socket that gets a peer, and has one record of it.
struct Connecting<'a> {
    socket: &'a SockAddr<'a>,
}

impl Connecting<'_> {
    /// Whether the connect can be given a timeout that ends with it. The application's own stands; one from a connect that
    /// failed at once is ours still.
    #[inline(always)]
    fn may_time(&self) -> bool {
        let is_following = maps::config().is_some_and(|config| config.is_following != 0);
        is_following
            && match options::timeout(self.socket.ctx) {
                Some(0) => true,
                Some(_) => flows::is_timed(&self.socket.holder()),
                None => false,
            }
    }
}

impl Client for Connecting<'_> {
    #[inline(always)]
    fn random(&mut self) -> u32 {
        outbound::random()
    }

    #[inline(always)]
    fn turn(&mut self, service: u32) -> u32 {
        maps::turn(service)
    }

    #[inline(always)]
    fn source(&mut self) -> u32 {
        self.socket.source()
    }

    #[inline(always)]
    fn is_open_at(&mut self, service: u32) -> bool {
        flows::is_open_at(&self.socket.holder(), service)
    }

    #[inline(always)]
    fn reach(&mut self) -> Reach {
        self.socket.reach()
    }
}

impl Way for Connecting<'_> {
    #[inline(always)]
    fn record(&mut self, flow: &mut Flow) -> Recorded {
        flow.flags |= CONNECTED;
        let is_recorded = flows::record_connection(&self.socket.holder(), flow);
        if !is_recorded && flow.is_timed() {
            // Nobody would know that it is to be taken back.
            options::end_timeout(self.socket.ctx);
        }
        Recorded::New
    }

    const RECORDS_ORIGINAL: bool = true;

    #[inline(always)]
    fn set_options(&self, wanted: &Extra, flow: &mut Flow) {
        if self.socket.protocol() != u32::from(TCP) {
            return;
        }
        options::keep_alive(self.socket.ctx, wanted);
        if wanted.connect_timeout != 0 && self.may_time() {
            options::set_timeout(self.socket.ctx, wanted.connect_timeout);
            flow.flags |= TIMED;
        }
    }

    #[inline(always)]
    fn show(&self, asked: &Connect, verdict: &Verdict) {
        trace(self.socket.ctx, asked, verdict);
    }

    /// The socket may have been sent elsewhere by an earlier connect. Only then is its record looked for: that costs more
    /// than all else that becomes of a destination which is not ours.
    #[inline(always)]
    fn forget(&mut self) {
        if self.socket.protocol() != u32::from(TCP) || self.socket.had_peer() {
            flows::end(&self.socket.holder());
        }
    }
}

//! connect4 and connect6: where a socket connects, TCP and connected UDP.

use agent_common::abi::{CONNECTED, Extra, Flow, TCP};
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
        flows::record_connection(&self.socket.holder(), flow);
        Recorded::New
    }

    const RECORDS_ORIGINAL: bool = true;

    #[inline(always)]
    fn set_options(&self, wanted: &Extra) {
        if self.socket.protocol() == u32::from(TCP) {
            options::set(self.socket.ctx, wanted);
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

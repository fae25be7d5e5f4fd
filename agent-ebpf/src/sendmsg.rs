//! sendmsg4 and sendmsg6: where an unconnected UDP socket sends a datagram.

use agent_common::abi::Flow;
use agent_common::{Client, Family, Reach};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::flows::{self, Pair, Recorded};
use crate::holder::Holder;
use crate::maps;
use crate::outbound::{self, At, Way};
use crate::sockaddr::SockAddr;

#[cgroup_sock_addr(sendmsg4)]
pub fn shunt_sendmsg4(ctx: SockAddrContext) -> i32 {
    send(&SockAddr {
        ctx: &ctx,
        family: Family::V4,
    })
}

#[cgroup_sock_addr(sendmsg6)]
pub fn shunt_sendmsg6(ctx: SockAddrContext) -> i32 {
    send(&SockAddr {
        ctx: &ctx,
        family: Family::V6,
    })
}

#[inline(always)]
fn send(socket: &SockAddr<'_>) -> i32 {
    let mut way = Sending {
        socket,
        holder: Holder::NOBODY,
        is_held: false,
        pair: Pair::default(),
    };
    outbound::send_on(socket, &mut way)
}

/// A socket that names a destination with each datagram, and keeps the endpoint of each.
struct Sending<'a> {
    socket: &'a SockAddr<'a>,
    /// Found once it is known that the destination is ours. Of an option that is none, not all would be set, and verifiers before
    /// Linux 6.1 refuse to read that.
    holder: Holder,
    is_held: bool,
    pair: Pair,
}

impl Sending<'_> {
    #[inline(always)]
    fn holder(&mut self) -> &Holder {
        if !self.is_held {
            (self.holder, self.is_held) = (self.socket.holder(), true);
        }
        &self.holder
    }
}

impl Client for Sending<'_> {
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

    /// The kernel refuses a v4-mapped address in the place of another (net/ipv6/udp.c: "currently unsupported"). What is
    /// v4-mapped from the start comes to sendmsg4.
    #[inline(always)]
    fn reach(&mut self) -> Reach {
        Reach::V6
    }

    #[inline(always)]
    fn kept(&mut self) -> Option<At> {
        let asked = (self.socket.address(), self.socket.port());
        self.pair = flows::pair(self.holder(), asked);
        self.pair.endpoint()
    }
}

impl Way for Sending<'_> {
    #[inline(always)]
    fn record(&mut self, flow: &mut Flow) -> Recorded {
        if !self.is_held {
            // Nothing was drawn that would have asked for it.
            self.kept();
        }
        let pair = self.pair;
        flows::record_pair(self.holder(), &pair, flow)
    }

    /// There is no socket to count until it is closed.
    const RECORDS_ORIGINAL: bool = false;

    /// Another destination than those that are remembered: they stay.
    #[inline(always)]
    fn forget(&mut self) {}
}

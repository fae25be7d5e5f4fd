//! connect4 and connect6: where a socket connects, TCP and connected UDP.

use core::hint::black_box;

use agent_common::abi::{DEFAULT_SCOPE, Flow, Total};
use agent_common::{Connect, Family, Reason, Tables, Verdict, decide};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_ktime_get_coarse_ns,
    bpf_set_retval,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::flows;
use crate::maps::{self, Live};
use crate::sockaddr::SockAddr;
use crate::trace::trace;

const ALLOW: i32 = 1;
const DENY: i32 = 0;

const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

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
    let asked = Connect {
        family: socket.family,
        address: socket.address(),
        port: socket.port(),
        protocol: socket.protocol(),
        scope: DEFAULT_SCOPE,
    };
    // Kept in memory: in registers the compiler computes with fields that only some of the verdicts have, ahead of the
    // match, and the verifier refuses to read a register that not every path has set.
    let verdict = decide(&Live, &asked, random);
    let verdict = black_box(&verdict);
    trace(socket.ctx, &asked, verdict);
    if *verdict == Verdict::Pass || is_own() {
        return ALLOW;
    }
    match *verdict {
        Verdict::Pass => ALLOW,
        Verdict::Original { service, port } => {
            maps::count_connect(service);
            if let Some(port) = port {
                socket.set_port(port);
            }
            ALLOW
        }
        Verdict::Rewrite {
            service,
            endpoint,
            address,
            port,
            slot: _,
        } => {
            maps::count_connect(endpoint);
            let flow = Flow {
                // SAFETY: a helper without preconditions, on a valid context.
                cookie: unsafe { bpf_get_socket_cookie(socket.ctx.as_ptr()) },
                // SAFETY: a helper without preconditions.
                started: unsafe { bpf_ktime_get_coarse_ns() },
                original: asked.address,
                rewritten: address,
                original_port: asked.port,
                rewritten_port: port,
                endpoint,
                service,
                protocol: u32::from(asked.protocol),
            };
            if !flows::record(&flow) {
                maps::count_total(Total::FlowsFull);
            }
            socket.set_address(address);
            socket.set_port(port);
            ALLOW
        }
        Verdict::Deny { service, reason } => {
            if let Some(service) = service {
                maps::count_denied(service);
            }
            deny(reason)
        }
    }
}

/// Fails the connect. Before Linux 6.1 the client sees EPERM, whatever the reason.
#[inline(always)]
fn deny(reason: Reason) -> i32 {
    let errno = match reason {
        Reason::PortNotDeclared => {
            maps::count_total(Total::PortNotDeclared);
            ECONNREFUSED
        }
        Reason::Torn => {
            maps::count_total(Total::Torn);
            EHOSTUNREACH
        }
        Reason::NoEndpoint | Reason::Unsupported => EHOSTUNREACH,
    };
    if maps::can_set_errno() {
        // SAFETY: a helper without preconditions.
        unsafe { bpf_set_retval(-errno) };
    }
    DENY
}

/// Whether the agent itself connects.
#[inline(always)]
fn is_own() -> bool {
    Live.config().is_some_and(|config| {
        // SAFETY: a helper without preconditions.
        config.own_cgroup != 0 && config.own_cgroup == unsafe { bpf_get_current_cgroup_id() }
    })
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_prandom_u32() }
}

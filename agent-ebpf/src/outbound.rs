//! Where a socket is sent, by connecting or by a datagram: decides, and carries the verdict out.

use agent_common::abi::{Address, DEFAULT_SCOPE, Flow, Port, Total};
use agent_common::{Client, Connect, Reason, Tables, Verdict, decide};
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_prandom_u32, bpf_set_retval};
use core::hint::black_box;

use crate::maps::{self, Live};
use crate::sockaddr::SockAddr;

const ALLOW: i32 = 1;
const DENY: i32 = 0;

const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// What differs between connecting and sending datagrams.
pub trait Way: Client {
    /// Remembers where the socket was sent: all of `flow` is filled in but whose it is, when, and what depends on the way.
    /// Returns whether the socket was not there already.
    fn record(&mut self, flow: &mut Flow) -> bool;

    /// The socket goes where it asked to.
    fn forget(&mut self);

    /// Traces the decision, in the object that does.
    #[inline(always)]
    fn show(&self, _: &Connect, _: &Verdict) {}
}

#[inline(always)]
pub fn send_on(socket: &SockAddr<'_>, way: &mut impl Way) -> i32 {
    let asked = Connect {
        family: socket.family,
        address: socket.address(),
        port: socket.port(),
        protocol: socket.protocol() as u8,
        scope: DEFAULT_SCOPE,
    };
    // Kept in memory: in registers the compiler computes with fields that only some of the verdicts have, ahead of the
    // match, and the verifier refuses to read a register that not every path has set.
    let mut verdict = decide(&Live, &asked, way);
    // The pointer that comes out is not used: where a spilled constant is read through another pointer than that of the
    // frame, verifiers before Linux 6.8 lose track of what depends on it, and remove branches that are taken.
    black_box(&mut verdict);
    way.show(&asked, &verdict);
    if verdict == Verdict::Pass || is_own() {
        way.forget();
        return ALLOW;
    }
    match verdict {
        Verdict::Pass => ALLOW,
        Verdict::Original { service, port } => {
            maps::count_connect(service);
            way.forget();
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
            let mut flow = Flow {
                original: asked.address,
                original_port: asked.port,
                rewritten: address,
                rewritten_port: port,
                endpoint,
                service,
                protocol: asked.protocol,
                ..Flow::default()
            };
            if way.record(&mut flow) {
                maps::count_connect(endpoint);
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
pub fn random() -> u32 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_prandom_u32() }
}

/// Where a destination is: its address and port.
pub type At = (Address, Port);

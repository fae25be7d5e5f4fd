//! Where a socket is sent, by connecting or by a datagram: decides, and carries the verdict out.

use agent_common::abi::{Address, COUNTED, Denied, Extra, Flow, Port, Total, UNCOUNTED};
use agent_common::{Client, Connect, Reason, Tables, Verdict, decide};
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_prandom_u32, bpf_set_retval};
use core::hint::black_box;

use crate::clients;
use crate::denials;
use crate::flows::Recorded;
use crate::maps::{self, Live};
use crate::sockaddr::SockAddr;

const ALLOW: i32 = 1;
const DENY: i32 = 0;

const EPERM: i32 = 1;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// What differs between connecting and sending datagrams.
pub trait Way: Client {
    /// Remembers where the socket was sent: all of `flow` is filled in but whose it is, when, and what depends on the way.
    fn record(&mut self, flow: &mut Flow) -> Recorded;

    /// Whether the socket is remembered also where it keeps the address that it asked for.
    const RECORDS_ORIGINAL: bool;

    /// The socket goes where it asked to.
    fn forget(&mut self);

    /// Sets what the service wants of its TCP sockets.
    #[inline(always)]
    fn set_options(&self, _: &Extra, _: &mut Flow) {}

    /// Traces the decision, in the object that does.
    #[inline(always)]
    fn show(&self, _: &Connect, _: &Verdict) {}
}

#[inline(always)]
pub fn send_on<W: Way>(socket: &SockAddr<'_>, way: &mut W) -> i32 {
    let client = clients::current();
    let asked = Connect {
        family: socket.family,
        address: socket.address(),
        port: socket.port(),
        protocol: socket.protocol() as u8,
        scope: client.scope(),
        names: client.names(),
        outbound: client.outbound(),
    };
    let live = Live { socket };
    // Kept in memory: in registers the compiler computes with fields that only some of the verdicts have, ahead of the
    // match, and the verifier refuses to read a register that not every path has set.
    let mut verdict = decide(&live, &asked, way);
    // The pointer that comes out is not used: where a spilled constant is read through another pointer than that of the
    // frame, verifiers before Linux 6.8 lose track of what depends on it, and remove branches that are taken.
    black_box(&mut verdict);
    way.show(&asked, &verdict);
    if passes(&asked, &verdict) {
        way.forget();
        return ALLOW;
    }
    let mut flow = Flow {
        original: asked.address,
        original_port: asked.port,
        rewritten: asked.address,
        rewritten_port: asked.port,
        protocol: asked.protocol,
        ..Flow::default()
    };
    let wanted = match verdict {
        Verdict::Pass | Verdict::PassUnregistered => return ALLOW,
        Verdict::Deny {
            service,
            endpoint,
            reason,
        } => {
            let service = match service {
                Some(service) => {
                    maps::count_denied(service);
                    service
                }
                None => UNCOUNTED,
            };
            return deny(&asked, service, endpoint, reason);
        }
        Verdict::Original {
            service,
            port,
            extra,
        } => {
            flow.rewritten_port = port.unwrap_or(asked.port);
            (flow.service, flow.endpoint) = (service, service);
            extra
        }
        Verdict::Rewrite {
            service,
            endpoint,
            address,
            port,
            slot: _,
            extra,
        } => {
            (flow.rewritten, flow.rewritten_port) = (address, port);
            (flow.service, flow.endpoint) = (service, endpoint);
            extra
        }
        Verdict::Ask { address, port } => {
            (flow.rewritten, flow.rewritten_port) = (address, port);
            (flow.service, flow.endpoint) = (UNCOUNTED, UNCOUNTED);
            0
        }
    };
    let is_original = matches!(verdict, Verdict::Original { .. });
    if wanted != 0
        && let Some(extra) = live.extra(wanted)
    {
        way.set_options(extra, &mut flow);
        // What keeps its address is counted at its service as at an endpoint.
        if extra.max_connections != 0 && !is_original {
            flow.flags |= COUNTED;
        }
    }
    if is_original && !W::RECORDS_ORIGINAL {
        maps::count_connect(flow.endpoint);
        socket.set_port(flow.rewritten_port);
        return ALLOW;
    }
    match way.record(&mut flow) {
        Recorded::Known => {}
        // The answer would seem to come from elsewhere, and resolvers take none such.
        Recorded::Lost if flow.endpoint == UNCOUNTED => return ALLOW,
        Recorded::New | Recorded::Lost => maps::count_connect(flow.endpoint),
    }
    if !is_original {
        socket.set_address(flow.rewritten);
    }
    socket.set_port(flow.rewritten_port);
    ALLOW
}

/// Whether the socket goes where it asked to, told of or not.
#[inline(always)]
fn passes(asked: &Connect, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Pass => true,
        _ if is_own() => true,
        Verdict::PassUnregistered => {
            maps::count_total(Total::NotRegisteredAudited);
            denials::tell(asked, UNCOUNTED, UNCOUNTED, Denied::Audited);
            true
        }
        _ => false,
    }
}

/// Fails the connect. Before Linux 6.1 the client sees EPERM, whatever the reason.
#[inline(always)]
fn deny(asked: &Connect, service: u32, endpoint: u32, reason: Reason) -> i32 {
    let errno = match reason {
        Reason::PortNotDeclared => {
            maps::count_total(Total::PortNotDeclared);
            ECONNREFUSED
        }
        Reason::Torn => {
            maps::count_total(Total::Torn);
            EHOSTUNREACH
        }
        Reason::Overflow => {
            maps::count_total(Total::Overflow);
            ECONNREFUSED
        }
        Reason::NoEndpoint | Reason::Unsupported => EHOSTUNREACH,
        Reason::NotRegistered => {
            maps::count_total(Total::NotRegistered);
            denials::tell(asked, UNCOUNTED, UNCOUNTED, Denied::NotRegistered);
            EPERM
        }
        Reason::Policy => {
            if endpoint != UNCOUNTED {
                maps::count_denied(endpoint);
            }
            denials::tell(asked, service, endpoint, Denied::Policy);
            EPERM
        }
    };
    if maps::can_set_errno() {
        // SAFETY: a helper without preconditions.
        unsafe { bpf_set_retval(-errno) };
    }
    DENY
}

/// Whether the agent itself connects.
#[inline(always)]
pub fn is_own() -> bool {
    maps::config().is_some_and(|config| {
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

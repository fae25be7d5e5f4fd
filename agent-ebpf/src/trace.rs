//! Traces of decisions on connects, for people who debug the kernel side: compiled in with the feature `trace` only. Those on
//! datagrams are not traced: with the functions that this takes, verifiers before Linux 6.8 do not come to an end there.

use agent_common::{Connect, Verdict};
use aya_ebpf::programs::SockAddrContext;

#[cfg(not(feature = "trace"))]
#[inline(always)]
pub fn trace(_: &SockAddrContext, _: &Connect, _: &Verdict) {}

#[cfg(feature = "trace")]
#[inline(always)]
pub fn trace(ctx: &SockAddrContext, asked: &Connect, verdict: &Verdict) {
    use aya_log_ebpf::debug;

    let (from, from_port) = (asked.address.octets(), asked.port.get());
    match *verdict {
        Verdict::Pass => debug!(ctx, "{:i} port {}: pass", from, from_port),
        Verdict::PassUnregistered => debug!(
            ctx,
            "{:i} port {}: pass, though not registered", from, from_port
        ),
        Verdict::Original { service, port, .. } => debug!(
            ctx,
            "{:i} port {}: service {} keeps the address, port {}",
            from,
            from_port,
            service,
            port.unwrap_or(asked.port).get()
        ),
        Verdict::Rewrite {
            service,
            endpoint,
            address,
            port,
            slot,
            ..
        } => debug!(
            ctx,
            "{:i} port {}: service {} endpoint {} (cell {}): {:i} port {}",
            from,
            from_port,
            service,
            endpoint,
            slot,
            address.octets(),
            port.get()
        ),
        Verdict::Ask { address, port } => debug!(
            ctx,
            "{:i} port {}: a name server, asked at {:i} port {}",
            from,
            from_port,
            address.octets(),
            port.get()
        ),
        Verdict::Deny {
            service,
            endpoint,
            reason,
        } => debug!(
            ctx,
            "{:i} port {}: deny, service {}, endpoint {}, reason {}",
            from,
            from_port,
            service.unwrap_or(u32::MAX),
            endpoint,
            reason as u8
        ),
    }
}

//! Which listener of the agent answers a query to a name server. Where the agent is not alive, or the socket cannot reach it,
//! none does, and the query goes where it was going.

use core::mem::size_of;

use agent_common::Connect;
use agent_common::abi::{Address, Capture, LISTENERS, NameServer, TCP, Total};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_NOEXIST, bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release,
};

use crate::maps::{self, CAPTURE, NAME_SERVERS};
use crate::outbound::{self, At};
use crate::sockaddr::{self, SockAddr};

/// `BPF_F_CURRENT_NETNS`: the network namespace of the socket, as the kernel reads -1.
const NAMESPACE_OF_SOCKET: u64 = u64::MAX;

/// The first listener that stands for a name server.
const FIRST: u32 = 1;

#[inline(always)]
pub fn listener(socket: &SockAddr<'_>, asked: &Connect) -> Option<At> {
    let capture = CAPTURE.get(0)?;
    // Nobody of whom the device is chosen reaches a listener elsewhere.
    if !is_alive(capture) || outbound::is_own() || socket.is_bound_to_device() {
        return None;
    }
    let address = capture.address_for(asked.address, asked.port)?;
    let server = NameServer::new(asked.address, u32::from(asked.names));
    let claimed = find(&server);
    // The listeners come and go together: the first tells whether there are any, before one is claimed.
    let port = capture.port(claimed.unwrap_or(FIRST))?;
    if capture.is_everywhere == 0 && !is_listening(socket, asked.protocol, (address, port)) {
        return None;
    }
    let listener = claimed.or_else(|| claim(&server))?;
    Some((address, capture.port(listener)?))
}

#[inline(always)]
fn is_alive(capture: &Capture) -> bool {
    // SAFETY: in a map value, and another thread of the agent writes the word whole.
    let heartbeat = unsafe { (&raw const capture.heartbeat).read_volatile() };
    // SAFETY: a helper without preconditions.
    heartbeat != 0 && Capture::is_fresh(heartbeat, unsafe { bpf_ktime_get_ns() })
}

/// The listener that stands for the server. Found and claimed in two passes: in one, verifiers would follow every listener
/// that may be free through all that comes after it.
#[inline(always)]
fn find(server: &NameServer) -> Option<u32> {
    // SAFETY: an element that is recycled meanwhile stands for another server, for one query.
    let is_of =
        |listener: &u32| unsafe { NAME_SERVERS.get(listener) }.is_some_and(|other| other == server);
    (FIRST..LISTENERS).find(is_of)
}

/// Of several that try at once, one succeeds; the others may have asked for the same, and then two listeners stand for it.
#[inline(always)]
fn claim(server: &NameServer) -> Option<u32> {
    let is_claimed = |listener: &u32| {
        let flags = u64::from(BPF_NOEXIST);
        NAME_SERVERS.insert(listener, server, flags).is_ok()
    };
    let listener = (FIRST..LISTENERS).find(is_claimed);
    if listener.is_none() {
        maps::count_total(Total::NameServersFull);
    }
    listener
}

/// Whether there is a socket at that very address in the network namespace of this one: one of any address may be somebody
/// else's.
#[inline(always)]
fn is_listening(socket: &SockAddr<'_>, protocol: u8, (address, port): At) -> bool {
    let is_v4 = address.is_v4();
    // SAFETY: plain data, for which zeros are valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = if is_v4 {
        tuple.__bindgen_anon_1.ipv4.daddr = address.v4_word();
        tuple.__bindgen_anon_1.ipv4.dport = port.word();
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } else {
        tuple.__bindgen_anon_1.ipv6.daddr = address.words();
        tuple.__bindgen_anon_1.ipv6.dport = port.word();
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    };
    let (ctx, size) = (socket.ctx.as_ptr(), size as u32);
    // SAFETY: the tuple is of that size, and what is found is given back.
    unsafe {
        let found = if protocol == TCP {
            bpf_sk_lookup_tcp(ctx, &raw mut tuple, size, NAMESPACE_OF_SOCKET, 0)
        } else {
            bpf_sk_lookup_udp(ctx, &raw mut tuple, size, NAMESPACE_OF_SOCKET, 0)
        };
        if found.is_null() {
            return false;
        }
        let is_there = bound_to(found, is_v4) == address;
        bpf_sk_release(found.cast());
        is_there
    }
}

/// # Safety
/// `socket` must be one that the verifier knows.
#[inline(always)]
unsafe fn bound_to(socket: *const bpf_sock, is_v4: bool) -> Address {
    // SAFETY: the caller's promise.
    unsafe {
        if is_v4 {
            Address::from_v4_word((&raw const (*socket).src_ip4).read_volatile())
        } else {
            sockaddr::address(&raw const (*socket).src_ip6)
        }
    }
}

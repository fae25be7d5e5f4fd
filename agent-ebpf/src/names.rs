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

#[inline(always)]
pub fn listener(socket: &SockAddr<'_>, asked: &Connect) -> Option<At> {
    let capture = CAPTURE.get(0)?;
    // Nobody of whom the device is chosen reaches a listener elsewhere.
    if !is_alive(capture) || outbound::is_own() || socket.is_bound_to_device() {
        return None;
    }
    let address = capture.address_for(asked.address, asked.port)?;
    let server = NameServer::new(asked.address, asked.scope);
    let found = find(&server)?;
    let port = capture.port(found.listener)?;
    if capture.is_everywhere == 0 && !is_listening(socket, asked.protocol, (address, port)) {
        return None;
    }
    if !found.is_claimed && !claim(found.listener, &server) {
        return None;
    }
    Some((address, port))
}

#[inline(always)]
fn is_alive(capture: &Capture) -> bool {
    // SAFETY: in a map value, and another thread of the agent writes the word whole.
    let heartbeat = unsafe { (&raw const capture.heartbeat).read_volatile() };
    // SAFETY: a helper without preconditions.
    heartbeat != 0 && Capture::is_fresh(heartbeat, unsafe { bpf_ktime_get_ns() })
}

struct Found {
    listener: u32,
    is_claimed: bool,
}

/// The listener that stands for the server, or the first that stands for none.
#[inline(always)]
fn find(server: &NameServer) -> Option<Found> {
    let mut free = 0;
    for listener in 1..LISTENERS {
        // SAFETY: an element that is recycled meanwhile stands for another server, for one query.
        match unsafe { NAME_SERVERS.get(&listener) } {
            Some(other) if other == server => {
                return Some(Found {
                    listener,
                    is_claimed: true,
                });
            }
            None if free == 0 => free = listener,
            _ => {}
        }
    }
    if free == 0 {
        maps::count_total(Total::NameServersFull);
        return None;
    }
    Some(Found {
        listener: free,
        is_claimed: false,
    })
}

/// Of several that try at once, one succeeds; the others may have asked for the same.
#[inline(always)]
fn claim(listener: u32, server: &NameServer) -> bool {
    if NAME_SERVERS
        .insert(&listener, server, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        return true;
    }
    // SAFETY: as in `find`.
    unsafe { NAME_SERVERS.get(&listener) }.is_some_and(|other| other == server)
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

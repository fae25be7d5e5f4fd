//! The address in a sock_addr context, IPv4 or IPv6, as the ABI has it. Fields are read and written in the widths and at
//! the offsets that the verifier accepts: four bytes each.

use agent_common::abi::{Address, Port, TCP};
use agent_common::{Family, Reach, source};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::{bpf_skc_to_tcp6_sock, bpf_skc_to_udp6_sock};
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_probe_read_kernel};
use aya_ebpf::programs::SockAddrContext;

use crate::holder::Holder;
use crate::maps;

/// The context of a hook of one family.
pub struct SockAddr<'a> {
    pub ctx: &'a SockAddrContext,
    pub family: Family,
}

impl SockAddr<'_> {
    #[inline(always)]
    pub fn address(&self) -> Address {
        let raw = self.ctx.sock_addr;
        // SAFETY: the context is valid while the program runs.
        unsafe {
            match self.family {
                Family::V4 => Address::from_v4_word((&raw const (*raw).user_ip4).read_volatile()),
                Family::V6 => address(&raw const (*raw).user_ip6),
            }
        }
    }

    #[inline(always)]
    pub fn port(&self) -> Port {
        // SAFETY: the context is valid while the program runs.
        let port = unsafe { (&raw const (*self.ctx.sock_addr).user_port).read_volatile() };
        Port::from_word(port as u16)
    }

    /// As `socket(2)` was given it, but that 0 has become the protocol of the type.
    #[inline(always)]
    pub fn protocol(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (&raw const (*self.ctx.sock_addr).protocol).read_volatile() }
    }

    #[inline(always)]
    pub fn holder(&self) -> Holder {
        Holder::new(self.ctx.as_ptr(), self.socket().cast(), self.protocol())
    }

    #[inline(always)]
    fn socket(&self) -> *mut bpf_sock {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.ctx.sock_addr).__bindgen_anon_1.sk }
    }

    /// Whether the socket reaches nothing but by one device.
    #[inline(always)]
    pub fn is_bound_to_device(&self) -> bool {
        // SAFETY: the socket lives while the program runs.
        let is_bound = unsafe { (&raw const (*self.socket()).bound_dev_if).read_volatile() != 0 };
        is_bound || self.has_unicast_device()
    }

    /// Whether the socket has chosen a device for what it sends (`IP_UNICAST_IF`, `IPV6_UNICAST_IF`), as stub resolvers do that
    /// know which link a server is on.
    #[inline(always)]
    fn has_unicast_device(&self) -> bool {
        let Some((v4, of_v6, v6)) = maps::unicast_device() else {
            return false;
        };
        let Some(socket) = maps::address_of(self.socket().cast()) else {
            return false;
        };
        // SAFETY: the helper reads any address of the kernel, and fails where there is nothing.
        let device = unsafe {
            match self.family {
                Family::V4 => bpf_probe_read_kernel((socket + v4) as *const u32),
                Family::V6 => bpf_probe_read_kernel((socket + of_v6) as *const u64)
                    .and_then(|info| bpf_probe_read_kernel((info + v6) as *const u32)),
            }
        };
        device.is_ok_and(|device| device != 0)
    }

    /// Whether the socket has been connected before: a TCP socket keeps the address of its last peer.
    #[inline(always)]
    pub fn had_peer(&self) -> bool {
        let socket = self.socket();
        // SAFETY: the socket lives while the program runs.
        unsafe {
            match self.family {
                Family::V4 => (&raw const (*socket).dst_ip4).read_volatile() != 0,
                Family::V6 => {
                    let words = (&raw const (*socket).dst_ip6).cast::<u32>();
                    words.read_volatile() | words.add(3).read_volatile() != 0
                }
            }
        }
    }

    /// What this socket of the IPv6 family can be sent to.
    #[inline(always)]
    pub fn reach(&self) -> Reach {
        let bound = self.bound_to();
        if bound.is_v4() {
            Reach::V4
        } else if bound != Address::default() || self.is_v6_only() {
            Reach::V6
        } else {
            Reach::Any
        }
    }

    #[inline(always)]
    fn bound_to(&self) -> Address {
        // SAFETY: the socket lives while the program runs.
        unsafe { address(&raw const (*self.socket()).src_ip6) }
    }

    /// Who connects: the address that the socket is bound to, or else the cgroup of the process.
    #[inline(always)]
    pub fn source(&self) -> u32 {
        let (bound, is_bound) = match self.family {
            Family::V4 => {
                // SAFETY: the socket lives while the program runs.
                let word = unsafe { (&raw const (*self.socket()).src_ip4).read_volatile() };
                (Address::from_v4_word(word), word != 0)
            }
            Family::V6 => {
                let bound = self.bound_to();
                (bound, bound != Address::default())
            }
        };
        if is_bound {
            source::of_address(bound)
        } else {
            // SAFETY: a helper without preconditions.
            source::of_cgroup(unsafe { bpf_get_current_cgroup_id() })
        }
    }

    /// `IPV6_V6ONLY`, as far as the kernel tells where it is.
    #[inline(always)]
    fn is_v6_only(&self) -> bool {
        let Some((offset, mask)) = maps::v6_only_bit() else {
            return false;
        };
        // SAFETY: the helpers take any socket, and the verifier holds the offset to lie in what they return.
        unsafe {
            let socket = if self.protocol() == u32::from(TCP) {
                bpf_skc_to_tcp6_sock(self.socket().cast()).cast::<u8>()
            } else {
                bpf_skc_to_udp6_sock(self.socket().cast()).cast::<u8>()
            };
            !socket.is_null() && socket.add(offset as usize).read_volatile() & mask != 0
        }
    }

    /// An address given to an IPv4 context must be IPv4.
    #[inline(always)]
    pub fn set_address(&self, address: Address) {
        let raw = self.ctx.sock_addr;
        // SAFETY: the context is valid while the program runs.
        unsafe {
            match self.family {
                Family::V4 => (&raw mut (*raw).user_ip4).write_volatile(address.v4_word()),
                Family::V6 => {
                    let to = (&raw mut (*raw).user_ip6).cast::<u32>();
                    let [a, b, c, d] = address.words();
                    to.write_volatile(a);
                    to.add(1).write_volatile(b);
                    to.add(2).write_volatile(c);
                    to.add(3).write_volatile(d);
                }
            }
        }
    }

    #[inline(always)]
    pub fn set_port(&self, port: Port) {
        let port = u32::from(port.word());
        // SAFETY: the context is valid while the program runs.
        unsafe { (&raw mut (*self.ctx.sock_addr).user_port).write_volatile(port) };
    }
}

/// # Safety
/// `words` must lie in a context or a socket.
#[inline(always)]
pub unsafe fn address(words: *const [u32; 4]) -> Address {
    let words = words.cast::<u32>();
    // SAFETY: the caller's promise.
    let word = |index| unsafe { words.add(index).read_volatile() };
    Address::from_words([word(0), word(1), word(2), word(3)])
}

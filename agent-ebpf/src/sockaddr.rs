//! The address in a sock_addr context, IPv4 or IPv6, as the ABI has it. Fields are read and written in the widths and at
//! the offsets that the verifier accepts: four bytes each.

use agent_common::Family;
use agent_common::abi::{Address, Port};
use aya_ebpf::programs::SockAddrContext;

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
                Family::V6 => {
                    let words = &raw const (*raw).user_ip6;
                    let words = words.cast::<u32>();
                    Address::from_words([
                        words.read_volatile(),
                        words.add(1).read_volatile(),
                        words.add(2).read_volatile(),
                        words.add(3).read_volatile(),
                    ])
                }
            }
        }
    }

    #[inline(always)]
    pub fn port(&self) -> Port {
        // SAFETY: the context is valid while the program runs.
        let port = unsafe { (&raw const (*self.ctx.sock_addr).user_port).read_volatile() };
        Port::from_word(port as u16)
    }

    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (&raw const (*self.ctx.sock_addr).protocol).read_volatile() as u8 }
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

//! What the running kernel has of that which not every kernel has, found out by trying.

use std::error::Error;
use std::fs;
use std::io;
use std::sync::OnceLock;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};

use crate::dataplane::bpf;

use super::btf::{self, Btf};
use super::error::error_number;

/// What the programs are loaded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Features {
    /// Linux 5.12. Without it, flow records are stored at their sockets, and the ends of connections are not followed.
    pub compare_and_swap: bool,
    /// `bpf_set_retval` (Linux 6.1). Without it, every refused connect says EPERM.
    pub errno: bool,
    /// Offset in bytes of the error that a socket reports, in `struct sock`. Without it, a connect that its client gave up counts
    /// as refused.
    pub error: Option<u32>,
    /// Without it, a record whose socket ended unseen stays.
    pub socket: Option<Socket>,
    /// How MPTCP sockets are known. Without it, they see the endpoint as their peer.
    pub mptcp: Option<Mptcp>,
    /// Where a socket has `IPV6_V6ONLY`: its byte in `struct sock_common`, and the mask in that. Without it, such a socket may
    /// be given an IPv4 endpoint, and fail.
    pub v6_only: Option<(u32, u8)>,
    /// Where a socket has the device that it chose. Without it, such a socket's queries to name servers are captured, and find
    /// no way to the listener.
    pub unicast_device: Option<UnicastDevice>,
    /// The errno of what could not be tried. What is said above to be missing may be there.
    pub untried: Option<i32>,
}

impl Features {
    /// Asks once for each process, but for what could not be tried.
    pub(in crate::dataplane) fn get() -> Self {
        static FOUND: OnceLock<Features> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return *found;
        }
        let found = Self::probe();
        if found.untried.is_none() {
            // Who was faster has found the same.
            FOUND.set(found).ok();
        }
        found
    }

    fn probe() -> Self {
        let mut untried = None;
        let mut or_default = |what, error: &(dyn Error + 'static)| {
            tracing::debug!(error, "probing for {what}");
            untried = untried.or(error_number(error));
        };
        let description = fs::read(btf::KERNEL).unwrap_or_else(|error| {
            // Where there is no such file, nothing is described.
            if error.kind() != io::ErrorKind::NotFound {
                or_default("types", &error);
            }
            Vec::new()
        });
        let compare_and_swap = has_compare_and_swap().unwrap_or_else(|error| {
            or_default("compare-and-swap", &error);
            false
        });
        // Whether a `sock_addr` program may call it.
        let errno =
            is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval);
        let errno = errno.unwrap_or_else(|error| {
            or_default("a helper", &error);
            false
        });
        let types = Btf::parse(&description);
        let v6_only = |types: &Btf<'_>| types.bit_offset("sock_common", "skc_ipv6only");
        Self {
            compare_and_swap,
            errno,
            error: types
                .as_ref()
                .and_then(|types| types.offset("sock", "sk_err")),
            socket: types.as_ref().and_then(Socket::find),
            mptcp: types.as_ref().and_then(Mptcp::find),
            v6_only: types
                .as_ref()
                .and_then(v6_only)
                .map(|bit| (bit / 8, 1 << (bit % 8))),
            unicast_device: types.as_ref().and_then(UnicastDevice::find),
            untried,
        }
    }
}

/// Offsets in bytes in any socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Socket {
    pub cookie: u32,
    /// Of how many hold it.
    pub references: u32,
}

impl Socket {
    fn find(types: &Btf<'_>) -> Option<Self> {
        Some(Self {
            cookie: types.offset("sock_common", "skc_cookie")?,
            references: types.offset("sock_common", "skc_refcnt")?,
        })
    }
}

/// Offsets in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Mptcp {
    /// Of the first subflow in an MPTCP socket.
    pub first: u32,
    /// Of what tells a subflow from another TCP socket.
    pub is_subflow: u32,
}

impl Mptcp {
    fn find(types: &Btf<'_>) -> Option<Self> {
        Some(Self {
            first: types.offset("mptcp_sock", "first")?,
            is_subflow: types.offset("tcp_sock", "is_mptcp")?,
        })
    }
}

/// Offsets in bytes of what `IP_UNICAST_IF` and `IPV6_UNICAST_IF` set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct UnicastDevice {
    /// In any socket of the Internet.
    pub v4: u32,
    /// Of the pointer to what a socket has beyond that for IPv6.
    pub of_v6: u32,
    /// In that.
    pub v6: u32,
}

impl UnicastDevice {
    fn find(types: &Btf<'_>) -> Option<Self> {
        Some(Self {
            v4: types.offset("inet_sock", "uc_index")?,
            of_v6: types.offset("inet_sock", "pinet6")?,
            v6: types.offset("ipv6_pinfo", "ucast_oif")?,
        })
    }
}

/// Loads a program that swaps a word of its stack.
fn has_compare_and_swap() -> io::Result<bool> {
    let instructions = [
        0x0000_0000_0000_01b7, // r1 = 0
        0x0000_0000_fff8_1a7b, // *(u64 *)(r10 - 8) = r1
        0x0000_0000_0000_00b7, // r0 = 0
        0x0000_0001_0000_01b7, // r1 = 1
        0x0000_00f1_fff8_1adb, // r0 = cmpxchg_64(r10 - 8, r0, r1)
        0x0000_0000_0000_00b7, // r0 = 0
        0x0000_0000_0000_0095, // exit
    ];
    match bpf::load(bpf::SOCKET_FILTER, 0, &instructions) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINVAL | libc::EACCES) => Ok(false),
            _ => Err(error),
        },
    }
}

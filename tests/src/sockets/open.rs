//! Sockets, and what is set on them before and asked of them after a connect.
#![expect(
    unsafe_code,
    reason = "options of sockets that no library offers: TCP_FASTOPEN_CONNECT, MPTCP_INFO, TCP_INFO"
)]

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{self, AddressFamily, SocketType, ipproto, sockopt};
use serde::{Deserialize, Serialize};

use super::{Feature, SocketOption, Transport};

/// The first device of a network namespace.
const LOOPBACK: u32 = 1;

/// What is set on a socket.
#[derive(Debug, Serialize, Deserialize)]
pub enum Setting {
    NonBlocking,
    /// How long a connect may wait, in milliseconds (`SO_SNDTIMEO`).
    SendTimeout(u64),
    OnlyV6,
    /// `SO_BINDTODEVICE`.
    Device(String),
    /// `IP_UNICAST_IF` or `IPV6_UNICAST_IF`, to the loopback device.
    UnicastLoopback,
    /// `TCP_FASTOPEN_CONNECT`: a connect waits for the first data.
    FastOpenConnect,
    /// Leaves no memory for options (`net.core.optmem_max`), by joining groups. For datagrams over IPv6.
    NoOptionMemory,
    /// `TCP_USER_TIMEOUT`, in milliseconds.
    UserTimeout(u32),
}

/// A socket of the family. A connection is reset when it is closed, so that its port is free at once.
pub(super) fn open(transport: Transport, is_v6: bool) -> io::Result<OwnedFd> {
    let family = if is_v6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let (kind, protocol) = match transport {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
        Transport::Mptcp => (SocketType::STREAM, ipproto::MPTCP),
    };
    let flags = net::SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, kind, flags, Some(protocol))?;
    if transport != Transport::Udp {
        reset_on_close(&socket)?;
    }
    Ok(socket)
}

/// Closes with a reset, so that the port is free at once.
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

pub(super) fn bind(socket: &OwnedFd, at: SocketAddr) -> io::Result<()> {
    Ok(net::bind(socket, &at)?)
}

pub(super) fn set(socket: &OwnedFd, setting: &Setting) -> io::Result<()> {
    match setting {
        Setting::NonBlocking => ioctl_fionbio(socket, true)?,
        Setting::SendTimeout(milliseconds) => {
            let timeout = Duration::from_millis(*milliseconds);
            sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(timeout))?;
        }
        Setting::OnlyV6 => sockopt::set_ipv6_v6only(socket, true)?,
        Setting::Device(name) => {
            set_option(
                socket,
                libc::SOL_SOCKET,
                libc::SO_BINDTODEVICE,
                name.as_bytes(),
            )?;
        }
        Setting::FastOpenConnect => {
            let yes = 1i32.to_ne_bytes();
            set_option(socket, libc::SOL_TCP, libc::TCP_FASTOPEN_CONNECT, &yes)?;
        }
        Setting::UnicastLoopback => {
            // linux/in.h and linux/in6.h; the device in network order.
            const IP_UNICAST_IF: i32 = 50;
            const IPV6_UNICAST_IF: i32 = 76;
            let device = LOOPBACK.to_be_bytes();
            let (level, option) = match net::getsockname(socket)?.try_into() {
                Ok(SocketAddr::V6(_)) => (libc::SOL_IPV6, IPV6_UNICAST_IF),
                _ => (libc::SOL_IP, IP_UNICAST_IF),
            };
            set_option(socket, level, option, &device)?;
        }
        Setting::UserTimeout(milliseconds) => {
            let value = milliseconds.to_ne_bytes();
            set_option(socket, libc::SOL_TCP, libc::TCP_USER_TIMEOUT, &value)?;
        }
        Setting::NoOptionMemory => use_option_memory_up(socket)?,
    }
    Ok(())
}

fn use_option_memory_up(socket: &OwnedFd) -> io::Result<()> {
    for group in 1..=u16::MAX {
        let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0x53, group);
        match sockopt::set_ipv6_add_membership(socket, &group, LOOPBACK) {
            Ok(()) => {}
            Err(Errno::NOMEM) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("groups do not use the memory up"))
}

fn set_option(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).expect("a few bytes");
    // SAFETY: the kernel reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            length,
        )
    };
    check(result)
}

pub(super) fn has(socket: &OwnedFd, feature: Feature) -> io::Result<bool> {
    // linux/socket.h and linux/mptcp.h
    const SOL_MPTCP: i32 = 284;
    const MPTCP_INFO: i32 = 1;
    // linux/tcp.h: in `tcpi_options`, the sixth byte of `tcp_info`.
    const OPTIONS: usize = 5;
    const SYN_DATA: u8 = 32;
    match feature {
        Feature::Mptcp => match get_option(socket, SOL_MPTCP, MPTCP_INFO) {
            Ok(_) => Ok(true),
            // What TCP, and so a connection that fell back to it, says of another level's options: over IPv4, over IPv6.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        },
        Feature::DataInSyn => {
            let info = get_option(socket, libc::SOL_TCP, libc::TCP_INFO)?;
            Ok(info[OPTIONS] & SYN_DATA != 0)
        }
    }
}

pub(super) fn option(socket: &OwnedFd, option: SocketOption) -> io::Result<i32> {
    let (level, option) = match option {
        SocketOption::Keepalive => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        SocketOption::KeepaliveTime => (libc::SOL_TCP, libc::TCP_KEEPIDLE),
        SocketOption::KeepaliveInterval => (libc::SOL_TCP, libc::TCP_KEEPINTVL),
        SocketOption::KeepaliveProbes => (libc::SOL_TCP, libc::TCP_KEEPCNT),
        SocketOption::UserTimeout => (libc::SOL_TCP, libc::TCP_USER_TIMEOUT),
    };
    let [a, b, c, d, ..] = get_option(socket, level, option)?;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

/// The first bytes of the option's value.
fn get_option(socket: &OwnedFd, level: i32, option: i32) -> io::Result<[u8; 64]> {
    let mut value = [0u8; 64];
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).expect("a few bytes");
    // SAFETY: the kernel writes at most `length` bytes to `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    Ok(value)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

//! A network namespace with nothing but a loopback device, so that tests own every address in it.
#![expect(unsafe_code, reason = "the ioctls of network devices, and unshare(2)")]

use std::ffi::c_char;
use std::fs;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

pub use agent::app::netns::isolate;

/// Keeps the network namespace of a process where `ip netns` does, as this thread and those that it starts see it: their
/// /run is another from now on, and ends with them.
pub fn keep(process: u32) -> Result<()> {
    // SAFETY: mounts of its own touch neither memory nor file descriptors; that of a working directory is not used.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    fs::create_dir_all("/run")?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None)?;
    fs::create_dir("/run/netns")?;
    fs::write("/run/netns/kept", "")?;
    mount_bind(format!("/proc/{process}/ns/net"), "/run/netns/kept")?;
    Ok(())
}

/// `struct in6_ifreq` of include/uapi/linux/ipv6.h.
#[repr(C)]
struct In6Request {
    address: libc::in6_addr,
    prefix_length: u32,
    device: i32,
}

/// `struct rtentry` of include/uapi/linux/route.h.
#[repr(C)]
struct Route {
    reserved: libc::c_ulong,
    destination: libc::sockaddr,
    gateway: libc::sockaddr,
    mask: libc::sockaddr,
    flags: libc::c_ushort,
    reserved_too: [libc::c_ulong; 2],
    metric: libc::c_short,
    device: *const c_char,
    mtu: libc::c_ulong,
    window: libc::c_ulong,
    round_trip: libc::c_ushort,
}

/// The first device of a namespace.
const LOOPBACK: i32 = 1;

/// Gives the loopback device an address: connects to it come from it too, which tells who was reached.
pub fn add_address(address: IpAddr, number: usize) -> Result<()> {
    match address {
        IpAddr::V4(address) => add_v4(address, number),
        IpAddr::V6(address) => add_v6(address),
    }
    .with_context(|| format!("adding {address}"))
}

fn add_v4(address: Ipv4Addr, number: usize) -> Result<()> {
    let label = format!("lo:{number}");
    let mut request = request(&label);
    request.ifr_ifru.ifru_addr = socket_address(address);
    ioctl_v4(libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_addr = socket_address(Ipv4Addr::BROADCAST);
    ioctl_v4(libc::SIOCSIFNETMASK, &mut request)
}

fn add_v6(address: Ipv6Addr) -> Result<()> {
    let socket = UdpSocket::bind("[::]:0")?;
    let request = In6Request {
        address: libc::in6_addr {
            s6_addr: address.octets(),
        },
        prefix_length: 128,
        device: LOOPBACK,
    };
    // SAFETY: the request is what SIOCSIFADDR on an IPv6 socket reads.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &raw const request) })?;
    // The kernel makes it usable from a work queue, a moment later.
    let deadline = Instant::now() + Duration::from_secs(5);
    let scope = if address.is_unicast_link_local() {
        LOOPBACK.unsigned_abs()
    } else {
        0
    };
    let at = SocketAddrV6::new(address, 0, 0, scope);
    while let Err(error) = UdpSocket::bind(at) {
        if error.kind() != io::ErrorKind::AddrNotAvailable || Instant::now() > deadline {
            return Err(error.into());
        }
        thread::yield_now();
    }
    Ok(())
}

/// Routes an address that nobody has over the loopback device, which drops what is sent there.
pub fn lead_to_nobody(address: Ipv4Addr) -> Result<()> {
    // SAFETY: plain data, for which zeros are valid.
    let mut route: Route = unsafe { mem::zeroed() };
    route.destination = socket_address(address);
    route.mask = socket_address(Ipv4Addr::BROADCAST);
    route.flags = libc::RTF_UP | libc::RTF_HOST;
    route.device = c"lo".as_ptr();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the route is what SIOCADDRT reads, and the name of its device outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw const route) })
        .with_context(|| format!("leading {address} to nobody"))
}

fn request(device: &str) -> libc::ifreq {
    // SAFETY: plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = c_char::try_from(from).expect("names of devices are ASCII");
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("a small number"),
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes of plain data.
    unsafe { mem::transmute(address) }
}

fn ioctl_v4(number: libc::c_ulong, request: &mut libc::ifreq) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request is what these ioctls read and write.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut *request) })
}

fn check(result: i32) -> Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

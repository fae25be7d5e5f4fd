//! A network namespace with nothing but a loopback: what happens in it cannot leave the machine.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this thread, and those that it will start, into a fresh network namespace and brings its loopback up. Needs
/// `CAP_SYS_ADMIN`. The namespace ends with the last thread in it.
#[expect(unsafe_code, reason = "unshare(2) and the interface ioctl")]
pub fn isolate() -> io::Result<()> {
    // SAFETY: a network namespace of its own does not touch memory, file descriptors or other threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from).expect("ASCII");
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("IFF_UP is 1");
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the request is a complete `ifreq` that outlives the call.
    if unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

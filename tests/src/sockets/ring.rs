//! connect(2) by `io_uring`.
#![expect(
    unsafe_code,
    reason = "what a submission points to must outlive its completion"
)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{IoUring, opcode, types};
use rustix::net::addr::SocketAddrArg;

/// Submits one connect and waits for its completion.
pub(super) fn connect(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let mut ring = IoUring::new(1)?;
    // SAFETY: the address lives until the closure returns, and by then the one submission has completed.
    let result = unsafe {
        to.with_sockaddr(|address, length| {
            let socket = types::Fd(socket.as_raw_fd());
            let entry = opcode::Connect::new(socket, address.cast(), length).build();
            ring.submission()
                .push(&entry)
                .map_err(|_| io::Error::other("the queue has no room"))?;
            ring.submit_and_wait(1)?;
            let completion = ring.completion().next();
            completion.ok_or_else(|| io::Error::other("no completion after waiting for one"))
        })
    }?
    .result();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(())
}

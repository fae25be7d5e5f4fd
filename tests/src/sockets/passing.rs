//! Sockets on their way from one process to another (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

pub(super) fn pass(socket: &OwnedFd, mailbox: &Path) -> io::Result<()> {
    let post = UnixDatagram::unbound()?;
    post.connect(mailbox)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket.as_fd()];
    let fits = control.push(SendAncillaryMessage::ScmRights(&sockets));
    assert!(fits, "there is space for one file descriptor");
    // A message without data would not be delivered.
    let data = [IoSlice::new(b"!")];
    sendmsg(post, &data, &mut control, SendFlags::empty())?;
    Ok(())
}

pub(super) fn receive(mailbox: &UnixDatagram) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    recvmsg(mailbox, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("the message has no socket"))
}

//! Who asks on the control socket, and may they? By what the kernel vouches for, whatever the mode of the socket's file.
#![expect(unsafe_code, reason = "getsockopt(2) of SO_PEERGROUPS")]

use std::io;
use std::os::fd::AsRawFd;

use tokio::net::UnixStream;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To know something, which the socket's group may.
    Read,
    /// To have the agent act otherwise than before, which is for root and the agent's own user.
    Change,
}

/// A process as it was when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    user: u32,
    groups: Vec<u32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = supplementary_groups(stream)?;
        groups.push(credentials.gid());
        Ok(Self {
            user: credentials.uid(),
            groups,
        })
    }

    /// `own` is the agent's user, `group` that of the socket's file.
    pub(super) fn may(&self, need: Need, own: u32, group: Option<u32>) -> bool {
        let is_owner = self.user == 0 || self.user == own;
        let is_member = group.is_some_and(|group| self.groups.contains(&group));
        match need {
            Need::Read => is_owner || is_member,
            Need::Change => is_owner,
        }
    }
}

fn supplementary_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
            .expect("the kernel lets a process have 65,536 groups at most");
        // SAFETY: the buffer outlives the call and is of as many bytes as it is said to be.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        let error = io::Error::last_os_error();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        // There are more, and this is how many.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: u32 = 900;
    const GROUP: u32 = 901;

    fn may(user: u32, groups: &[u32]) -> [bool; 2] {
        let peer = Peer {
            user,
            groups: groups.to_vec(),
        };
        [Need::Read, Need::Change].map(|need| peer.may(need, AGENT, Some(GROUP)))
    }

    #[test]
    fn the_group_may_know_and_the_owners_may_change() {
        assert_eq!(may(0, &[0]), [true, true]);
        assert_eq!(may(AGENT, &[AGENT]), [true, true]);
        assert_eq!(may(1000, &[1000, GROUP]), [true, false]);
        assert_eq!(may(1000, &[1000]), [false, false]);
        // Being in root's group makes nobody root.
        assert_eq!(may(1000, &[0]), [false, false]);
    }

    #[test]
    fn nobody_is_a_member_where_the_group_is_not_known() {
        let peer = Peer {
            user: 1000,
            groups: vec![GROUP],
        };
        assert!(!peer.may(Need::Read, AGENT, None));
    }

    #[tokio::test]
    async fn a_peer_is_who_connected() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&stream).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(peer.user, own);
        let mut groups = peer.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        let mut expected: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .into_iter()
            .chain([rustix::process::getegid()])
            .map(rustix::process::Gid::as_raw)
            .collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(groups, expected);
    }
}

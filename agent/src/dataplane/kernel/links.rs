//! Attaching the programs to cgroups, and taking them off again.
//!
//! Where another agent has left its attachment, its program is exchanged for ours: a socket meets the one or the other.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, CgroupSock, CgroupSockAddr, ProgramError, SockOps};

use crate::dataplane::bpf;

use super::detach::end;
use super::error::AttachError;
use super::load::Hook;
use super::pins::PinDirectory;

/// A link on every kernel that we load on allows others beside it, and says so by having no flag at all: that is what aya
/// calls `Single`. Any other mode is refused by `BPF_LINK_CREATE`.
const MODE: CgroupAttachMode = CgroupAttachMode::Single;

/// One program on one cgroup. Dropping it detaches.
#[derive(Debug)]
pub(super) struct Attachment {
    pub hook: Hook,
    pub cgroup: PathBuf,
    link: Option<Link>,
    /// Another agent attached it, which nobody may undo because we cannot go on.
    is_inherited: bool,
}

#[derive(Debug)]
enum Link {
    /// Ends with its file descriptor.
    Free(#[expect(dead_code, reason = "held for what its drop does")] FdLink),
    /// Ends with the pin.
    Pinned(PathBuf),
}

impl Attachment {
    pub(super) fn pin(&self) -> Option<&Path> {
        match &self.link {
            Some(Link::Pinned(path)) => Some(path),
            _ => None,
        }
    }

    /// Leaves it in effect, if it is pinned.
    pub(super) fn leave(mut self) {
        self.link = None;
    }

    /// Detaches what was not attached before us.
    fn undo(self) {
        if self.is_inherited {
            self.leave();
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(Link::Pinned(path)) = self.link.take()
            && let Err(error) = end(&path)
        {
            let program = self.hook.program();
            tracing::error!(%error, program, "a pin stays; run `shunt cleanup`");
        }
    }
}

/// Attaches the programs of `hooks` to each of `cgroups`; on failure none, but that what another agent had attached there stays.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    hooks: &[Hook],
    cgroups: &[PathBuf],
    pins: Option<&PinDirectory>,
) -> Result<Vec<Attachment>, AttachError> {
    let mut attached = Vec::new();
    for cgroup in cgroups {
        for &hook in hooks {
            match attach_one(ebpf, hook, cgroup, pins) {
                Ok(attachment) => attached.push(attachment),
                Err(error) => {
                    attached.into_iter().for_each(Attachment::undo);
                    return Err(error);
                }
            }
        }
    }
    Ok(attached)
}

fn attach_one(
    ebpf: &mut Ebpf,
    hook: Hook,
    cgroup: &Path,
    pins: Option<&PinDirectory>,
) -> Result<Attachment, AttachError> {
    let directory = File::open(cgroup).map_err(|error| AttachError::Open {
        path: cgroup.to_owned(),
        error,
    })?;
    let mut attachment = Attachment {
        hook,
        cgroup: cgroup.to_owned(),
        link: None,
        is_inherited: false,
    };
    let refused = |error| AttachError::refused(hook.program(), cgroup, error);
    let Some(pins) = pins else {
        attachment.link = Some(Link::Free(link(ebpf, hook, &directory).map_err(refused)?));
        return Ok(attachment);
    };
    let failed = |error: io::Error| AttachError::pin(hook.program(), pins.path(), &error);
    let path = pins.link(hook.program(), &directory).map_err(failed)?;
    let left = pins.left_behind(&path).map_err(failed)?;
    attachment.is_inherited = left.is_some();
    let is_taken_over = match &left {
        Some(left) => take_over(ebpf, hook, left, &path).map_err(failed)?,
        None => false,
    };
    if !is_taken_over {
        // Beside what is left, until it ends.
        let beside = pins.beside(&path);
        let link = link(ebpf, hook, &directory).map_err(refused)?;
        let pinned = link.pin(&beside);
        pinned.map_err(|error| AttachError::pin(hook.program(), &beside, &error))?;
        if let Some(left) = left {
            end(&left).map_err(failed)?;
        }
        fs::rename(&beside, &path).map_err(failed)?;
    }
    attachment.link = Some(Link::Pinned(path));
    Ok(attachment)
}

/// Has the link that is pinned at `left` run our program, and its pin stand at `path`. Returns whether the kernel took it.
fn take_over(ebpf: &Ebpf, hook: Hook, left: &Path, path: &Path) -> io::Result<bool> {
    let program = ebpf
        .program(hook.program())
        .and_then(|program| program.fd().ok())
        .expect("every program that is attached was loaded");
    let updated =
        bpf::get_pinned(left).and_then(|link| bpf::update_link(link.as_fd(), program.as_fd()));
    if let Err(error) = updated {
        tracing::warn!(%error, pin = %left.display(), "what was left there runs until ours is attached beside it");
        return Ok(false);
    }
    if left != path {
        fs::rename(left, path)?;
    }
    Ok(true)
}

fn link(ebpf: &mut Ebpf, hook: Hook, cgroup: &File) -> Result<FdLink, ProgramError> {
    let program = ebpf
        .program_mut(hook.program())
        .expect("every program was found when it was loaded");
    let as_program_error = |error| match error {
        LinkError::SyscallError(error) => ProgramError::SyscallError(error),
        _ => ProgramError::UnexpectedProgramType,
    };
    // Three types of aya that have the same methods and no trait for them.
    macro_rules! attach {
        ($kind:ty) => {{
            let program = <&mut $kind>::try_from(program)?;
            let id = program.attach(cgroup, MODE)?;
            FdLink::try_from(program.take_link(id)?).map_err(as_program_error)
        }};
    }
    match hook {
        Hook::Release => attach!(CgroupSock),
        Hook::SockOps => attach!(SockOps),
        _ => attach!(CgroupSockAddr),
    }
}

//! Attaching the programs to cgroups, and taking them off again.

use std::fs::File;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::{CgroupAttachMode, CgroupSock, CgroupSockAddr, ProgramError, SockOps};

use super::detach::detach;
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
}

#[derive(Debug)]
enum Link {
    /// Ends with its file descriptor.
    Free(#[expect(dead_code, reason = "held for what its drop does")] FdLink),
    Pinned(PinnedLink, PathBuf),
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let Some(Link::Pinned(pinned, path)) = self.link.take() else {
            return;
        };
        let program = self.hook.program();
        if let Err(error) = detach(&path) {
            tracing::warn!(%error, program, "the program is detached a moment later, with its pin");
        }
        if let Err(error) = pinned.unpin() {
            tracing::error!(%error, program, "a pin stays; run `shunt cleanup`");
        }
    }
}

/// Attaches the programs of `hooks` to `cgroup`; on failure, none.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    hooks: &[Hook],
    cgroup: &Path,
    pins: Option<&PinDirectory>,
) -> Result<Vec<Attachment>, AttachError> {
    let directory = File::open(cgroup).map_err(|error| AttachError::Open {
        path: cgroup.to_owned(),
        error,
    })?;
    hooks
        .iter()
        .map(|&hook| {
            let link = link(ebpf, hook, &directory)
                .map_err(|error| AttachError::refused(hook.program(), cgroup, error))?;
            let link = match pins {
                Some(pins) => pin(link, hook, &directory, pins)?,
                None => Link::Free(link),
            };
            Ok(Attachment {
                hook,
                cgroup: cgroup.to_owned(),
                link: Some(link),
            })
        })
        .collect()
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

fn pin(link: FdLink, hook: Hook, cgroup: &File, pins: &PinDirectory) -> Result<Link, AttachError> {
    let failed = |path: &Path, reason: String| AttachError::Pin {
        program: hook.program(),
        path: path.to_owned(),
        reason,
    };
    let path = pins
        .link(hook.program(), cgroup)
        .map_err(|error| failed(pins.path(), error.to_string()))?;
    let pinned = link
        .pin(&path)
        .map_err(|error| failed(&path, error.to_string()))?;
    Ok(Link::Pinned(pinned, path))
}

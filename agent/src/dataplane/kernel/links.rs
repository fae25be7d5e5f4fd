//! Attaching the programs to cgroups, and taking them off again.
//!
//! Where another agent has left its attachment, its program is exchanged for ours: a socket meets the one or the other.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::Ebpf;

use crate::dataplane::bpf;

use super::detach::{end, end_link, remove_pin};
use super::error::AttachError;
use super::load::Hook;
use super::pins::PinDirectory;

/// One program on one cgroup. Dropping it detaches.
#[derive(Debug)]
pub(super) struct Attachment {
    pub hook: Hook,
    pub cgroup: PathBuf,
    /// `None` once its cgroup is gone.
    link: Option<Link>,
    /// Another agent attached it, which nobody may undo because we cannot go on.
    is_inherited: bool,
}

#[derive(Debug)]
struct Link {
    /// Held beside the pin, so that whoever removes that detaches nothing while we live.
    fd: OwnedFd,
    pin: Option<Pin>,
}

#[derive(Debug)]
struct Pin {
    path: PathBuf,
    inode: u64,
}

impl Pin {
    /// What was just pinned at `found`, which belongs at `path`. It is in effect, wherever it stands.
    fn settle(found: &Path, path: PathBuf) -> Self {
        let mut stands_at = path;
        if found != stands_at
            && let Err(error) = fs::rename(found, &stands_at)
        {
            tracing::warn!(%error, pin = %found.display(), "the pin stays there");
            found.clone_into(&mut stands_at);
        }
        Self {
            // One that cannot be told is taken for lost at the next look.
            inode: fs::symlink_metadata(&stands_at).map_or(0, |pin| pin.ino()),
            path: stands_at,
        }
    }

    /// Whether it is gone, or something else is in its place.
    fn is_lost(&self) -> bool {
        fs::symlink_metadata(&self.path).map_or(true, |found| found.ino() != self.inode)
    }
}

/// What somebody else has done to an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is attached to nothing any more, or its cgroup is gone.
    Detached,
    /// It runs the program of this id.
    Exchanged(u32),
    Unpinned,
}

impl Attachment {
    pub(super) fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    pub(super) fn pin(&self) -> Option<&Path> {
        let pin = self.link.as_ref()?.pin.as_ref()?;
        Some(&pin.path)
    }

    /// Leaves it in effect, if it is pinned.
    pub(super) fn leave(mut self) {
        self.link = None;
    }

    /// Detaches what was not attached before us.
    pub(super) fn undo(self) {
        if self.is_inherited {
            self.leave();
        }
    }

    /// Detaches it. Where its pin cannot be removed it may be ended again.
    pub(super) fn end(&mut self) -> Result<(), AttachError> {
        if let Some(Link { fd, pin: Some(pin) }) = &self.link {
            end_link(fd.as_fd(), &pin.path).map_err(|error| AttachError::Unpin {
                path: pin.path.clone(),
                error,
            })?;
        }
        self.link = None;
        Ok(())
    }

    /// What is wrong with it, where it should run the program of the id `program`.
    pub(super) fn fault(&self, program: u32) -> io::Result<Option<Fault>> {
        let Some(link) = &self.link else {
            return Ok(Some(Fault::Detached));
        };
        let linked = bpf::linked(link.fd.as_fd())?;
        Ok(match linked.cgroup {
            0 => Some(Fault::Detached),
            _ if linked.program != program => Some(Fault::Exchanged(linked.program)),
            _ => {
                let is_lost = link.pin.as_ref().is_some_and(Pin::is_lost);
                is_lost.then_some(Fault::Unpinned)
            }
        })
    }

    /// Puts back what that fault has taken. The cgroup must be there.
    pub(super) fn mend(
        &mut self,
        fault: Fault,
        ebpf: &Ebpf,
        pins: Option<&PinDirectory>,
    ) -> Result<(), AttachError> {
        let (hook, program) = (self.hook, program(ebpf, self.hook));
        match (fault, &mut self.link) {
            (Fault::Exchanged(_), Some(link)) => bpf::update_link(link.fd.as_fd(), program)
                .map_err(|error| AttachError::refused(hook.program(), &self.cgroup, error)),
            (Fault::Unpinned, Some(link)) => {
                if let (Some(pins), Some(pin)) = (pins, &mut link.pin) {
                    let failed = |error| AttachError::pin(hook.program(), &pin.path, &error);
                    *pin = keep(link.fd.as_fd(), pins, &pin.path, None).map_err(failed)?;
                }
                Ok(())
            }
            _ => {
                let directory = open(&self.cgroup)?;
                let link = attach_beside(program, hook, (&self.cgroup, &directory), pins, None)?;
                let new = link.pin.as_ref().map(|pin| pin.path.clone());
                if let Some(old) = self.pin().filter(|old| Some(*old) != new.as_deref()) {
                    let failed = |error| AttachError::pin(hook.program(), old, &error);
                    remove_pin(old).map_err(failed)?;
                }
                self.link = Some(link);
                Ok(())
            }
        }
    }

    /// Gives up what was attached to a cgroup that is gone.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        match self.link.take().and_then(|link| link.pin) {
            Some(pin) => remove_pin(&pin.path),
            None => Ok(()),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "a pin stays; run `shunt cleanup`");
        }
    }
}

/// Attaches the programs of `hooks` to each of `cgroups`; on failure none, but that what another agent had attached there stays.
pub(super) fn attach(
    ebpf: &Ebpf,
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
    ebpf: &Ebpf,
    hook: Hook,
    cgroup: &Path,
    pins: Option<&PinDirectory>,
) -> Result<Attachment, AttachError> {
    let (program, directory) = (program(ebpf, hook), open(cgroup)?);
    let mut left = None;
    let mut link = None;
    if let Some(pins) = pins {
        let failed = |error: io::Error| AttachError::pin(hook.program(), pins.path(), &error);
        let path = pins.link(hook.program(), &directory).map_err(failed)?;
        left = pins.left_behind(&path).map_err(failed)?;
        if let Some(left) = &left {
            link = take_over(program, left, path);
        }
    }
    let link = match link {
        Some(link) => link,
        None => attach_beside(program, hook, (cgroup, &directory), pins, left.as_deref())?,
    };
    Ok(Attachment {
        hook,
        cgroup: cgroup.to_owned(),
        link: Some(link),
        is_inherited: left.is_some(),
    })
}

/// Has the link that is pinned at `left` run our program, and its pin stand at `path`. `None` where the kernel did not take it.
fn take_over(program: BorrowedFd<'_>, left: &Path, path: PathBuf) -> Option<Link> {
    let updated = bpf::get_pinned(left).and_then(|link| {
        bpf::update_link(link.as_fd(), program)?;
        Ok(link)
    });
    let fd = match updated {
        Ok(link) => link,
        Err(error) => {
            tracing::warn!(%error, pin = %left.display(), "what was left there runs until ours is attached beside it");
            return None;
        }
    };
    let pin = Some(Pin::settle(left, path));
    Some(Link { fd, pin })
}

/// Attaches beside what else is attached there, and then ends what is pinned at `left`.
fn attach_beside(
    program: BorrowedFd<'_>,
    hook: Hook,
    (cgroup, directory): (&Path, &File),
    pins: Option<&PinDirectory>,
    left: Option<&Path>,
) -> Result<Link, AttachError> {
    let fd = bpf::create_link(program, directory, hook.attach_type())
        .map_err(|error| AttachError::refused(hook.program(), cgroup, error))?;
    let Some(pins) = pins else {
        return Ok(Link { fd, pin: None });
    };
    let failed = |error: io::Error| AttachError::pin(hook.program(), pins.path(), &error);
    let path = pins.link(hook.program(), directory).map_err(failed)?;
    let pin = keep(fd.as_fd(), pins, &path, left).map_err(failed)?;
    let pin = Some(pin);
    Ok(Link { fd, pin })
}

/// Pins a link at `path`, whatever is there, once what is pinned at `left` has ended.
fn keep(
    link: BorrowedFd<'_>,
    pins: &PinDirectory,
    path: &Path,
    left: Option<&Path>,
) -> io::Result<Pin> {
    let beside = pins.beside(path);
    if beside.exists() {
        end(&beside)?;
    }
    bpf::pin(link, &beside)?;
    if let Some(left) = left.filter(|left| *left != beside)
        && let Err(error) = end(left)
    {
        tracing::warn!(%error, pin = %left.display(), "what was left there stays beside ours for now");
    }
    Ok(Pin::settle(&beside, path.to_owned()))
}

fn open(cgroup: &Path) -> Result<File, AttachError> {
    File::open(cgroup).map_err(|error| AttachError::Open {
        path: cgroup.to_owned(),
        error,
    })
}

fn program(ebpf: &Ebpf, hook: Hook) -> BorrowedFd<'_> {
    let program = ebpf.program(hook.program());
    let fd = program.and_then(|program| program.fd().ok());
    fd.expect("every program that is attached was loaded")
        .as_fd()
}

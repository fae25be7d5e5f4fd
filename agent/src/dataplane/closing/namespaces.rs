//! In which network namespaces are the sockets that programs on some cgroups see, and how is work done in one of them?

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` and container runtimes keep namespaces that may have no process.
const KEPT: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// A network namespace, which stays for as long as this does.
#[derive(Debug)]
pub(super) struct Namespace {
    file: File,
    inode: u64,
    path: PathBuf,
    /// That of this process, which needs not be entered, and no right to.
    is_own: bool,
}

/// As `/proc/PID/ns/net` shows it, and where it was found.
impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}] ({})", self.inode, self.path.display())
    }
}

/// What there is to look through.
#[derive(Default)]
pub(super) struct Found {
    seen: BTreeSet<(u64, u64)>,
    /// Each once.
    pub(super) namespaces: Vec<Namespace>,
    /// Whether there are processes of which we may not know where they are.
    pub(super) is_partial: bool,
}

/// That of this thread, those of processes below `cgroups`, and those that are kept.
pub(super) fn all(cgroups: &[PathBuf]) -> Found {
    let mut found = Found::default();
    // The first to be found is our own.
    found.add(PathBuf::from("/proc/thread-self/ns/net"));
    for cgroup in cgroups {
        found.add_processes(cgroup);
    }
    for folder in KEPT {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.for_each(|entry| found.add(entry.path()));
    }
    found
}

/// Whether sockets in other network namespaces than our own can be ended, as far as our rights go: whether any may be entered.
pub fn can_enter() -> io::Result<()> {
    // That of the first process, of which there is always one, is looked at as any other's.
    let file = File::open("/proc/1/ns/net")?;
    let inode = file.metadata()?.ino();
    let namespace = Namespace {
        file,
        inode,
        path: PathBuf::from("/proc/1/ns/net"),
        is_own: false,
    };
    namespace.run(|| Ok(()))
}

impl Found {
    /// What is not there is a process that has just ended.
    fn add(&mut self, path: PathBuf) {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.is_partial |= error.kind() == io::ErrorKind::PermissionDenied;
                return;
            }
        };
        if self.seen.contains(&(metadata.dev(), metadata.ino())) {
            return;
        }
        // It may be another by now.
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        if let Ok((metadata, file)) = opened
            && self.seen.insert((metadata.dev(), metadata.ino()))
        {
            let inode = metadata.ino();
            self.namespaces.push(Namespace {
                file,
                inode,
                path,
                is_own: self.namespaces.is_empty(),
            });
        }
    }

    fn add_processes(&mut self, cgroup: &Path) {
        let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        // 0 is a process that our own PID namespace has no number for.
        for process in processes.lines().filter(|process| *process != "0") {
            self.add(PathBuf::from(format!("/proc/{process}/ns/net")));
        }
        for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add_processes(&entry.path());
            }
        }
    }
}

impl Namespace {
    /// Does `work` there, on a thread that ends with it: none that is needed elsewhere can be left behind there.
    pub(super) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("sock_diag".to_owned())
                .spawn_scoped(scope, || {
                    if !self.is_own {
                        let kind = Some(LinkNameSpaceType::Network);
                        move_into_link_name_space(self.file.as_fd(), kind)?;
                    }
                    work()
                })?;
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_is_found_once_and_the_own_one_first() {
        let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let found = all(&[]).namespaces;
        assert_eq!(found[0].inode, own);
        let inodes: BTreeSet<u64> = found.iter().map(|namespace| namespace.inode).collect();
        assert_eq!(inodes.len(), found.len());
        assert!(found[0].to_string().starts_with(&format!("net:[{own}]")));
    }
}

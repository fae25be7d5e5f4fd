//! Where cgroup v2 and BPF file systems are mounted, and where in the cgroups this process is.
#![expect(unsafe_code, reason = "mount(2)")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// `CGROUP2_SUPER_MAGIC` of the same.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Where distributions mount the BPF file system.
const BPFFS: &str = "/sys/fs/bpf";

/// There is no cgroup v2 to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCgroup2 {
    #[error("cgroup v2 is not mounted, only cgroup v1 is")]
    OnlyV1,
    #[error("cgroup v2 is not mounted")]
    NotMounted,
}

impl NoCgroup2 {
    pub fn remedy(self) -> &'static str {
        match self {
            Self::OnlyV1 => {
                "mount it beside cgroup v1 with `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 \
                 /sys/fs/cgroup/unified`, or boot with systemd.unified_cgroup_hierarchy=1; in a container, mount the \
                 host's /sys/fs/cgroup"
            }
            Self::NotMounted => "mount it with `mount -t cgroup2 cgroup2 /sys/fs/cgroup`",
        }
    }
}

/// Where cgroup v2 is mounted; in a hybrid set-up that is beside the controllers of v1.
pub fn cgroup2() -> Result<PathBuf, NoCgroup2> {
    let mounts = mountinfo();
    let missing = if mounts_of(&mounts, "cgroup").next().is_some() {
        NoCgroup2::OnlyV1
    } else {
        NoCgroup2::NotMounted
    };
    mounts_of(&mounts, "cgroup2").next().ok_or(missing)
}

/// Whether a hierarchy of cgroup v1 is mounted.
pub fn has_cgroup1() -> bool {
    mounts_of(&mountinfo(), "cgroup").next().is_some()
}

fn mountinfo() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Where file systems of `kind` are mounted. Fields of a line: id, parent, device, root, mount point, options, …, `-`, type, …
fn mounts_of<'a>(mountinfo: &'a str, kind: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    mountinfo.lines().filter_map(move |line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        (after.split(' ').next() == Some(kind)).then(|| PathBuf::from(unescape(point)))
    })
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescape(path: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(path.to_owned(), |path, (code, character)| {
        path.replace(code, character)
    })
}

/// The cgroup v2 directory of this process, below `mount`.
pub fn present_cgroup(mount: &Path) -> io::Result<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let path = cgroups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "this process is in no cgroup v2")
        })?;
    Ok(if path.is_empty() {
        mount.to_owned()
    } else {
        mount.join(path)
    })
}

/// Whether `path`, or the nearest directory above it that exists, is on a BPF file system.
pub fn is_on_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find_map(kind)
        .is_some_and(|kind| kind == BPF_FS_MAGIC)
}

/// Whether `path` is a directory of cgroup v2.
pub fn is_on_cgroup2(path: &Path) -> bool {
    kind(path) == Some(CGROUP2_MAGIC)
}

/// The number of the kind of file system that `path` is on.
fn kind(path: &Path) -> Option<u64> {
    u64::try_from(statfs(path).ok()?.f_type).ok()
}

/// Mounts the BPF file system at its usual place when `path` is meant to be there and it is not mounted, as bpftool does.
pub fn ensure_bpffs(path: &Path) -> io::Result<()> {
    if is_on_bpffs(path) {
        return Ok(());
    }
    if !path.starts_with(BPFFS) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is not on a BPF file system: choose a directory under /sys/fs/bpf",
        ));
    }
    let (kind, target) = (
        c"bpf",
        CString::new(Path::new(BPFFS).as_os_str().as_bytes())?,
    );
    // SAFETY: all pointers are to NUL-terminated strings, and data may be null.
    let mounted = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    if mounted == 0 {
        tracing::info!("mounted the BPF file system at {BPFFS}");
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_beside_the_controllers_of_v1() {
        let mounts = "\
24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:23 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu
26 24 0:24 / /sys/fs/cgroup/uni\\040fied rw shared:2 - cgroup2 cgroup2 rw
";
        let find = |mounts, kind| mounts_of(mounts, kind).next();
        let (v1, v2) = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/uni fied");
        assert_eq!(find(mounts, "cgroup2"), Some(v2.into()));
        assert_eq!(find(mounts, "cgroup"), Some(v1.into()));
        assert_eq!(
            find("24 1 0:22 / / rw - ext4 /dev/vda rw\n", "cgroup2"),
            None
        );
    }
}

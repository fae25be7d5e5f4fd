//! Reading files that others may be writing: which names in a directory are configuration, and what one file holds.

use std::fs::{self, DirEntry, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// The largest file that is read, in bytes. It bounds the memory that a stray file can cost.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// A file that changed more recently than this may change again without its stamp telling: file systems stamp with the
/// kernel's tick, and some with whole seconds.
const STAMP_RESOLUTION: Duration = Duration::from_secs(2);

/// What identifies one state of one file, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of content or metadata: unlike the modification time, nobody sets it.
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether any write after `now` is sure to give another stamp.
    fn is_conclusive(&self, now: SystemTime) -> bool {
        let Ok(seconds) = u64::try_from(self.changed.0) else {
            return false;
        };
        let changed = UNIX_EPOCH + Duration::from_secs(seconds);
        now.duration_since(changed)
            .is_ok_and(|age| age > STAMP_RESOLUTION)
    }
}

/// What came of an attempt to read a file.
#[derive(Debug)]
pub(super) enum Reading {
    Text {
        text: String,
        stamp: Stamp,
        /// Whether `text` is what the file holds as long as it has this stamp; not so when it is too fresh to tell.
        is_conclusive: bool,
    },
    /// It was written to while it was read.
    Unsettled,
    /// It is not there, not even as a dangling symbolic link.
    Missing,
    /// The text says why.
    Unreadable(String),
}

/// Reads `path`, following symbolic links.
pub(super) fn read(path: &Path) -> Reading {
    match try_read(path) {
        Ok(reading) => reading,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if path.is_symlink() {
                Reading::Unreadable("the symbolic link points to nothing".to_owned())
            } else {
                Reading::Missing
            }
        }
        Err(error) => Reading::Unreadable(error.to_string()),
    }
}

fn try_read(path: &Path) -> io::Result<Reading> {
    // Opening a device may already do something.
    if let Some(refusal) = refuse(&fs::metadata(path)?) {
        return Ok(refusal);
    }
    // It may have become a FIFO since, and opening that would otherwise wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if let Some(refusal) = refuse(&metadata) {
        return Ok(refusal);
    }
    let now = SystemTime::now();
    let bytes = read_bounded(&file, metadata.len())?;
    let stamp = Stamp::of(&metadata);
    if Stamp::of(&file.metadata()?) != stamp {
        return Ok(Reading::Unsettled);
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Reading::Text {
            text,
            is_conclusive: stamp.is_conclusive(now),
            stamp,
        },
        Err(error) => Reading::Unreadable(format!(
            "it is not UTF-8 text (byte {})",
            error.utf8_error().valid_up_to()
        )),
    })
}

fn refuse(metadata: &Metadata) -> Option<Reading> {
    let size = metadata.len();
    if !metadata.is_file() {
        Some(Reading::Unreadable("it is not a regular file".to_owned()))
    } else if size > MAX_FILE_BYTES {
        let why = format!("it has {size} bytes, and at most {MAX_FILE_BYTES} are read");
        Some(Reading::Unreadable(why))
    } else {
        None
    }
}

/// Reads to the end, or one byte beyond the limit when the file grows meanwhile (which its stamp then tells).
fn read_bounded(file: &File, expected: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// In the order of their names.
    pub(super) files: Vec<PathBuf>,
    pub(super) shape: Shape,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    File,
    Directory,
    /// A directory that another file system is mounted on.
    MountPoint,
}

/// The configuration files that `path` stands for: those directly in it when it is a directory, or else itself.
pub(super) fn list(path: &Path) -> io::Result<Listing> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(Listing {
            files: vec![path.to_owned()],
            shape: Shape::File,
        });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.path();
        if is_configuration(&file) && !is_directory(&entry) {
            files.push(file);
        }
    }
    files.sort_unstable();
    let shape = if is_mount_point(path) {
        Shape::MountPoint
    } else {
        Shape::Directory
    };
    Ok(Listing { files, shape })
}

/// Symbolic links are followed.
fn is_directory(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
        _ => entry.path().is_dir(),
    }
}

fn is_mount_point(path: &Path) -> bool {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// By name: `*.yaml`, `*.yml` and `*.json`, but nothing hidden. Editors' temporary files and the `..data` of a mounted
/// `ConfigMap` are hidden.
fn is_configuration(path: &Path) -> bool {
    let is_hidden = path
        .file_name()
        .is_none_or(|name| name.as_bytes().starts_with(b"."));
    let has_extension = path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension == *known)
    });
    !is_hidden && has_extension
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_yaml_and_json_files_directly_in_the_directory_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.yaml",
            "a.yml",
            "c.json",
            ".b.yaml.swp",
            "..data",
            ".d.yaml",
            "e.yaml~",
            "f.txt",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("g.yaml")).unwrap();
        let names: Vec<_> = list(dir.path())
            .unwrap()
            .files
            .into_iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.json"]);
    }

    #[test]
    fn nothing_but_regular_files_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let read_only = rustix::fs::Mode::RUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, path("fifo.yaml"), fifo, read_only, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(path("socket.yaml")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device.yaml")).unwrap();
        std::os::unix::fs::symlink("loop.yaml", path("loop.yaml")).unwrap();
        let files = list(dir.path()).unwrap().files;
        assert_eq!(files.len(), 4);
        for file in files {
            let found = read(&file);
            assert!(
                matches!(found, Reading::Unreadable(_)),
                "{file:?}: {found:?}"
            );
        }
    }

    #[test]
    fn a_file_that_just_changed_has_no_conclusive_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "x").unwrap();
        let Reading::Text {
            text,
            stamp,
            is_conclusive,
        } = read(&path)
        else {
            panic!("not read")
        };
        assert_eq!((text.as_str(), is_conclusive), ("x", false));
        assert!(stamp.is_conclusive(SystemTime::now() + STAMP_RESOLUTION * 2));
    }

    #[test]
    fn missing_dangling_oversized_and_binary_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("nowhere", path("dangling.yaml")).unwrap();
        File::create(path("large.yaml"))
            .unwrap()
            .set_len(MAX_FILE_BYTES + 1)
            .unwrap();
        fs::write(path("binary.yaml"), b"ok \xff").unwrap();
        assert!(matches!(read(&path("none.yaml")), Reading::Missing));
        for (name, reason) in [
            ("dangling.yaml", "points to nothing"),
            ("large.yaml", "67108865 bytes, and at most 67108864"),
            ("binary.yaml", "byte 3"),
        ] {
            let Reading::Unreadable(why) = read(&path(name)) else {
                panic!("{name} was read")
            };
            assert!(why.contains(reason), "{name}: {why}");
        }
    }
}

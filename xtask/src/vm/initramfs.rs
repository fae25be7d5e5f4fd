//! The file system that a virtual machine starts with: a listing of files, written as the kernel reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

/// What stands at a path of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    /// A file of this machine. All can be executed.
    Copy(PathBuf),
    Bytes(Vec<u8>),
    /// A character device: major and minor.
    Device(u32, u32),
}

/// Files by their paths in the guest, so that folders come before what is in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Initramfs(BTreeMap<PathBuf, Entry>);

impl Initramfs {
    /// Nothing but the devices that the first process of a machine is given.
    pub(super) fn new() -> Self {
        let mut initramfs = Self::default();
        initramfs.add("/dev/console".as_ref(), Entry::Device(5, 1));
        initramfs.add("/dev/null".as_ref(), Entry::Device(1, 3));
        initramfs
    }

    /// Puts the file `from` of this machine at `path`.
    pub(super) fn copy(&mut self, path: &Path, from: &Path) {
        self.add(path, Entry::Copy(from.to_owned()));
    }

    pub(super) fn bytes(&mut self, path: &Path, bytes: Vec<u8>) {
        self.add(path, Entry::Bytes(bytes));
    }

    fn add(&mut self, path: &Path, entry: Entry) {
        for folder in path
            .ancestors()
            .skip(1)
            .filter(|path| path.parent().is_some())
        {
            self.0.entry(folder.to_owned()).or_insert(Entry::Folder);
        }
        self.0.insert(path.to_owned(), entry);
    }

    pub(super) fn write(&self, to: &mut impl Write) -> Result<()> {
        for (number, (path, entry)) in (1..).zip(&self.0) {
            write_entry(number, path, entry, to)
                .with_context(|| format!("cannot put {} into the initramfs", path.display()))?;
        }
        trailer(to)?;
        Ok(())
    }
}

fn write_entry(number: u32, path: &Path, entry: &Entry, to: &mut impl Write) -> Result<()> {
    let name = path.strip_prefix("/")?.to_str().context("not UTF-8")?;
    let builder = |kind| {
        Builder::new(name)
            .ino(number)
            .mode(0o755)
            .set_mode_file_type(kind)
    };
    let copied;
    let (builder, content): (Builder, &[u8]) = match entry {
        Entry::Folder => (builder(ModeFileType::Directory), &[]),
        Entry::Device(major, minor) => {
            let device = builder(ModeFileType::Char);
            (device.rdev_major(*major).rdev_minor(*minor), &[])
        }
        Entry::Bytes(bytes) => (builder(ModeFileType::Regular), bytes),
        Entry::Copy(from) => {
            copied = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            (builder(ModeFileType::Regular), &copied)
        }
    };
    let mut writer = builder.write(to, u32::try_from(content.len())?);
    writer.write_all(content)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use cpio::NewcReader;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_every_folder_before_its_files() {
        let mut initramfs = Initramfs::new();
        initramfs.bytes("/a/b/plan".as_ref(), b"run".to_vec());
        let mut archive = Vec::new();
        initramfs
            .write(&mut archive)
            .expect("memory can be written");

        let mut found = Vec::new();
        let mut cursor = Cursor::new(archive);
        loop {
            let mut reader = NewcReader::new(cursor).expect("it is an archive");
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            let (name, mode) = (entry.name().to_owned(), entry.mode());
            let device = (entry.rdev_major(), entry.rdev_minor());
            let mut content = String::new();
            reader.read_to_string(&mut content).expect("it is text");
            found.push((name, mode, device, content));
            cursor = reader.finish().expect("there is a trailer");
        }
        let file = |name: &str, mode, device, content: &str| {
            (name.to_owned(), mode, device, content.to_owned())
        };
        assert_eq!(
            found,
            [
                file("a", 0o040_755, (0, 0), ""),
                file("a/b", 0o040_755, (0, 0), ""),
                file("a/b/plan", 0o100_755, (0, 0), "run"),
                file("dev", 0o040_755, (0, 0), ""),
                file("dev/console", 0o020_755, (5, 1), ""),
                file("dev/null", 0o020_755, (1, 3), ""),
            ]
        );
    }
}

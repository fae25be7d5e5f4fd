//! A kernel of the archive as files, which are kept: its image, and those of its modules that tests need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use super::kernels::Kernel;
use crate::{process, tree};

/// Modules that the kernel would load by itself, if it had more than the first process to do so. Those that it has built
/// in, or not at all, are left out.
const MODULES: [&str; 7] = [
    "dummy",
    "veth",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "mptcp_diag",
    "tls",
];

/// A kernel that is here.
pub(super) struct Unpacked {
    pub image: PathBuf,
    modules: BTreeMap<String, PathBuf>,
}

/// A module as the kernel takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Unpacked {
    /// Fetches the kernel, unless it is here from last time.
    pub(super) fn get(kernel: &Kernel, archive: &Archive) -> Result<Self> {
        let kernels = tree::target().join("vm/kernels");
        let folder = kernels.join(&kernel.release);
        if !folder.exists() {
            eprintln!("vm: fetch Linux {} (some 50 MB)", kernel.release);
            let begun = kernels.join(format!("{}.part", kernel.release));
            unpack(kernel, archive, &begun)?;
            fs::rename(&begun, &folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut files = Vec::new();
        list(&folder, &mut files)?;
        Self::among(files).with_context(|| format!("in {}", folder.display()))
    }

    fn among(files: Vec<PathBuf>) -> Result<Self> {
        let mut image = None;
        let mut modules = BTreeMap::new();
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("vmlinuz") {
                image = Some(path);
            } else if let Some((name, _)) = name.split_once(".ko") {
                modules.insert(name.replace('-', "_"), path);
            }
        }
        Ok(Self {
            image: image.context("there is no image of a kernel")?,
            modules,
        })
    }

    /// What tests need, each after those that it depends on.
    pub(super) fn needed_modules(&self) -> Result<Vec<Module>> {
        in_order(&MODULES, &|name| {
            self.modules.get(name).map(|path| read(path)).transpose()
        })
    }
}

fn unpack(kernel: &Kernel, archive: &Archive, into: &Path) -> Result<()> {
    // What an interrupted run has left.
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("cannot remove {}", into.display()))?;
    }
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    archive.download(&kernel.packages, into)?;
    for entry in fs::read_dir(into)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            process::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&package)
                    .arg(into),
            )?;
            fs::remove_file(&package)?;
        }
    }
    Ok(())
}

/// Every file under `folder`.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let output = Command::new(program)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .with_context(|| format!("cannot start {program}, which unpacks modules: install it"))?;
    if !output.status.success() {
        bail!("{program} cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// `wanted` and what they depend on, as far as `read` has them.
fn in_order(
    wanted: &[&str],
    read: &impl Fn(&str) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<Module>> {
    fn add(
        name: &str,
        read: &impl Fn(&str) -> Result<Option<Vec<u8>>>,
        found: &mut Vec<Module>,
    ) -> Result<()> {
        if found.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(bytes) = read(name)? else {
            return Ok(());
        };
        for dependency in dependencies(&bytes) {
            add(&dependency, read, found)?;
        }
        found.push(Module {
            name: name.to_owned(),
            bytes,
        });
        Ok(())
    }
    let mut found = Vec::new();
    for name in wanted {
        add(name, read, &mut found)?;
    }
    Ok(found)
}

/// What a module says of itself: `depends=` and names with commas between them, ended by a zero.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next();
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_what_it_depends_on_and_what_is_built_in_is_left_out() {
        let read = |name: &str| {
            Ok(match name {
                "tcp_diag" => {
                    Some(b"ELF\0license=GPL\0depends=inet-diag,built_in\0name=tcp_diag\0".to_vec())
                }
                "inet_diag" => Some(b"ELF\0depends=\0name=inet_diag\0".to_vec()),
                _ => None,
            })
        };
        let modules =
            in_order(&["tcp_diag", "inet_diag", "dummy"], &read).expect("all can be read");
        let names: Vec<&str> = modules.iter().map(|module| &*module.name).collect();
        assert_eq!(names, ["inet_diag", "tcp_diag"]);
    }
}

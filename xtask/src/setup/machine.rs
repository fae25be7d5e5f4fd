//! What this machine has of what is needed, and what is best installed next. Looks, and changes nothing.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{privilege, process, tree};

/// The nightly that rustup is asked for. Later ones do not compile aya-ebpf 0.2.1 (from July 2026 on); its LLVM is 22.
pub(super) const NIGHTLY: &str = "nightly-2026-05-20";

/// The newest LLVM whose output both releases of bpf-linker below can read.
const LLVM: u32 = 22;
/// Where Debian keeps that LLVM.
pub(super) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Built on the LLVM of [`LLVM_PREFIX`].
pub(super) const LINKER_ON_LLVM: &str = "0.13.0";
/// The last that needs no LLVM of the system: it borrows the one inside the compiler, for which that must be rustup's.
pub(super) const LINKER_ON_RUSTC: &str = "0.10.4";

/// The language of the kernel programs (edition 2024, and what agent-common uses).
const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// Debian 12 and later, from its security archive.
const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const LINKER_PACKAGES: [&str; 4] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Rustup,
    System,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Compiler {
    origin: Origin,
    sysroot: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Linker {
    path: PathBuf,
    borrows_llvm: bool,
}

/// All that it takes to build the kernel programs.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: Linker,
}

impl Toolchain {
    pub(crate) fn sysroot(&self) -> &Path {
        &self.compiler.sysroot
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot().join("bin/rustc")
    }

    pub(crate) fn linker(&self) -> &Path {
        &self.linker.path
    }

    pub(crate) fn linker_borrows_llvm(&self) -> bool {
        self.linker.borrows_llvm
    }
}

/// One thing to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Packages(Vec<&'static str>),
    Nightly,
    LinkerOnLlvm,
    LinkerOnRustc,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages(names) => write!(
                f,
                "install the Debian packages {}, which build the kernel programs (some minutes, about 1.5 GB)",
                names.join(" ")
            ),
            Self::Nightly => write!(
                f,
                "install the compiler {NIGHTLY} and its source by rustup, which build the kernel programs"
            ),
            Self::LinkerOnLlvm => write!(
                f,
                "build bpf-linker {LINKER_ON_LLVM} into target/tools, which links the kernel programs (about a minute)"
            ),
            Self::LinkerOnRustc => write!(
                f,
                "build bpf-linker {LINKER_ON_RUSTC} into target/tools, which links the kernel programs with the \
                 compiler's own LLVM (about a minute)"
            ),
        }
    }
}

/// A way to get something, as long as it has not been seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    DebianPackages,
    Rustup,
    BuildLinker,
}

/// What is here, and which ways there are to get the rest.
#[derive(Debug)]
pub(super) struct Machine {
    compiler: Option<Compiler>,
    linker: Option<Linker>,
    /// Whether LLVM can be linked to.
    llvm: bool,
    ways: Vec<Way>,
}

impl Machine {
    pub(super) fn probe() -> Self {
        let compiler = find_compiler();
        let mut ways = vec![Way::BuildLinker];
        if privilege::is_root() && is_on_path("apt-get") {
            ways.push(Way::DebianPackages);
        }
        if is_on_path("rustup") {
            ways.push(Way::Rustup);
        }
        Self {
            linker: find_linker(compiler.as_ref()),
            compiler,
            llvm: has_llvm(),
            ways,
        }
    }

    /// Looks once more at what is here, without forgetting which ways were found blocked.
    pub(super) fn probe_again(&mut self) {
        self.compiler = find_compiler();
        self.linker = find_linker(self.compiler.as_ref());
        self.llvm = has_llvm();
    }

    pub(super) fn toolchain(&self) -> Option<Toolchain> {
        Some(Toolchain {
            compiler: self.compiler.clone()?,
            linker: self.linker.clone()?,
        })
    }

    /// How much is missing; installing something makes it less.
    pub(super) fn missing(&self) -> usize {
        [self.compiler.is_none(), self.linker.is_none(), !self.llvm]
            .into_iter()
            .filter(|missing| *missing)
            .count()
    }

    /// What to install next; `None` when nothing is missing, or no way is left to get it.
    pub(super) fn next_step(&self) -> Option<Step> {
        let open = |way| self.ways.contains(&way);
        let Some(compiler) = &self.compiler else {
            if open(Way::DebianPackages) {
                let mut names = COMPILER_PACKAGES.to_vec();
                if self.linker.is_none() {
                    names.extend(LINKER_PACKAGES);
                }
                return Some(Step::Packages(names));
            }
            return open(Way::Rustup).then_some(Step::Nightly);
        };
        if self.linker.is_some() || !open(Way::BuildLinker) {
            None
        } else if self.llvm {
            Some(Step::LinkerOnLlvm)
        } else if compiler.origin == Origin::Rustup {
            Some(Step::LinkerOnRustc)
        } else {
            open(Way::DebianPackages).then(|| Step::Packages(LINKER_PACKAGES.to_vec()))
        }
    }

    /// Notes that `step` does not work here.
    pub(super) fn rule_out(&mut self, step: &Step) {
        let failed = match step {
            Step::Packages(_) => Way::DebianPackages,
            Step::Nightly => Way::Rustup,
            Step::LinkerOnLlvm | Step::LinkerOnRustc => Way::BuildLinker,
        };
        self.ways.retain(|way| *way != failed);
    }

    /// The machine as it would be after `step`.
    pub(super) fn assume_done(&mut self, step: &Step) {
        let compiler = |origin, sysroot: &str| {
            Some(Compiler {
                origin,
                sysroot: sysroot.into(),
            })
        };
        match step {
            Step::Packages(names) => {
                if names.contains(&COMPILER_PACKAGES[0]) {
                    self.compiler = compiler(Origin::System, "/usr");
                }
                self.llvm |= names.contains(&LINKER_PACKAGES[0]);
            }
            Step::Nightly => self.compiler = compiler(Origin::Rustup, NIGHTLY),
            Step::LinkerOnLlvm | Step::LinkerOnRustc => {
                self.linker = Some(Linker {
                    path: own_linker(),
                    borrows_llvm: *step == Step::LinkerOnRustc,
                });
            }
        }
    }

    pub(super) fn compiler_sysroot(&self) -> Option<&Path> {
        self.compiler.as_ref().map(|c| c.sysroot.as_path())
    }

    /// What a person is to do when no step is left.
    pub(super) fn advice(&self) -> String {
        let missing = match (&self.compiler, &self.linker) {
            (None, None) => "a compiler for the kernel programs and bpf-linker are missing",
            (None, Some(_)) => "a compiler for the kernel programs is missing",
            _ => "bpf-linker is missing",
        };
        format!(
            "{missing}, and cannot be installed from here. Install one of these by hand, then try again:\n\
             \x20 on Debian 12 or later, as root:\n\
             \x20   apt-get update && apt-get install {} {}\n\
             \x20 anywhere else, with rustup (https://rustup.rs):\n\
             \x20   rustup toolchain install {NIGHTLY} --profile minimal --component rust-src\n\
             and, if building bpf-linker is what failed (see above), a bpf-linker from {LINKER_ON_LLVM} on in PATH",
            COMPILER_PACKAGES.join(" "),
            LINKER_PACKAGES.join(" "),
        )
    }
}

/// Where `setup` puts a bpf-linker of its own.
fn own_linker() -> PathBuf {
    tree::tools().join("bin/bpf-linker")
}

fn has_llvm() -> bool {
    Path::new(LLVM_PREFIX).join("bin/llvm-config").exists()
}

fn is_on_path(program: &str) -> bool {
    on_path(program).next().is_some()
}

fn on_path(program: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found: Vec<_> = env::split_paths(&path)
        .map(|folder| folder.join(program))
        .filter(|file| file.is_file())
        .collect();
    found.into_iter()
}

fn find_compiler() -> Option<Compiler> {
    let pinned = pinned_nightly().map(|sysroot| Compiler {
        origin: Origin::Rustup,
        sysroot,
    });
    let system = || Compiler {
        origin: Origin::System,
        sysroot: "/usr".into(),
    };
    pinned
        .into_iter()
        .chain([system()])
        .find(|compiler| can_build(&compiler.sysroot))
}

/// Where rustup keeps the pinned nightly, if it does.
fn pinned_nightly() -> Option<PathBuf> {
    let list = process::output(Command::new("rustup").args(["toolchain", "list", "--verbose"]))?;
    let line = list.lines().find(|line| line.starts_with(NIGHTLY))?;
    line.split_whitespace().last().map(PathBuf::from)
}

/// Whether the compiler there is new enough, its LLVM is known to the linkers, and it has the source of `core`.
fn can_build(sysroot: &Path) -> bool {
    let source = sysroot.join("lib/rustlib/src/rust/library/core");
    let mut rustc = Command::new(sysroot.join("bin/rustc"));
    process::forget_toolchain(&mut rustc).arg("-vV");
    let Some(version) = process::output(&mut rustc) else {
        return false;
    };
    let numbers = |label: &str| {
        let line = version.lines().find_map(|line| line.strip_prefix(label))?;
        version_numbers(line.trim())
    };
    let new_enough = numbers("release:").is_some_and(|release| release >= OLDEST_RUSTC);
    let llvm_known = numbers("LLVM version:").is_some_and(|(major, _)| major == LLVM);
    new_enough && llvm_known && source.is_dir() && sysroot.join("bin/cargo").exists()
}

/// Our own linker, or one that the user has.
fn find_linker(compiler: Option<&Compiler>) -> Option<Linker> {
    let from_rustup = compiler.is_some_and(|c| c.origin == Origin::Rustup);
    [own_linker()]
        .into_iter()
        .chain(on_path("bpf-linker"))
        .find_map(|path| {
            let text = process::output(Command::new(&path).arg("--version"))?;
            let version = text.trim().strip_prefix("bpf-linker ")?;
            let on_llvm = version_numbers(version)? >= version_numbers(LINKER_ON_LLVM)?;
            let on_rustc = version == LINKER_ON_RUSTC && from_rustup;
            (on_llvm || on_rustc).then_some(Linker {
                path,
                borrows_llvm: !on_llvm,
            })
        })
}

/// Major and minor of a version such as `1.97.0-nightly`.
fn version_numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(ways: &[Way]) -> Machine {
        Machine {
            compiler: None,
            linker: None,
            llvm: false,
            ways: ways.to_vec(),
        }
    }

    fn plan(mut machine: Machine) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = machine.next_step() {
            machine.assume_done(&step);
            steps.push(step);
        }
        steps
    }

    #[test]
    fn root_on_debian_installs_all_packages_at_once_and_then_builds_the_linker() {
        let all = [&COMPILER_PACKAGES[..], &LINKER_PACKAGES[..]].concat();
        let expected = [Step::Packages(all), Step::LinkerOnLlvm];
        assert_eq!(
            plan(bare(&[Way::DebianPackages, Way::Rustup, Way::BuildLinker])),
            expected
        );
    }

    #[test]
    fn without_root_rustup_and_the_linker_that_borrows_its_llvm_are_enough() {
        let expected = [Step::Nightly, Step::LinkerOnRustc];
        assert_eq!(plan(bare(&[Way::Rustup, Way::BuildLinker])), expected);
    }

    #[test]
    fn packages_that_cannot_be_had_leave_rustup() {
        let mut machine = bare(&[Way::DebianPackages, Way::Rustup, Way::BuildLinker]);
        let first = machine.next_step().expect("there is a way");
        machine.rule_out(&first);
        assert_eq!(machine.next_step(), Some(Step::Nightly));
    }

    #[test]
    fn where_there_is_no_way_the_advice_names_both() {
        let machine = bare(&[Way::BuildLinker]);
        assert_eq!(machine.next_step(), None);
        let advice = machine.advice();
        assert!(
            advice.contains("rustc-web") && advice.contains(NIGHTLY),
            "{advice}"
        );
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_numbers("1.97.0-nightly (abc)"), Some((1, 97)));
        assert!(version_numbers("0.9.15") < version_numbers("0.13.0"));
        assert_eq!(version_numbers("unknown"), None);
    }
}

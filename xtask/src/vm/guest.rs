//! What every virtual machine has, whatever its kernel: the kernel tests, the programs that they start, and the shared
//! libraries of all these, each at the path that it has here, since tests have the paths compiled in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::initramfs::Initramfs;
use super::unpacked::Module;
use crate::test::peers;
use crate::{process, tree};

/// The first process, and the program that tells what the verifier counts.
const INIT: &str = "vm-init";
const VERIFIER: &str = "verifier";

/// Programs of the tests package that no test starts.
const NOT_NEEDED: [&str; 1] = ["bench"];

/// Commands of a node that tests call.
const COMMANDS: [&str; 5] = ["sh", "grep", "mount", "umount", "unshare"];

/// The files, and what to run of them.
pub(super) struct Guest {
    files: Initramfs,
    tests: Vec<Program>,
    verifier: PathBuf,
}

/// A program by its name and where it is.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    path: PathBuf,
}

/// What cargo has built of the tests package.
#[derive(Debug, Default, PartialEq, Eq)]
struct Built {
    tests: Vec<Program>,
    binaries: Vec<Program>,
}

impl Guest {
    /// Builds the tests. The kernel programs and `shunt` must be there.
    pub(super) fn build() -> Result<Self> {
        let built = Built::make()?;
        let binary = |name: &str| {
            let found = built.binaries.iter().find(|program| program.name == name);
            found.with_context(|| format!("the tests package has no program {name}"))
        };
        let mut files = Initramfs::new();
        let shunt = tree::target().join("debug/shunt");
        let programs = built.tests.iter().chain(&built.binaries);
        let mut paths: Vec<&Path> = programs.map(|program| &*program.path).collect();
        paths.push(&shunt);
        let mut libraries = BTreeSet::new();
        for path in paths {
            files.copy(path, &stripped(path)?);
            libraries.extend(libraries_of(path)?);
        }
        files.copy("/init".as_ref(), &stripped(&binary(INIT)?.path)?);
        for command in COMMANDS {
            let path = peers::find(command).with_context(|| {
                format!("{command} is not on PATH; tests in a virtual machine call it")
            })?;
            libraries.extend(libraries_of(&path)?);
            files.copy(&Path::new("/bin").join(command), &path);
        }
        for library in libraries {
            files.copy(&library, &library);
        }
        let scenarios = package().join("scenarios");
        for scenario in fs::read_dir(&scenarios)? {
            let scenario = scenario?.path();
            files.copy(&scenario, &scenario);
        }
        let verifier = binary(VERIFIER)?.path.clone();
        Ok(Self {
            files,
            tests: built.tests,
            verifier,
        })
    }

    /// All files for a machine with a kernel that has `modules`. Test programs are given `arguments`.
    pub(super) fn with(&self, modules: Vec<Module>, arguments: &[String]) -> Initramfs {
        let mut files = self.files.clone();
        let mut plan = Vec::new();
        for module in modules {
            let path = format!("/modules/{}.ko", module.name);
            files.bytes(path.as_ref(), module.bytes);
            plan.push(format!("module {path}"));
        }
        plan.push(format!("folder {}", package().display()));
        plan.push(format!("run {VERIFIER} {}", self.verifier.display()));
        for test in &self.tests {
            let (name, path) = (&test.name, test.path.display());
            let arguments = arguments.join(" ");
            plan.push(format!("run {name} {path} --test-threads=1 {arguments}"));
        }
        let plan = plan.join("\n");
        files.bytes("/plan".as_ref(), plan.into_bytes());
        files
    }
}

/// Where cargo works when it runs tests of the package.
fn package() -> PathBuf {
    tree::root().join("tests")
}

impl Built {
    fn make() -> Result<Self> {
        let mut cargo = process::cargo();
        cargo
            .args([
                "test",
                "--package",
                "tests",
                "--test",
                "kernel_*",
                "--no-run",
            ])
            .args(["--message-format", "json-render-diagnostics"]);
        eprintln!("$ {}", process::shown(&cargo));
        let output = cargo
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        ensure!(output.status.success(), "the tests cannot be built");
        let mut built = Self::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            built.take(line);
        }
        ensure!(!built.tests.is_empty(), "cargo has built no kernel test");
        // cargo tells them in the order in which they are ready.
        built.tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(built)
    }

    /// Takes one message of cargo's into account.
    fn take(&mut self, message: &str) {
        let Ok(message) = serde_json::from_str::<Value>(message) else {
            return;
        };
        let (Some(path), Some(name), Some(kind)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
            message["target"]["kind"][0].as_str(),
        ) else {
            return;
        };
        let is_test = message["profile"]["test"] == true;
        let program = Program {
            name: name.to_owned(),
            path: path.into(),
        };
        match (kind, is_test) {
            ("test", true) if name.starts_with("kernel_") => self.tests.push(program),
            ("bin", false) if !NOT_NEEDED.contains(&name) => self.binaries.push(program),
            _ => {}
        }
    }
}

/// A copy of a program without what debuggers need, which is most of it.
fn stripped(program: &Path) -> Result<PathBuf> {
    let folder = tree::target().join("vm/stripped");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copy = folder.join(program.file_name().context("a program has a name")?);
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if time(&copy).is_ok_and(|copied| time(program).is_ok_and(|built| built <= copied)) {
        return Ok(copy);
    }
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&copy).arg(program);
    let status = strip
        .status()
        .context("cannot start strip: install the package binutils")?;
    ensure!(status.success(), "strip failed on {}", program.display());
    Ok(copy)
}

/// The shared libraries that a program is started with, and what starts it.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let said = process::output(Command::new("ldd").arg(program))
        .with_context(|| format!("ldd cannot tell the libraries of {}", program.display()))?;
    if said.contains("not found") {
        bail!("{} lacks libraries:\n{said}", program.display());
    }
    Ok(libraries_in(&said))
}

/// The paths in lines such as `libc.so.6 => /lib/libc.so.6 (0x7f00)` and `/lib64/ld-linux.so.2 (0x7f00)`.
fn libraries_in(ldd: &str) -> Vec<PathBuf> {
    ldd.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_tests_and_what_they_start_are_taken_from_what_cargo_has_built() {
        let mut built = Built::default();
        let artifact = |kind: &str, name: &str, is_test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"{name}"}},
                "profile":{{"test":{is_test}}},"executable":"/t/{name}"}}"#
            )
        };
        for message in [
            artifact("test", "kernel_rewrite", true),
            artifact("test", "cli_usage", true),
            artifact("bin", "client", false),
            // The unit tests of a program.
            artifact("bin", "client", true),
            artifact("bin", "bench", false),
            "no JSON".to_owned(),
        ] {
            built.take(&message);
        }
        let program = |name: &str| Program {
            name: name.to_owned(),
            path: Path::new("/t").join(name),
        };
        let expected = Built {
            tests: vec![program("kernel_rewrite")],
            binaries: vec![program("client")],
        };
        assert_eq!(built, expected);
    }

    #[test]
    fn libraries_and_what_loads_them_are_read_off_ldd() {
        let said = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f00)\n\t/lib64/ld.so.2 (0x7f01)\n";
        let expected = ["/lib/x/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from);
        assert_eq!(libraries_in(said), expected);
    }
}

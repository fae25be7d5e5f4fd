//! The service as `dist/shunt.service` has it, under a systemd that is the first process of namespaces of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::cgroup::TemporaryCgroup;
use tests::confined::Confinement;
use tests::{binary, lab};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const SYSTEMD: &str = "/lib/systemd/systemd";
const BOOT: &str = include_str!("unit/boot.sh");
const PROBE: &str = include_str!("unit/probe.sh");

/// Far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(90);

const OBJECT: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.test]
  addresses: [240.0.0.1]
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}, {number: 53000, name: udp, protocol: UDP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: shop}
spec:
  hosts: [private.test]
  addresses: [240.0.0.2]
  exportTo: ['.']
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.2}]
---
apiVersion: shunt.internal/v1alpha1
kind: LocalWorkload
metadata: {name: probe, namespace: shop}
spec: {cgroup: probe.service}
";

/// The programs that the scripts call, all of which Debian's systemd needs or comes with.
fn has_systemd() -> bool {
    let programs = [
        "/usr/bin/unshare",
        "/usr/bin/nsenter",
        "/usr/bin/setpriv",
        SYSTEMD,
    ];
    let missing = programs.iter().find(|path| !Path::new(path).exists());
    if let Some(missing) = missing {
        lab::skip(&format!("there is no {missing}"));
    }
    missing.is_none()
}

/// Systemd, and all that it has started; ended on drop.
struct Machine {
    process: Child,
    folder: TempDir,
    cgroup: TemporaryCgroup,
}

impl Machine {
    fn boot() -> Result<Self> {
        let folder = TempDir::new()?;
        for (name, text) in [("boot.sh", BOOT), ("probe.sh", PROBE), ("a.yaml", OBJECT)] {
            fs::write(folder.path().join(name), text)?;
        }
        let cgroup = TemporaryCgroup::new()?;
        let confinement = Confinement {
            cgroup: Some(cgroup.path().to_owned()),
            ..Confinement::default()
        };
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let log = File::create(folder.path().join("boot.log"))?;
        let mut command = Command::new(CLIENT);
        command
            .args(["as", &serde_json::to_string(&confinement)?, "unshare"])
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--ipc",
                "--uts",
                "--net",
            ])
            .args(["--cgroup", "sh"])
            .arg(folder.path().join("boot.sh"))
            .arg(tree.context("this package is a folder of the tree")?)
            .arg(binary::path())
            .arg(folder.path())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        binary::forget_variables(&mut command);
        Ok(Self {
            process: command.spawn()?,
            folder,
            cgroup,
        })
    }

    /// Waits until what was asked is answered.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.logs()
            );
            thread::sleep(Duration::from_millis(20));
        };
        ensure!(status.success(), "{status}:\n{}", self.logs());
        Ok(())
    }

    fn logs(&self) -> String {
        let log = |name: &str| {
            let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            format!("{name}:\n{text}\n")
        };
        ["boot.log", "agent.log", "probe.log"].map(log).concat()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With it ends the first process of its namespace, and so every other in it.
        if matches!(self.process.try_wait(), Ok(None)) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
        for below in cgroups_below(self.cgroup.path()) {
            let deadline = Instant::now() + PATIENCE;
            while fs::remove_dir(&below).is_err() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// The innermost first.
fn cgroups_below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let with_own = folders.flat_map(|path| {
        let mut found = cgroups_below(&path);
        found.push(path);
        found
    });
    with_own.collect()
}

#[test]
fn the_unit_confines_an_agent_that_works() -> Result<()> {
    if !lab::can_run() || !has_systemd() {
        return Ok(());
    }
    Machine::boot()?.wait()
}

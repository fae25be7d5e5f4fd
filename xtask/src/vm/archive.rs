//! Debian's archive as private lists: what it has of kernels, and how a package is fetched without being installed.
//!
//! The machine's own lists and caches stay as they are. Which mirror is asked is read off the machine's own sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::kernels::{Kernel, image_pattern};
use crate::{process, tree};

/// From the oldest kernel that shunt runs on to the newest there is.
const SUITES: [&str; 5] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie-backports",
    "sid",
];
/// Of the security archive.
const SECURITY_SUITES: [&str; 2] = ["bullseye-security", "bookworm-security"];

const REMEDY: &str = "the kernels come from Debian's archive: run this on Debian 12 or later";

/// The lists, as they are now.
pub(super) struct Archive {
    configuration: PathBuf,
}

impl Archive {
    /// Renews the lists. Where that fails, those that are there are used.
    pub(super) fn open() -> Result<Self> {
        let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
        ensure!(
            os.lines().any(|line| line == "ID=debian"),
            "this is not Debian; {REMEDY}"
        );
        let folder = folder();
        for needed in ["state/lists/partial", "cache/archives/partial"] {
            let path = folder.join(needed);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let uris = process::output(Command::new("apt-get").args(["update", "--print-uris"]))
            .with_context(|| format!("apt-get does not tell its sources; {REMEDY}"))?;
        write(&folder.join("sources.list"), &sources(&uris)?)?;
        let release = codename().context("/etc/os-release names no release")?;
        write(&folder.join("preferences"), &preferences(&release))?;
        let configuration = folder.join("apt.conf");
        write(&configuration, &settings(&folder))?;
        let archive = Self { configuration };
        archive.update();
        Ok(archive)
    }

    fn update(&self) {
        eprintln!("vm: renew the lists of Debian's kernels (some 30 MB at first)");
        let log = folder().join("update.log");
        if let Err(error) = process::run_logged(self.apt_get().arg("update"), &log) {
            eprintln!("  {error:#}; going on with the lists that are there");
        }
    }

    /// What every list has.
    pub(super) fn kernels(&self) -> Result<Vec<Kernel>> {
        let ask = |words: &[&str]| {
            let mut apt_cache = Command::new("apt-cache");
            apt_cache
                .arg("--config-file")
                .arg(&self.configuration)
                .args(words);
            process::output(&mut apt_cache).context("apt-cache cannot read the lists")
        };
        let found = ask(&["search", "--names-only", &image_pattern()?])?;
        let names: Vec<&str> = found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        ensure!(
            !names.is_empty(),
            "no kernel is in the lists of Debian's archive; can its mirror be reached?"
        );
        let shown = ask(&[&["show"], &names[..]].concat())?;
        Ok(shown.split("\n\n").filter_map(Kernel::parse).collect())
    }

    /// Fetches packages into the folder `to`.
    pub(super) fn download(&self, packages: &[String], to: &Path) -> Result<()> {
        let mut download = self.apt_get();
        download.arg("download").args(packages).current_dir(to);
        process::run_logged(&mut download, &folder().join("download.log"))
    }

    /// Installs `package` on this machine from the backports of its own release, which these lists may have.
    pub(super) fn install_from_backports(&self, package: &str) -> Result<()> {
        let release = codename().context("/etc/os-release names no release")?;
        let mut install = self.apt_get();
        install
            .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
            .arg(format!("--target-release={release}-backports"))
            .arg(package);
        process::run_logged(&mut install, &folder().join("install.log"))
    }

    fn apt_get(&self) -> Command {
        let mut apt_get = Command::new("apt-get");
        apt_get
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("--config-file")
            .arg(&self.configuration)
            .args(["-o", "Acquire::Retries=3"]);
        apt_get
    }
}

fn folder() -> PathBuf {
    tree::target().join("vm/apt")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What takes the place of the machine's settings.
fn settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "// What the machine does after an update or an installation is about its own lists and caches.\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Post-Invoke;\n\
         Dir::Etc::SourceList \"{folder}/sources.list\";\n\
         Dir::Etc::SourceParts \"-\";\n\
         Dir::Etc::Preferences \"{folder}/preferences\";\n\
         Dir::Etc::PreferencesParts \"-\";\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::status \"/var/lib/dpkg/status\";\n\
         Dir::State::extended_states \"/var/lib/apt/extended_states\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         // The user that apt becomes for downloads need not see this folder.\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
    )
}

/// Has nothing installed from another release than the machine's: what is needed beside a package of the backports would come
/// from the newest suite, and take half of the machine with it.
fn preferences(release: &str) -> String {
    let suites = SUITES.iter().chain(&SECURITY_SUITES);
    let foreign = suites.filter(|suite| !suite.starts_with(release));
    let pin = |suite: &&str| format!("Package: *\nPin: release n={suite}\nPin-Priority: 1\n\n");
    foreign.map(pin).collect()
}

/// Our suites at the mirrors of the machine, which `apt-get update --print-uris` names:
/// `'MIRROR/dists/SUITE/InRelease' FILE 0`.
fn sources(uris: &str) -> Result<String> {
    let own: Vec<(&str, &str)> = uris
        .lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"))
        .collect();
    let mirror = |is_security: bool| {
        own.iter()
            .find(|(base, suite)| {
                let debian = base.trim_end_matches('/').rsplit('/').next();
                let wanted = if is_security {
                    "debian-security"
                } else {
                    "debian"
                };
                debian == Some(wanted) && suite.contains("-security") == is_security
            })
            .map(|(base, _)| *base)
    };
    let Some(main) = mirror(false) else {
        bail!("apt's sources name no mirror of Debian; {REMEDY}");
    };
    let security = mirror(true)
        .into_iter()
        .flat_map(|base| SECURITY_SUITES.iter().map(move |suite| (base, *suite)));
    let lines: Vec<String> = SUITES
        .iter()
        .map(|suite| (main, *suite))
        .chain(security)
        .map(|(base, suite)| format!("deb {base} {suite} main\n"))
        .collect();
    Ok(lines.concat())
}

fn codename() -> Option<String> {
    let os = fs::read_to_string("/etc/os-release").ok()?;
    let name = os
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_suites_are_asked_for_at_the_mirrors_of_the_machine() {
        let uris = "'http://mirror.test/debian/dists/bookworm/InRelease' a 0 \n\
                    'http://mirror.test/debian-security/dists/bookworm-security/InRelease' b 0 \n\
                    'http://tools.test/apt/dists/bookworm/InRelease' c 0 \n";
        let sources = sources(uris).expect("there is a mirror");
        assert_eq!(
            sources.lines().next(),
            Some("deb http://mirror.test/debian bullseye main")
        );
        assert!(
            sources.contains("deb http://mirror.test/debian-security bullseye-security main\n")
        );
        assert!(!sources.contains("tools.test"));
    }

    #[test]
    fn suites_of_other_releases_come_last() {
        let preferences = preferences("bookworm");
        let last = |suite: &str| preferences.contains(&format!("n={suite}\nPin-Priority: 1\n"));
        assert!(last("sid") && last("bullseye-security") && last("trixie-backports"));
        assert!(!preferences.contains("n=bookworm"));
    }

    #[test]
    fn without_a_mirror_of_debian_there_is_advice() {
        let error = sources("'http://mirror.test/ubuntu/dists/noble/InRelease' a 0").unwrap_err();
        assert!(error.to_string().contains("Debian 12"), "{error}");
    }
}

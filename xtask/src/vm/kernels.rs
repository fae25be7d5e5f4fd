//! Which kernels there are to boot, and which one a version names.

use std::env::consts::ARCH;

use anyhow::{Context, Result, bail};

/// The newest of all.
pub(super) const NEWEST: &str = "newest";

/// The floor, what Debian's two stable releases have, and what is to come.
pub(super) const DEFAULT: [&str; 4] = ["5.10", "6.1", "6.12", NEWEST];

/// A kernel of Debian's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// As `uname -r` has it.
    pub release: String,
    version: Vec<u32>,
    /// What holds it and its modules.
    pub packages: Vec<String>,
}

/// Names of the packages of kernels without drivers for real devices, as a regular expression.
pub(super) fn image_pattern() -> Result<String> {
    let debian = match ARCH {
        "x86_64" => "amd64",
        _ => bail!("virtual machines of {ARCH} are not known here, only those of x86_64"),
    };
    Ok(format!("^linux-image-[0-9].*-cloud-{debian}$"))
}

impl Kernel {
    /// From what `apt-cache show` says of its image. `None` for a package that only depends on the newest image.
    pub(super) fn parse(stanza: &str) -> Option<Self> {
        let field = |name: &str| {
            let lines = &mut stanza.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let image = field("Package")?;
        let release = image.strip_prefix("linux-image-")?;
        let upstream = field("Version")?.split(['-', '~']).next()?;
        let version = upstream
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let depends: Vec<&str> = field("Depends")
            .unwrap_or_default()
            .split([',', '|'])
            .filter_map(|word| word.split_whitespace().next())
            .collect();
        if depends.iter().any(|name| name.starts_with("linux-image-")) {
            return None;
        }
        // Newer images are in parts, each of which has the release in its name.
        let parts = depends
            .into_iter()
            .filter(|name| name.starts_with("linux-") && name.ends_with(release));
        Some(Self {
            release: release.to_owned(),
            version,
            packages: [image]
                .into_iter()
                .chain(parts)
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// The newest of `kernels` that `wanted` names: the first numbers of its version, its release, or [`NEWEST`].
pub(super) fn choose<'a>(wanted: &str, kernels: &'a [Kernel]) -> Result<&'a Kernel> {
    let numbers: Option<Vec<u32>> = wanted.split('.').map(|part| part.parse().ok()).collect();
    let is_meant = |kernel: &&Kernel| {
        wanted == NEWEST
            || kernel.release == wanted
            || numbers
                .as_ref()
                .is_some_and(|numbers| kernel.version.starts_with(numbers))
    };
    kernels
        .iter()
        .filter(is_meant)
        .max_by_key(|kernel| (&kernel.version, &kernel.release))
        .with_context(|| {
            format!(
                "Debian's archive has no kernel {wanted:?}; there are {}",
                known(kernels)
            )
        })
}

/// Major and minor of each.
fn known(kernels: &[Kernel]) -> String {
    let mut lines: Vec<&[u32]> = kernels
        .iter()
        .map(|kernel| &kernel.version[..kernel.version.len().min(2)])
        .collect();
    lines.sort_unstable();
    lines.dedup();
    let lines: Vec<String> = lines
        .iter()
        .map(|numbers| {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            numbers.join(".")
        })
        .collect();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Package: linux-image-5.10.0-46-cloud-amd64\nVersion: 5.10.262-1\n\
                       Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool\n";
    const IN_PARTS: &str = "Package: linux-image-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\
                            Depends: dracut | linux-initramfs-tool, linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), \
                            linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1)\n";
    const ONLY_DEPENDS: &str = "Package: linux-image-6.1-cloud-amd64\nVersion: 6.1.176-1\n\
                                Depends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)\n";

    fn kernel(release: &str, version: &str) -> Kernel {
        let stanza = format!("Package: linux-image-{release}\nVersion: {version}\n");
        Kernel::parse(&stanza).expect("it is an image")
    }

    #[test]
    fn a_kernel_is_all_packages_of_its_release() {
        let old = Kernel::parse(OLD).expect("it is an image");
        assert_eq!(old.packages, ["linux-image-5.10.0-46-cloud-amd64"]);
        let parts = Kernel::parse(IN_PARTS).expect("it is an image");
        assert_eq!(parts.release, "7.3.4+deb13-cloud-amd64");
        assert_eq!(
            parts.packages[1..],
            [
                "linux-binary-7.3.4+deb13-cloud-amd64",
                "linux-modules-7.3.4+deb13-cloud-amd64"
            ]
        );
        assert_eq!(Kernel::parse(ONLY_DEPENDS), None);
    }

    #[test]
    fn a_version_names_the_newest_kernel_of_its_line() {
        let kernels = [
            kernel("6.1.0-9-cloud-amd64", "6.1.27-1"),
            kernel("6.1.0-50-cloud-amd64", "6.1.176-1"),
            kernel("6.12.95+deb12-cloud-amd64", "6.12.95-1~bpo12+1"),
            kernel("6.18.9+deb13-cloud-amd64", "6.18.9-1"),
        ];
        let chosen = |wanted| choose(wanted, &kernels).map(|kernel| &*kernel.release);
        assert_eq!(chosen("6.1").expect("there is one"), "6.1.0-50-cloud-amd64");
        assert_eq!(
            chosen(NEWEST).expect("there is one"),
            "6.18.9+deb13-cloud-amd64"
        );
        assert_eq!(
            chosen("6.1.0-9-cloud-amd64").expect("there is one"),
            "6.1.0-9-cloud-amd64"
        );
        let error = chosen("5.15").unwrap_err().to_string();
        assert!(error.ends_with("there are 6.1, 6.12, 6.18"), "{error}");
    }
}

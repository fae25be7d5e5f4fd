//! Is cgroup v2 there, and are sockets in the cgroups that programs are attached to?

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::util::KernelVersion;

use crate::dataplane::mounts;

use super::{Check, State};

/// The kernel's number of the root of all cgroups.
const ROOT: u64 = 1;

/// From this version on a socket keeps its cgroup v2 whatever cgroup v1 does (commit 8520e224f547).
const KEEPS_CGROUP: KernelVersion = KernelVersion::new(5, 15, 0);

pub(super) fn mount() -> Check {
    match mounts::cgroup2() {
        Ok(path) => {
            let beside = if mounts::has_cgroup1() {
                ", beside the controllers of cgroup v1 (hybrid), which is as good"
            } else {
                ""
            };
            let detail = format!("{}{beside}", path.display());
            Check::new("cgroup v2", State::Ok, detail, "")
        }
        Err(missing) => Check::new(
            "cgroup v2",
            State::Fail,
            missing.to_string(),
            missing.remedy(),
        ),
    }
}

/// Whether the root that can be seen above `cgroup` is that of the machine.
pub(super) fn namespace(cgroup: &Path) -> Check {
    let name = "cgroup namespace";
    let remedy = "in a container, mount the host's /sys/fs/cgroup (hostPath) and name a directory of it with --cgroup, or \
                  share the host's processes (hostPID) and name its cgroup directory below /proc/1/root";
    let cgroup = fs::canonicalize(cgroup).unwrap_or_else(|_| cgroup.to_owned());
    let levels = cgroup
        .ancestors()
        .take_while(|path| mounts::is_on_cgroup2(path));
    let Some(top) = levels.last() else {
        let detail = format!("{}: this is no directory of cgroup v2", cgroup.display());
        let remedy = "name a directory below where cgroup v2 is mounted with --cgroup";
        return Check::new(name, State::Fail, detail, remedy);
    };
    let place = top.display();
    match fs::metadata(top).map(|metadata| metadata.ino()) {
        Ok(ROOT) => Check::new(
            name,
            State::Ok,
            format!("{place} is the root of all cgroups"),
            remedy,
        ),
        Ok(id) => Check::new(
            name,
            State::Warn,
            format!(
                "{place} is not the root of all cgroups but cgroup {id}, as in a container's own cgroup namespace: \
                 processes of the host and of other containers are not covered"
            ),
            remedy,
        ),
        Err(error) => Check::new(name, State::Warn, format!("{place}: {error}"), remedy),
    }
}

/// Whether controllers of cgroup v1 take sockets out of their cgroup v2. Nothing where the kernel has none.
pub(super) fn classifiers() -> Option<Check> {
    let controllers = fs::read_to_string("/proc/cgroups").ok()?;
    let version = KernelVersion::current().ok()?;
    mounts::has_cgroup1().then(|| classifiers_in(&controllers, version))
}

/// Lines of `/proc/cgroups`: controller, hierarchy of v1 or 0, number of cgroups, whether it is enabled.
fn classifiers_in(controllers: &str, version: KernelVersion) -> Check {
    let used = controllers.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let hierarchy: u32 = fields.next()?.parse().ok()?;
        let cgroups: u32 = fields.next()?.parse().ok()?;
        (matches!(name, "net_cls" | "net_prio") && hierarchy > 0 && cgroups > 1).then_some(name)
    });
    let used: Vec<&str> = used.collect();
    let name = "cgroup v1";
    let remedy = "use Linux 5.15 or later, boot with cgroup_no_v1=net_cls,net_prio, or attach to the root of all cgroups";
    if used.is_empty() {
        let detail = "neither net_cls nor net_prio is in use";
        return Check::new(name, State::Ok, detail, remedy);
    }
    let used = used.join(" and ");
    if version >= KEEPS_CGROUP {
        let detail = format!("{used} in use, which does no harm since Linux 5.15");
        return Check::new(name, State::Ok, detail, remedy);
    }
    let detail = format!(
        "{used} in use: before Linux 5.15 sockets then lose their cgroup v2, and programs that are attached below the \
         root do not run for them"
    );
    Check::new(name, State::Warn, detail, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROLLERS: &str = "\
#subsys_name\thierarchy\tnum_cgroups\tenabled
cpu\t1\t90\t1
net_cls\t3\t2\t1
net_prio\t3\t1\t1
";

    #[test]
    fn classifiers_in_use_are_named_on_kernels_where_they_harm() {
        let old = classifiers_in(CONTROLLERS, KernelVersion::new(5, 10, 0));
        assert_eq!(old.state, State::Warn);
        assert!(old.detail.starts_with("net_cls in use"), "{old:?}");
        assert!(!old.remedy.is_empty());
        let new = classifiers_in(CONTROLLERS, KernelVersion::new(5, 15, 0));
        assert_eq!(new.state, State::Ok);
    }

    #[test]
    fn classifiers_with_the_root_cgroup_alone_are_not_in_use() {
        let check = classifiers_in(
            "net_cls 3 1 1\nnet_prio 0 5 1\n",
            KernelVersion::new(5, 10, 0),
        );
        assert_eq!(check.state, State::Ok);
    }
}

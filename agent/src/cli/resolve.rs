//! From flags to settings: defaults, what the machine offers in place of a flag, and what must hold between flags.

mod error;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::api::{Diagnostic, MeshConfig, mesh_config};
use crate::dataplane::{Limits, mounts};
use crate::model::{Node, VipRanges};
use crate::settings::{CloseRemoved, NameServerSettings, OnExit, Settings};

use super::args::{
    AgentArgs, BpfDirArgs, Closing, DnsArgs, Exit, LimitArgs, NodeArgs, PolicyMode, SocketArgs,
    Switch,
};

pub(super) use error::SettingsError;

/// A range of fewer addresses than this leaves hosts without one at once.
const SMALLEST_VIP_RANGE_BITS: u8 = 4;

impl Settings {
    /// Says what `args` mean; `limits` are those that no flag replaces. Besides, what the mesh config says that is not
    /// carried out.
    pub fn resolve(
        args: AgentArgs,
        limits: Limits,
    ) -> Result<(Self, Vec<Diagnostic>), SettingsError> {
        let AgentArgs {
            config_dir,
            node,
            cgroup,
            resolver,
            state_dir,
            bpf: BpfDirArgs { bpf_dir },
            socket: SocketArgs { socket },
            vip_range_v4,
            vip_range_v6,
            dns,
            limits: limit_args,
            close_removed,
            enter_namespaces,
            on_exit,
            sock_ops,
            bpf_log,
        } = args;
        let (mesh, findings) = read_mesh_config(node.mesh_config.as_deref())?;
        let settings = Self {
            config_dirs: checked_config_dirs(config_dir)?,
            cgroups: cgroups(cgroup)?,
            node: read_node(&node),
            mesh,
            resolvers: resolver,
            state_dir,
            bpf_dir,
            socket,
            vip_ranges: vip_ranges(vip_range_v4, vip_range_v6)?,
            name_server: name_server(dns)?,
            limits: limits.with(&limit_args)?,
            sock_ops,
            bpf_log,
            close_removed: match close_removed {
                Closing::Udp => CloseRemoved::Udp,
                Closing::All => CloseRemoved::All,
                Closing::None => CloseRemoved::None,
            },
            enter_namespaces,
            on_exit: OnExit::or_usual(on_exit, |name| env::var_os(name).is_some()),
        };
        Ok((settings, findings))
    }
}

impl OnExit {
    /// What is meant where no flag says: under systemd and in Kubernetes an agent that ends is mostly about to be started again.
    pub(super) fn or_usual(given: Option<Exit>, is_in_environment: impl Fn(&str) -> bool) -> Self {
        let signs = ["NOTIFY_SOCKET", "INVOCATION_ID", "KUBERNETES_SERVICE_HOST"];
        match given {
            Some(Exit::Keep) => Self::Keep,
            None if signs.into_iter().any(is_in_environment) => Self::Keep,
            Some(Exit::Detach) | None => Self::Detach,
        }
    }
}

impl Limits {
    /// Replaces what flags name.
    fn with(self, args: &LimitArgs) -> Result<Self, SettingsError> {
        let LimitArgs {
            max_frontends,
            max_prefixes,
            max_cells,
            max_services,
            max_endpoints,
            max_flows,
            max_replies,
        } = *args;
        let flows = max_flows.unwrap_or(self.flows);
        if !flows.is_power_of_two() {
            return Err(SettingsError::Flows {
                given: flows,
                next: flows.next_power_of_two(),
            });
        }
        Ok(Self {
            frontends: max_frontends.unwrap_or(self.frontends),
            prefixes: max_prefixes.unwrap_or(self.prefixes),
            cells: max_cells.unwrap_or(self.cells),
            services: max_services.unwrap_or(self.services),
            endpoints: max_endpoints.unwrap_or(self.endpoints),
            flows,
            replies: max_replies.unwrap_or(self.replies),
            cgroups: self.cgroups,
            exempt: self.exempt,
        })
    }
}

/// The mesh's configuration, or Istio's defaults without a file; and what is said in it but not carried out.
pub(super) fn read_mesh_config(
    path: Option<&Path>,
) -> Result<(MeshConfig, Vec<Diagnostic>), SettingsError> {
    let Some(path) = path else {
        return Ok((MeshConfig::default(), Vec::new()));
    };
    let text = fs::read_to_string(path).map_err(|error| SettingsError::MeshConfigUnreadable {
        path: path.to_owned(),
        error,
    })?;
    mesh_config::read(&path.display().to_string(), &text).map_err(|findings| {
        SettingsError::MeshConfigBroken {
            path: path.to_owned(),
            findings,
        }
    })
}

pub(super) fn read_node(args: &NodeArgs) -> Node {
    Node {
        locality: args.locality.clone().unwrap_or_default(),
        network: args.network.clone().unwrap_or_default(),
        internal: args.internal_cidr.clone(),
        is_audited: args.policy_mode == PolicyMode::Audit,
    }
}

/// A directory may appear later, but a file will never be one.
fn checked_config_dirs(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, SettingsError> {
    match paths.iter().find(|path| path.exists() && !path.is_dir()) {
        Some(path) => Err(SettingsError::NotADirectory { path: path.clone() }),
        None => Ok(paths),
    }
}

fn cgroups(given: Vec<PathBuf>) -> Result<Vec<PathBuf>, SettingsError> {
    if given.is_empty() {
        let mount = mounts::cgroup2().map_err(SettingsError::NoCgroup)?;
        return Ok(vec![mount]);
    }
    match given.iter().find(|path| !path.is_dir()) {
        Some(path) => Err(SettingsError::MissingCgroup { path: path.clone() }),
        None => Ok(given),
    }
}

fn vip_ranges(v4: Option<Ipv4Net>, v6: Option<Ipv6Net>) -> Result<VipRanges, SettingsError> {
    let defaults = VipRanges::default();
    let ranges = VipRanges {
        v4: v4.map_or(defaults.v4, |range| range.trunc()),
        v6: v6.map_or(defaults.v6, |range| range.trunc()),
    };
    for (family, range) in [("v4", IpNet::V4(ranges.v4)), ("v6", IpNet::V6(ranges.v6))] {
        let fault = if range.addr().is_loopback() || range.addr().is_multicast() {
            "loopback and multicast addresses are not for services"
        } else if range.prefix_len() == 0 {
            "this is every address there is"
        } else if range.max_prefix_len() - range.prefix_len() < SMALLEST_VIP_RANGE_BITS {
            "this holds fewer than 16 addresses"
        } else {
            continue;
        };
        return Err(SettingsError::VipRange {
            family,
            range,
            fault,
        });
    }
    Ok(ranges)
}

fn name_server(args: DnsArgs) -> Result<NameServerSettings, SettingsError> {
    let DnsArgs {
        dns_capture,
        dns_listen,
        dns_upstream,
    } = args;
    for is_v6 in [false, true] {
        let mut of_family = dns_listen.iter().filter(|at| at.is_ipv6() == is_v6);
        if let (Some(_), Some(second)) = (of_family.next(), of_family.next()) {
            return Err(SettingsError::SecondListener { second: *second });
        }
    }
    if let Some(at) = dns_listen.iter().find(|at| at.ip().is_unspecified()) {
        return Err(SettingsError::ListenerEverywhere { at: *at });
    }
    if let Some(at) = dns_upstream.iter().find(|at| dns_listen.contains(at)) {
        return Err(SettingsError::UpstreamIsOurs { at: *at });
    }
    Ok(NameServerSettings {
        capture: dns_capture == Switch::On,
        listen: dns_listen,
        upstreams: dns_upstream,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::{Expect, expect};

    use crate::cli::args::{Cli, Command};

    use super::*;

    fn resolve(flags: &[&str]) -> Result<Settings, SettingsError> {
        let line = [
            "shunt",
            "run",
            "--config-dir",
            "/etc/shunt",
            "--cgroup",
            "/",
        ];
        let cli = Cli::try_parse_from(line.iter().chain(flags)).expect("the flags parse");
        let Command::Run(run) = cli.command else {
            panic!("not run");
        };
        Settings::resolve(run.agent, Limits::default()).map(|(settings, _)| settings)
    }

    #[expect(clippy::needless_pass_by_value, reason = "as expect_test is used")]
    fn refuses(flags: &[&str], expected: Expect) {
        expected.assert_eq(&resolve(flags).unwrap_err().to_string());
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let settings = resolve(&[]).unwrap();
        assert_eq!(settings.config_dirs, [PathBuf::from("/etc/shunt")]);
        assert_eq!(settings.state_dir, PathBuf::from("/var/lib/shunt"));
        assert_eq!(settings.bpf_dir, PathBuf::from("/sys/fs/bpf/shunt"));
        assert_eq!(settings.socket, PathBuf::from("/run/shunt/shunt.sock"));
        assert_eq!(settings.vip_ranges.v4.to_string(), "240.240.0.0/16");
        assert_eq!(settings.vip_ranges.v6.to_string(), "2001:2::/48");
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.mesh, MeshConfig::default());
        assert!(settings.node.locality.is_empty() && !settings.bpf_log);
        assert!(settings.node.internal.is_empty() && !settings.node.is_audited);
    }

    #[test]
    fn flags_replace_only_what_they_name() {
        let flags = [
            "--max-endpoints",
            "7",
            "--locality",
            "r/z",
            "--network",
            "n",
            "--vip-range-v4",
            "10.9.8.7/16",
            "--internal-cidr=10.0.0.0/8,fd00::1",
            "--policy-mode=audit",
        ];
        let settings = resolve(&flags).unwrap();
        let expected = Limits {
            endpoints: 7,
            ..Limits::default()
        };
        assert_eq!(settings.limits, expected);
        assert_eq!(settings.node.locality.to_string(), "r/z");
        assert_eq!(settings.node.network, "n");
        let internal = ["10.0.0.0/8", "fd00::1/128"].map(|net| net.parse().unwrap());
        assert_eq!(settings.node.internal, internal);
        assert!(settings.node.is_audited);
        assert_eq!(settings.vip_ranges.v4.to_string(), "10.9.0.0/16");
    }

    #[test]
    fn sockets_of_removed_endpoints_are_closed_as_told_and_those_of_udp_by_default() {
        for (flags, expected) in [
            (&[][..], CloseRemoved::Udp),
            (&["--close-removed=udp"], CloseRemoved::Udp),
            (&["--close-removed=all"], CloseRemoved::All),
            (&["--close-removed=none"], CloseRemoved::None),
        ] {
            assert_eq!(resolve(flags).unwrap().close_removed, expected, "{flags:?}");
        }
    }

    #[test]
    fn flows_are_a_power_of_two() {
        refuses(
            &["--max-flows", "2000"],
            expect!["--max-flows 2000: this is not a power of two; 2048 is the next"],
        );
        assert!(Limits::small().flows.is_power_of_two());
    }

    #[test]
    fn a_vip_range_is_of_use_to_services() {
        refuses(
            &["--vip-range-v4", "127.0.0.0/8"],
            expect![
                "--vip-range-v4 127.0.0.0/8: loopback and multicast addresses are not for services; use a range that nothing else routes, such as the default"
            ],
        );
        refuses(
            &["--vip-range-v6", "fd00::/127"],
            expect![
                "--vip-range-v6 fd00::/127: this holds fewer than 16 addresses; use a range that nothing else routes, such as the default"
            ],
        );
    }

    #[test]
    fn the_name_server_listens_once_for_each_family_and_does_not_ask_itself() {
        let defaults = resolve(&[]).unwrap().name_server;
        assert!(defaults.capture && defaults.listen.is_empty() && defaults.upstreams.is_empty());
        let both = resolve(&["--dns-listen", "10.0.0.1,[fd00::1]:53", "--dns-capture=off"]);
        let both = both.unwrap().name_server;
        assert!(!both.capture);
        let listen = both.listen.iter().map(ToString::to_string);
        assert_eq!(
            listen.collect::<Vec<_>>(),
            ["10.0.0.1:15053", "[fd00::1]:53"]
        );
        refuses(
            &["--dns-listen", "10.0.0.1,10.0.0.2"],
            expect![
                "--dns-listen 10.0.0.2:15053: there is one listener for each family; leave one of them out"
            ],
        );
        refuses(
            &["--dns-listen", "0.0.0.0"],
            expect![
                "--dns-listen 0.0.0.0:15053: clients are sent to one address; name one of this machine"
            ],
        );
        refuses(
            &["--dns-listen", "10.0.0.1:53", "--dns-upstream", "10.0.0.1"],
            expect![
                "--dns-upstream 10.0.0.1:53: the name server itself listens there; name the server that it is to ask"
            ],
        );
    }

    #[test]
    fn a_directory_that_is_none_is_refused_by_name() {
        refuses(
            &["--cgroup", "/no/such/cgroup"],
            expect![
                "--cgroup /no/such/cgroup: no such directory; make it with mkdir, or name another"
            ],
        );
        refuses(
            &["--config-dir", "/dev/null"],
            expect![
                "--config-dir /dev/null: this is not a directory; name the one that the file is in"
            ],
        );
    }

    #[test]
    fn a_missing_mesh_config_is_refused_by_name() {
        refuses(
            &["--mesh-config", "/no/such/file"],
            expect!["--mesh-config /no/such/file: No such file or directory (os error 2)"],
        );
    }

    #[test]
    fn a_mesh_config_that_does_not_parse_keeps_its_findings() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "dnsRefreshRate: [").unwrap();
        let path = file.path().to_str().unwrap();
        let error = resolve(&["--mesh-config", path]).unwrap_err();
        assert!(!error.findings().is_empty());
    }

    #[test]
    fn programs_are_kept_where_an_agent_is_mostly_started_again_unless_a_flag_says_otherwise() {
        let under_systemd = |name: &str| name == "INVOCATION_ID";
        assert_eq!(OnExit::or_usual(None, |_| false), OnExit::Detach);
        assert_eq!(OnExit::or_usual(None, under_systemd), OnExit::Keep);
        let given = OnExit::or_usual(Some(Exit::Detach), under_systemd);
        assert_eq!(given, OnExit::Detach);
        assert_eq!(OnExit::or_usual(Some(Exit::Keep), |_| false), OnExit::Keep);
    }
}

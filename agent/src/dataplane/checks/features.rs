//! What does this kernel lack of what the programs use, and what is lost with it? Found out by trying, not by its version.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use aya::maps::MapType;
use aya::sys::is_map_supported;

use crate::dataplane::bpf;
use crate::dataplane::closing;
use crate::dataplane::kernel::Features;
use crate::dataplane::neighbours::{HOOKS, Hook, SOCK_OPS};

use super::{Check, State};

const REMEDY: &str =
    "run as root, on Linux 5.10 or later built with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF";

pub(super) fn all() -> Vec<Check> {
    let features = Features::get();
    vec![
        program_types(),
        hooks(),
        map_types(),
        tried(
            "compare-and-swap",
            features.compare_and_swap,
            "records of redirected sockets are lines of one array",
            "records of redirected sockets are stored at the sockets, which costs each connect more; --sock-ops and \
             --bpf-log are refused",
            "use Linux 5.12 or later",
        ),
        tried(
            "bpf_set_retval",
            features.errno,
            "a refused connect says why (ECONNREFUSED, EHOSTUNREACH)",
            "every refused connect says EPERM",
            "use Linux 6.1 or later",
        ),
        mptcp(features.mptcp.is_some()),
        closing(),
        entering(),
        low_ports(),
        Check::feature(
            "BTF",
            features.v6_only.is_some(),
            "IPV6_V6ONLY is respected",
            "IPV6_V6ONLY cannot be seen: such a socket may be given an IPv4 endpoint of a service that has both \
             families, and its connect fails with ENETUNREACH",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF",
        ),
    ]
}

/// What is found out by loading a program. Without the right to do that, nothing is said of the kernel.
fn tried(name: &'static str, holds: bool, ok: &str, lost: &str, remedy: &'static str) -> Check {
    let loaded = bpf::load(HOOKS[0].program_type.0, HOOKS[0].attach_type, &EMPTY);
    if loaded.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        let detail = "not tried, since no program may be loaded";
        return Check::new(name, State::Warn, detail, "run as root");
    }
    Check::feature(name, holds, ok, lost, remedy)
}

fn mptcp(is_known: bool) -> Check {
    let name = "MPTCP";
    if !Path::new("/proc/sys/net/mptcp").exists() {
        return Check::new(name, State::Ok, "there are no MPTCP sockets here", "");
    }
    Check::feature(
        name,
        is_known,
        "getpeername() of an MPTCP socket shows what the client asked for",
        "getpeername() of an MPTCP socket shows the endpoint: the kernel does not describe such sockets",
        "use a kernel built with CONFIG_DEBUG_INFO_BTF, where programs use MPTCP",
    )
}

fn closing() -> Check {
    let name = "closing sockets";
    match closing::is_possible() {
        Ok(holds) => Check::feature(
            name,
            holds,
            "sockets whose endpoint is removed can be closed (--close-removed)",
            "sockets stay connected to an endpoint that is removed, until their programs close them",
            "use a kernel built with CONFIG_INET_DIAG_DESTROY, CONFIG_INET_TCP_DIAG and CONFIG_INET_UDP_DIAG",
        ),
        Err(error) => {
            let detail = format!("sock_diag does not answer: {error}");
            Check::new(name, State::Warn, detail, "run as root")
        }
    }
}

/// This and the next are all that more than the capabilities which `system` asks for is needed for, but for files of others.
fn entering() -> Check {
    let lost = "sockets in other network namespaces, such as those of containers, stay open when their endpoint is removed";
    Check::feature(
        "other namespaces",
        closing::can_enter().is_ok(),
        "sockets in other network namespaces can be closed (--enter-namespaces)",
        lost,
        "run as root, or with CAP_SYS_ADMIN and CAP_SYS_PTRACE as well",
    )
}

fn low_ports() -> Check {
    // Nothing is sent: whether somebody has the port is as good an answer.
    let denied = UdpSocket::bind((Ipv4Addr::LOCALHOST, 1))
        .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    Check::feature(
        "low ports",
        !denied,
        "the name server can listen on ports below 1024 (--dns-listen)",
        "the name server cannot listen on ports below 1024, which --dns-listen may name",
        "run as root, or with CAP_NET_BIND_SERVICE as well, where that is wanted",
    )
}

/// `r0 = 1; exit`, which every hook takes.
const EMPTY: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

fn takes(hook: Hook) -> bool {
    let (kind, _) = hook.program_type;
    let loaded = bpf::load(kind, hook.attach_type, &EMPTY);
    loaded
        .inspect_err(|error| tracing::debug!(%error, hook = hook.name, "probing for a hook"))
        .is_ok()
}

fn program_types() -> Check {
    let mut probes: Vec<(&str, bool)> = Vec::new();
    for hook in HOOKS {
        let (_, name) = hook.program_type;
        if probes.iter().all(|(known, _)| *known != name) {
            probes.push((name, takes(hook)));
        }
    }
    supported("program types", &probes)
}

fn hooks() -> Check {
    let hooks = supported("hooks", &HOOKS.map(|hook| (hook.name, takes(hook))));
    if hooks.state == State::Ok && !takes(SOCK_OPS) {
        let detail = format!("{}, but not {}", hooks.detail, SOCK_OPS.name);
        return Check::new("hooks", State::Warn, detail, "do without --sock-ops");
    }
    hooks
}

fn map_types() -> Check {
    let wanted = [
        ("hash", MapType::Hash),
        ("lru_hash", MapType::LruHash),
        ("lpm_trie", MapType::LpmTrie),
        ("array", MapType::Array),
        ("percpu_array", MapType::PerCpuArray),
        ("sk_storage", MapType::SkStorage),
    ];
    let probes = wanted.map(|(name, kind)| (name, is_map_supported(kind).is_ok_and(|is| is)));
    supported("map types", &probes)
}

fn supported(name: &'static str, probes: &[(&str, bool)]) -> Check {
    let list = |wanted: bool| -> Vec<&str> {
        let matching = probes.iter().filter(|(_, is)| *is == wanted);
        matching.map(|(name, _)| *name).collect()
    };
    let missing = list(false);
    if missing.is_empty() {
        return Check::new(name, State::Ok, list(true).join(", "), REMEDY);
    }
    let detail = format!("cannot use {}", missing.join(", "));
    Check::new(name, State::Fail, detail, REMEDY)
}

//! `LocalWorkload`, a kind of our own: which cgroup is a workload, and who it is. Its name, namespace and labels are those of its
//! metadata.

mod pattern;

use std::net::IpAddr;

use super::codes;
use super::findings::Findings;
use super::host::validate_fqdn;
use super::schema::{Message, Type, field};
use super::tree::Cursor;

pub use pattern::{CgroupPattern, without_mount};

/// The service account of workloads that name none, as in Kubernetes.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWorkload {
    pub cgroup: CgroupPattern,
    pub service_account: String,
    /// Those that its peers see it connect from, as far as they are known.
    pub addresses: Vec<IpAddr>,
}

pub(super) static SCHEMA: Message = Message {
    fields: &[
        field("cgroup", Type::Text),
        field("serviceAccount", Type::Text),
        field("addresses", Type::List(&Type::Text)),
    ],
};

/// `None` after an error.
pub(super) fn read(spec: &Cursor<'_>, findings: &mut Findings) -> Option<LocalWorkload> {
    let text = spec.text("cgroup");
    let cgroup = text.parse();
    if let Err(error) = &cgroup {
        let message = format!("`{text}` is no cgroup of a workload: {error}");
        let hint = "write a path below the mount point of cgroup v2 (/system.slice/shop.service) or the name of a systemd unit or slice (shop.service); `*` stands for any part of a name, `**` for any path";
        findings.error(codes::CGROUP, spec.spot_of("cgroup"), message, hint);
    }
    let account = spec.text("serviceAccount");
    if !account.is_empty() && validate_fqdn(account).is_err() {
        findings.error(
            codes::SERVICE_ACCOUNT,
            spec.spot_of("serviceAccount"),
            format!("`{account}` is not the name of a service account"),
            "write letters, digits, `-` and `.`",
        );
    }
    let mut addresses = Vec::new();
    for item in spec.items("addresses") {
        match item.as_text().parse() {
            Ok(address) => addresses.push(address),
            Err(_) => findings.error(
                codes::WORKLOAD_ADDRESS,
                item.spot(),
                format!("`{}` is not an IP address", item.as_text()),
                "write the address that peers see the workload connect from",
            ),
        }
    }
    Some(LocalWorkload {
        cgroup: cgroup.ok()?,
        service_account: match account {
            "" => DEFAULT_SERVICE_ACCOUNT.to_owned(),
            account => account.to_owned(),
        },
        addresses,
    })
}

#[cfg(test)]
mod tests;

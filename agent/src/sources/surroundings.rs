//! What is around the agent: the node's own addresses, and the name servers in use.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use hickory_resolver::system_conf::parse_resolv_conf;

use crate::model::Surroundings;

/// Looks at the interfaces of this network namespace, and at the resolver's configuration. What cannot be read is as it was
/// `before`.
pub fn look(before: &Surroundings, resolv_conf: &Path) -> Surroundings {
    Surroundings {
        addresses: addresses().unwrap_or_else(|error| {
            tracing::warn!(%error, "the node's own addresses cannot be read");
            before.addresses.clone()
        }),
        name_servers: name_servers(resolv_conf).unwrap_or_else(|| before.name_servers.clone()),
    }
}

fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let addresses = interfaces.iter().map(if_addrs::Interface::ip);
    Ok(addresses.map(|address| address.to_canonical()).collect())
}

fn name_servers(resolv_conf: &Path) -> Option<BTreeSet<IpAddr>> {
    let text = fs::read(resolv_conf).ok()?;
    let (config, _) = parse_resolv_conf(text).ok()?;
    let servers = config.name_servers().iter();
    Some(servers.map(|server| server.ip.to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_has_its_loopback_addresses_and_the_configured_servers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "search a.test\nnameserver 10.0.0.53\nnameserver fd00::53\n",
        )
        .unwrap();
        let found = look(&Surroundings::default(), file.path());
        assert!(found.addresses.contains(&IpAddr::from([127, 0, 0, 1])));
        let expected = ["10.0.0.53", "fd00::53"].map(|ip| ip.parse().unwrap());
        assert_eq!(found.name_servers, BTreeSet::from(expected));
        assert_eq!(look(&found, Path::new("/nonexistent")), found);
    }
}

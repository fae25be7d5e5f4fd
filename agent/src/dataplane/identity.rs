//! What a service or an endpoint is called in IDENTITIES: the same in every process and version.

use std::hash::Hasher;

use agent_common::abi::{Identified, Identity};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::compile::ServiceKey;

use super::names::EndpointKey;

/// Of a service: whoever has the same is the same.
pub(super) type ServiceHash = [u8; 16];

pub(super) fn hash(key: &ServiceKey) -> ServiceHash {
    if let Some(hash) = of_stranger(key) {
        return hash;
    }
    let ServiceKey {
        namespace,
        host,
        port,
        transport,
        route,
        clients,
    } = key;
    let mut hasher = SipHasher13::new();
    let mut add = |bytes: &[u8]| {
        // With its length, so that no two keys read alike.
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    add(namespace.as_bytes());
    add(host.as_bytes());
    add(&port.to_le_bytes());
    add(&[*transport]);
    for part in [route, clients] {
        add(&[u8::from(part.is_some())]);
        add(part.as_deref().unwrap_or_default().as_bytes());
    }
    hasher.finish128().as_bytes()
}

pub(super) fn of_endpoint(&(service, address, port): &EndpointKey) -> Identity {
    Identity::from(Identified::Endpoint {
        service,
        address,
        port,
    })
}

/// Stands in the place of the key of a service that nobody has told of yet.
pub(super) fn stranger(hash: ServiceHash, id: u32) -> ServiceKey {
    ServiceKey {
        namespace: "".into(),
        host: format!("{:032x}.{id}", u128::from_be_bytes(hash)).into(),
        port: 0,
        transport: 0,
        route: None,
        clients: None,
    }
}

/// What a [`stranger`] was made of.
fn of_stranger(key: &ServiceKey) -> Option<ServiceHash> {
    let (hash, _) = key
        .host
        .split_once('.')
        .filter(|_| key.namespace.is_empty())?;
    let hash = u128::from_str_radix(hash, 16).ok()?;
    Some(hash.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_same_hash_for_ever() {
        let key = ServiceKey {
            namespace: "shop".into(),
            host: "db.example.com".into(),
            port: 5432,
            transport: 6,
            route: None,
            clients: Some("a".into()),
        };
        let hash = u128::from_be_bytes(hash(&key));
        assert_eq!(hash, 0x33e1_ea08_281d_605c_a3ae_d36d_2919_4f3e);
    }

    #[test]
    fn a_stranger_has_the_hash_of_whom_it_stands_for() {
        let of = [7; 16];
        assert_eq!(hash(&stranger(of, 12)), of);
    }

    #[test]
    fn a_part_of_a_key_never_stands_for_another() {
        let key = |namespace: &str, host: &str, route: Option<&str>, clients: Option<&str>| {
            hash(&ServiceKey {
                namespace: namespace.into(),
                host: host.into(),
                port: 80,
                transport: 6,
                route: route.map(Into::into),
                clients: clients.map(Into::into),
            })
        };
        let keys = [
            key("a", "bc", None, None),
            key("ab", "c", None, None),
            key("a", "bc", Some(""), None),
            key("a", "bc", None, Some("")),
            key("a", "bc", Some("x"), None),
            key("a", "bc", None, Some("x")),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }
}

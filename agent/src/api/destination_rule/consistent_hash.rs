//! Reads and validates a `consistentHash`. A connection has a source address and nothing else to hash by.

use std::collections::BTreeSet;

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::{Algorithm, HashTable};

/// Envoy's limit of a Maglev table.
const MAGLEV_LIMIT: i128 = 5_000_011;
/// Istio's size of a ring that has none written.
const RING_SIZE: u64 = 1024;
/// Istio's size of a Maglev table that has none written.
const MAGLEV_SIZE: u64 = 65_537;
/// What hashes requests, of which connections have none.
const REQUEST_KEYS: [&str; 3] = ["httpHeaderName", "httpCookie", "httpQueryParameterName"];

/// What comes of it for connections.
pub(super) fn read(hash: &Cursor<'_>, findings: &mut Findings) -> Algorithm {
    check(hash, findings);
    if hash.flag("useSourceIp") == Some(true) {
        return Algorithm::SourceHash(table(hash));
    }
    let key = REQUEST_KEYS.into_iter().find(|key| hash.has(key));
    let (spot, message) = match key {
        Some(key) => (
            hash.spot_of(key),
            format!(
                "connections have no `{key}` to hash; endpoints are picked at random by weight"
            ),
        ),
        None => (
            hash.spot(),
            "there is nothing to hash by; endpoints are picked at random by weight".to_owned(),
        ),
    };
    findings.warning(
        codes::LOAD_BALANCER_NOT_CARRIED_OUT,
        spot,
        message,
        "write useSourceIp: true to send each client to one endpoint",
    );
    Algorithm::Random
}

fn table(hash: &Cursor<'_>) -> HashTable {
    let size = |parent: &Cursor<'_>, name| {
        let size = u64::try_from(parent.int(name)?).ok()?;
        (size > 0).then_some(size)
    };
    if let Some(maglev) = hash.field("maglev") {
        return HashTable::Maglev {
            size: size(&maglev, "tableSize").unwrap_or(MAGLEV_SIZE),
        };
    }
    let ring = hash.field("ringHash");
    let of_ring = ring.and_then(|ring| size(&ring, "minimumRingSize"));
    let minimum_size = of_ring.or_else(|| size(hash, "minimumRingSize"));
    HashTable::Ring {
        minimum_size: minimum_size.unwrap_or(RING_SIZE),
    }
}

fn check(hash: &Cursor<'_>, findings: &mut Findings) {
    rules::at_most_one(
        hash,
        &[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ],
        findings,
    );
    rules::at_most_one(hash, &["ringHash", "maglev"], findings);
    if let Some(cookie) = hash.field("httpCookie") {
        check_cookie(&cookie, findings);
    }
    if hash.int("minimumRingSize").is_some_and(|size| size != 0) {
        let message = "`minimumRingSize` is deprecated here";
        findings.warning(
            codes::DEPRECATED,
            hash.spot_of("minimumRingSize"),
            message,
            "write it below ringHash",
        );
        if hash.has("ringHash") || hash.has("maglev") {
            let message = "`minimumRingSize` and a hash algorithm exclude each other";
            findings.error(
                codes::CONSISTENT_HASH,
                hash.spot_of("minimumRingSize"),
                message,
                "keep the algorithm",
            );
        }
    }
    if let Some(maglev) = hash.field("maglev") {
        let size = maglev.int("tableSize").unwrap_or(0);
        if size >= MAGLEV_LIMIT || !is_prime(size) {
            let message = format!("{size} is not a prime number below {MAGLEV_LIMIT}");
            findings.error(
                codes::CONSISTENT_HASH,
                maglev.spot_of("tableSize"),
                message,
                "write a prime, such as 65537",
            );
        }
    }
}

fn check_cookie(cookie: &Cursor<'_>, findings: &mut Findings) {
    if cookie.text("name").is_empty() {
        findings.error(
            codes::REQUIRED,
            cookie.spot_of("name"),
            "the cookie has no name",
            "write its name",
        );
    }
    let mut names = BTreeSet::new();
    for attribute in cookie.items("attributes") {
        let name = attribute.text("name");
        if name.is_empty() {
            findings.error(
                codes::REQUIRED,
                attribute.spot_of("name"),
                "the attribute has no name",
                "write its name",
            );
        } else if !names.insert(name) {
            let message = format!("the attribute `{name}` is written twice");
            findings.error(
                codes::CONSISTENT_HASH,
                attribute.spot_of("name"),
                message,
                "remove one of them",
            );
        }
    }
}

/// By trial division: the numbers are below [`MAGLEV_LIMIT`].
fn is_prime(number: i128) -> bool {
    number > 0
        && (number < 4
            || number % 2 != 0
                && (3..)
                    .step_by(2)
                    .take_while(|d| d * d <= number)
                    .all(|d| number % d != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_told_as_envoy_tells_them() {
        // Envoy counts 1 as a prime.
        let primes: Vec<i128> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65537) && !is_prime(65536));
    }
}

//! Host names: which are valid, and which match which.
//!
//! The rules are Istio's (its `validation/agent` and `config/host` packages): upper case is allowed, comparison is
//! case-sensitive, and a wildcard stands at the beginning only.

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 255 characters")]
    TooLong,
    #[error("its last label `{0}` is a number")]
    NumericTopLevel(String),
    #[error("`{0}` is not a DNS label")]
    Label(String),
}

/// 1 to 63 letters, digits and hyphens, with neither a leading nor a trailing hyphen.
pub fn is_dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let edges = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && edges
            .iter()
            .all(|edge| edge.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// A domain name without wildcard. One label is enough, and a trailing dot is allowed; an IPv4 address is none.
pub fn validate_fqdn(name: &str) -> Result<(), HostError> {
    validate_length(name)?;
    validate_labels(name)
}

/// A domain name whose first label may be or begin with a wildcard: `*`, `*.example.com`, `*-eu.example.com`.
pub fn validate_wildcard_domain(name: &str) -> Result<(), HostError> {
    validate_length(name)?;
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if !is_wildcard_label(first) {
        return Err(HostError::Label(first.to_owned()));
    }
    rest.map_or(Ok(()), validate_labels)
}

pub fn is_wildcard(name: &str) -> bool {
    name.starts_with('*')
}

/// A wildcard that is not a label of its own, such as `*foo.com`.
pub fn is_partial_wildcard(name: &str) -> bool {
    name.contains('*') && name.len() != 1 && !name.starts_with("*.")
}

/// Whether some name is meant by both.
pub fn matches(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (None, None) => a == b,
    }
}

/// Whether every name that `inner` means is meant by `outer`.
pub fn subset_of(inner: &str, outer: &str) -> bool {
    match (inner.strip_prefix('*'), outer.strip_prefix('*')) {
        (Some(inner), Some(outer)) => inner.ends_with(outer),
        (Some(_), None) => false,
        (None, Some(suffix)) => inner.ends_with(suffix),
        (None, None) => inner == outer,
    }
}

/// The pattern that says most about `host`: the host itself, or else the longest wildcard that covers it.
pub fn most_specific<'a>(
    host: &str,
    patterns: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    patterns
        .into_iter()
        .filter(|pattern| subset_of(host, pattern))
        .max_by_key(|pattern| (*pattern == host, pattern.len()))
}

fn validate_length(name: &str) -> Result<(), HostError> {
    match name.len() {
        0 => Err(HostError::Empty),
        1..=255 => Ok(()),
        _ => Err(HostError::TooLong),
    }
}

fn validate_labels(name: &str) -> Result<(), HostError> {
    let last = name.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostError::NumericTopLevel(last.to_owned()));
    }
    // An empty last label is the trailing dot of an absolute name.
    let labels = name.strip_suffix('.').unwrap_or(name);
    if labels.is_empty() && name.is_empty() {
        return Ok(());
    }
    match labels.split('.').find(|label| !is_dns_label(label)) {
        Some(label) => Err(HostError::Label(label.to_owned())),
        None => Ok(()),
    }
}

fn is_wildcard_label(label: &str) -> bool {
    label.len() <= 63
        && match label.strip_prefix('*') {
            Some("") => true,
            Some(rest) => is_dns_label(rest.strip_prefix('-').unwrap_or(rest)),
            None => is_dns_label(label),
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_valid_as_istio_has_it() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(128);
        // (name, valid as FQDN, valid with wildcard)
        let cases = [
            ("foo", true, true),
            ("Foo.Example.com", true, true),
            ("foo.com.", true, true),
            ("foo..com", false, false),
            (".", false, false),
            ("", false, false),
            ("-foo.com", false, false),
            ("foo-.com", false, false),
            ("foo_bar.com", false, false),
            ("1.2.3.4", false, false),
            ("1.com", true, true),
            ("foo.123", false, false),
            ("123", false, true),
            ("*", false, true),
            ("*.com", false, true),
            ("*foo.com", false, true),
            ("*-foo.com", false, true),
            ("*--foo.com", false, false),
            ("foo*.com", false, false),
            ("foo.*.com", false, false),
            ("*.*.com", false, false),
            ("http://foo.com", false, false),
            (&long_label, false, false),
            (&long_name, false, false),
        ];
        for (name, fqdn, wildcard) in cases {
            assert_eq!(validate_fqdn(name).is_ok(), fqdn, "{name:?} as FQDN");
            assert_eq!(
                validate_wildcard_domain(name).is_ok(),
                wildcard,
                "{name:?} with wildcard"
            );
        }
    }

    #[test]
    fn a_wildcard_covers_names_below_it_but_not_its_own() {
        assert!(matches("*.foo.com", "bar.foo.com"));
        assert!(matches("*.foo.com", "a.b.foo.com"));
        assert!(!matches("*.foo.com", "foo.com"));
        assert!(matches("*foo.com", "foo.com"));
        assert!(matches("*", "foo.com"));
        assert!(matches("*.com", "*.foo.com"));
        assert!(!matches("*.com", "*.foo.org"));
        assert!(!matches("Foo.com", "foo.com"));
    }

    /// Each pair both ways: a host of one object may be the wildcard that covers the other's.
    #[test]
    fn hosts_match_whichever_of_them_is_the_wildcard() {
        for (a, b, expected) in [
            ("shop.example", "shop.example", true),
            ("shop.example", "bar.example", false),
            ("shop.example", "till.shop.example", false),
            ("*.example", "shop.example", true),
            ("*.example", "till.shop.example", true),
            ("*.shop.example", "shop.example", false),
            ("*.example", "*.shop.example", true),
            ("*.shop.example", "*.bar.example", false),
            ("*.a.b.example", "example", false),
            ("*", "example", true),
            ("*", "*.example", true),
            ("*", "*", true),
            ("*", "", true),
            ("", "", true),
            ("", "shop.example", false),
            ("*.example", "shop.EXAMPLE", false),
        ] {
            assert_eq!(matches(a, b), expected, "{a} {b}");
            assert_eq!(matches(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_host_is_within_another_where_all_its_names_are() {
        for (inner, outer, expected) in [
            ("shop.example", "*.example", true),
            ("*.shop.example", "*.example", true),
            ("*.shop.example", "*.shop.example", true),
            ("*.example", "*", true),
            ("*", "*.example", false),
            ("shop.example", "*.shop.example", false),
            ("*.shop.example", "shop.example", false),
            ("", "*", true),
            ("", "example", false),
        ] {
            assert_eq!(subset_of(inner, outer), expected, "{inner} {outer}");
        }
    }

    #[test]
    fn a_subset_goes_one_way() {
        assert!(subset_of("*.foo.com", "*.com"));
        assert!(!subset_of("*.com", "*.foo.com"));
        assert!(!subset_of("*.foo.com", "a.foo.com"));
        assert!(subset_of("a.foo.com", "a.foo.com"));
    }

    #[test]
    fn the_exact_host_is_more_specific_than_any_wildcard() {
        let patterns = ["*", "*.com", "*.foo.com", "a.foo.com"];
        assert_eq!(most_specific("a.foo.com", patterns), Some("a.foo.com"));
        assert_eq!(most_specific("b.foo.com", patterns), Some("*.foo.com"));
        assert_eq!(most_specific("*.foo.com", patterns), Some("*.foo.com"));
        assert_eq!(most_specific("*.b.org", patterns), Some("*"));
        assert_eq!(most_specific("b.org", ["*.com"]), None);
    }

    proptest! {
        #[test]
        fn matching_is_symmetric_and_follows_from_being_a_subset(a in "[*]?[.a-c]{0,6}", b in "[*]?[.a-c]{0,6}") {
            prop_assert_eq!(matches(&a, &b), matches(&b, &a));
            prop_assert!(!subset_of(&a, &b) || matches(&a, &b));
            prop_assert!(subset_of(&a, &a));
        }

        #[test]
        fn every_fqdn_of_two_labels_is_a_wildcard_domain(name in "[a-z0-9.*_-]{1,12}") {
            if validate_fqdn(&name).is_ok() {
                prop_assert!(validate_wildcard_domain(&name).is_ok());
                prop_assert!(name.parse::<std::net::IpAddr>().is_err());
            }
        }
    }
}

//! From the text of one flag to its type. The errors end with the remedy; clap names the flag.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use ipnet::IpNet;

use crate::api::Locality;
use crate::observe::explain::MAX_DRAWS;

const DNS_PORT: u16 = 53;
/// As of Istio's agent.
const LISTENER_PORT: u16 = 15053;

/// The most that any map is given; far above what memory allows, and far below where index arithmetic would end.
const LARGEST_LIMIT: u64 = 1 << 24;

/// What a name resolves to, as `--resolve` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// Lower case and without a trailing dot.
    pub host: Arc<str>,
    /// At least one.
    pub addresses: Vec<IpAddr>,
}

/// An endpoint that is down, as `--health` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostHealth {
    /// Lower case and without a trailing dot.
    pub host: Arc<str>,
    pub endpoint: SocketAddr,
}

pub(super) fn limit() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=LARGEST_LIMIT)
}

/// In fewer lines a socket would find its own more than once.
pub(super) fn flows() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1024..=LARGEST_LIMIT)
}

pub(super) fn draws() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(0..=u64::from(MAX_DRAWS))
}

pub(super) fn locality(text: &str) -> Result<Locality, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let is_filled = parts.iter().all(|part| !part.is_empty() && *part != "*");
    if is_filled && parts.len() <= 3 {
        Ok(Locality::parse(text))
    } else {
        Err("a locality is region, region/zone or region/zone/subzone, such as eu-west-1/eu-west-1a".to_owned())
    }
}

pub(super) fn cidr(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let net = text.parse().or_else(|_| address());
    net.map_err(|_| "write an address or a CIDR, such as 10.0.0.0/8".to_owned())
}

pub(super) fn resolver(text: &str) -> Result<SocketAddr, String> {
    socket_address(text, DNS_PORT)
}

pub(super) fn listener(text: &str) -> Result<SocketAddr, String> {
    socket_address(text, LISTENER_PORT)
}

fn socket_address(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>();
    let bare = |_| {
        let addr = text.trim_start_matches('[').trim_end_matches(']');
        addr.parse().map(|addr| SocketAddr::new(addr, default_port))
    };
    with_port
        .or_else(bare)
        .map_err(|_: std::net::AddrParseError| {
            "write an IP address with or without a port: 10.0.0.2, 10.0.0.2:5353 or [fd00::2]:5353"
                .to_owned()
        })
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.trim_end_matches('s')
        .parse()
        .map(Duration::from_secs)
        .map_err(|_| "write a number of seconds, such as --wait=30".to_owned())
}

pub(super) fn host_answer(text: &str) -> Result<HostAnswer, String> {
    let remedy = "write HOST=ADDR[,ADDR], such as api.example.com=192.0.2.1,2001:db8::1";
    let (host, addresses) = split_host(text).ok_or(remedy)?;
    let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
    let mut addresses = addresses.map_err(|_| remedy)?;
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(HostAnswer { host, addresses })
}

pub(super) fn host_health(text: &str) -> Result<HostHealth, String> {
    let remedy = "write HOST=ADDR:PORT=down, such as api.example.com=10.0.0.1:8080=down";
    let (host, rest) = split_host(text).ok_or(remedy)?;
    let endpoint = rest.strip_suffix("=down").ok_or(remedy)?;
    Ok(HostHealth {
        host,
        endpoint: endpoint.parse().map_err(|_| remedy)?,
    })
}

/// The host before `=`, in lower case and without a trailing dot, and what follows.
fn split_host(text: &str) -> Option<(Arc<str>, &str)> {
    let (host, rest) = text.split_once('=').filter(|(host, _)| !host.is_empty())?;
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    Some((host.into(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_without_a_port_is_asked_on_53() {
        assert_eq!(resolver("10.0.0.2"), Ok("10.0.0.2:53".parse().unwrap()));
        assert_eq!(resolver("fd00::2"), Ok("[fd00::2]:53".parse().unwrap()));
        assert_eq!(resolver("[fd00::2]"), Ok("[fd00::2]:53".parse().unwrap()));
        assert_eq!(
            resolver("[fd00::2]:5353"),
            Ok("[fd00::2]:5353".parse().unwrap())
        );
        assert!(resolver("dns.example.com").is_err());
        assert!(resolver("10.0.0.2:").is_err());
    }

    #[test]
    fn a_locality_has_one_to_three_parts_and_no_wildcard() {
        assert_eq!(locality("a/b/c"), Ok(Locality::parse("a/b/c")));
        assert_eq!(locality("a").unwrap().to_string(), "a");
        for wrong in ["", "/b", "a//c", "a/b/c/d", "a/*"] {
            assert!(locality(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_normal_names_with_ipv4_first() {
        let answer = host_answer("API.example.com.=2001:db8::1,192.0.2.1").unwrap();
        assert_eq!(&*answer.host, "api.example.com");
        let expected: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"]
            .map(|a| a.parse().unwrap())
            .into();
        assert_eq!(answer.addresses, expected);
        for wrong in ["api.example.com", "=192.0.2.1", "a=", "a=b", "a=192.0.2.1,"] {
            assert!(host_answer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_that_is_down_has_a_host_and_a_port() {
        let down = host_health("API.example.com.=[2001:db8::1]:80=down").unwrap();
        assert_eq!(&*down.host, "api.example.com");
        assert_eq!(down.endpoint, "[2001:db8::1]:80".parse().unwrap());
        for wrong in [
            "a",
            "a=10.0.0.1:80",
            "=10.0.0.1:80=down",
            "a=10.0.0.1=down",
            "a=10.0.0.1:80=up",
        ] {
            assert!(host_health(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wait_is_a_number_of_seconds() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("30s"), Ok(Duration::from_secs(30)));
        assert!(seconds("soon").is_err());
    }
}

//! What is asked about: a host, a host's port, or an address and port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use agent_common::abi::{self, Address, ClientWord, Port};
use agent_common::{Connect, Family};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// Lower case, without a trailing dot; all its ports where none is given.
    Host {
        host: String,
        port: Option<u16>,
    },
    Address(SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("`{0}` is neither HOST, HOST:PORT, ADDRESS:PORT nor [IPV6-ADDRESS]:PORT")]
    Malformed(String),
    #[error("`{0}` lacks a port: write {1}")]
    PortMissing(String, String),
    #[error("`{0}` is not a port: a number from 1 to 65535 is")]
    Port(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            let example = SocketAddr::new(address, 443).to_string();
            return Err(TargetError::PortMissing(text.to_owned(), example));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        if let Some(port) = port {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
            let address = match bare {
                Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                None => host.parse().ok().filter(IpAddr::is_ipv4),
            };
            if let Some(address) = address {
                let canonical = address.to_canonical();
                return Ok(Self::Address(SocketAddr::new(canonical, port)));
            }
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_label = |label: &str| {
            let mut chars = label.chars();
            !label.is_empty()
                && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*'))
        };
        if !host.split('.').all(is_label) {
            return Err(TargetError::Malformed(text.to_owned()));
        }
        Ok(Self::Host {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    text.parse()
        .ok()
        .filter(|&port| port != 0)
        .ok_or_else(|| TargetError::Port(text.to_owned()))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host {
                host,
                port: Some(port),
            } => write!(f, "{host}:{port}"),
            Self::Host { host, port: None } => f.write_str(host),
            Self::Address(to) => write!(f, "{to}"),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// As the kernel's tables and [`crate::compile::ServiceKey`] have it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => abi::TCP,
            Self::Udp => abi::UDP,
        }
    }

    pub(super) const fn from_number(number: u8) -> Self {
        if number == abi::UDP {
            Self::Udp
        } else {
            Self::Tcp
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// The connect of the client, from a socket of the address's own family.
pub(super) fn connect(to: SocketAddr, transport: Transport, client: ClientWord) -> Connect {
    let (family, address) = match to.ip() {
        IpAddr::V4(v4) => (Family::V4, Address::from_v4_octets(v4.octets())),
        IpAddr::V6(v6) => (Family::V6, Address::from_octets(v6.octets())),
    };
    Connect {
        family,
        address,
        port: Port::new(to.port()),
        protocol: transport.number(),
        scope: client.scope(),
        names: client.names(),
        outbound: client.outbound(),
    }
}

/// The address as the standard library has it.
pub(super) fn ip(address: Address) -> IpAddr {
    Ipv6Addr::from(address.octets()).to_canonical()
}

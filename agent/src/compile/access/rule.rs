//! Whether a rule matches, in three values: not all is known of where a client comes from, or which address it asks for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::api::authorization_policy::{AccessRule, Attribute, Operation, Source, Values};

use super::Family;
use super::identity::Identity;

/// The least decides where all must hold, the greatest where one is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Truth {
    No,
    Unknown,
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }

    fn all(truths: impl Iterator<Item = Self>) -> Self {
        truths.min().unwrap_or(Self::Yes)
    }

    /// One of those that are asked for; where none is, any will do.
    fn one_of(truths: impl ExactSizeIterator<Item = Self>) -> Self {
        match truths.len() {
            0 => Self::Yes,
            _ => Self::any(truths),
        }
    }

    fn any(truths: impl Iterator<Item = Self>) -> Self {
        truths.max().unwrap_or(Self::No)
    }

    /// What holds of each of several that it may be; of none, nothing is known.
    fn each(mut truths: impl Iterator<Item = Self>) -> Self {
        let Some(first) = truths.next() else {
            return Self::Unknown;
        };
        if truths.all(|truth| truth == first) {
            first
        } else {
            Self::Unknown
        }
    }
}

/// Where a connect goes.
pub(super) struct Destination<'d> {
    /// Any of them, or one that is not known where there are none.
    pub(super) addresses: &'d [IpNet],
    pub(super) port: u16,
    pub(super) family: Family,
}

/// Whether a client is whom a rule asks for, by the family of its connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Stance {
    v4: Truth,
    v6: Truth,
    either: Truth,
}

impl Stance {
    pub(super) fn of(rule: &AccessRule, client: &Identity<'_>) -> Self {
        let either = who(rule, client, Family::Either);
        let asks = asks_where_from(rule);
        let who = |family| {
            if asks {
                who(rule, client, family)
            } else {
                either
            }
        };
        Self {
            v4: who(Family::V4),
            v6: who(Family::V6),
            either,
        }
    }

    /// In words that tell it apart; `None` where the rule is not about the client at all.
    pub(in crate::compile) fn words(self) -> Option<String> {
        let Self { v4, v6, either } = self;
        match either {
            _ if v4 != either || v6 != either => {
                Some(format!(" (IPv4: {v4:?}, IPv6: {v6:?}, either: {either:?})"))
            }
            Truth::No => None,
            Truth::Unknown => Some(" (perhaps)".to_owned()),
            Truth::Yes => Some(String::new()),
        }
    }

    /// Whether it depends on addresses of which nobody told enough.
    pub(super) fn is_unknown(self, family: Family) -> bool {
        let truth = match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
            Family::Either => self.either,
        };
        truth == Truth::Unknown
    }
}

/// Whether the rule tells clients apart.
pub(super) fn asks_who(rule: &AccessRule) -> bool {
    let is_of_source = |attribute: &Attribute| {
        !matches!(
            attribute,
            Attribute::DestinationIp(_) | Attribute::DestinationPort(_) | Attribute::Unseen(_)
        )
    };
    let mut conditions = rule.when.iter();
    !rule.from.is_empty() || conditions.any(|condition| is_of_source(&condition.attribute))
}

fn asks_where_from(rule: &AccessRule) -> bool {
    let mut conditions = rule.when.iter();
    rule.from.iter().any(|source| !source.ip_blocks.is_empty())
        || conditions.any(|condition| matches!(condition.attribute, Attribute::SourceIp(_)))
}

/// Whether the client is whom the rule asks for. What no connection shows is left out.
pub(super) fn who(rule: &AccessRule, client: &Identity<'_>, family: Family) -> Truth {
    let from = rule.from.iter();
    let from = Truth::one_of(from.map(|source| is_source(source, client, family)));
    let when = rule
        .when
        .iter()
        .map(|condition| match &condition.attribute {
            Attribute::SourceIp(blocks) => comes_from(blocks, client, family),
            Attribute::SourceNamespace(namespaces) => {
                is_one(namespaces, |n| client.is_of_namespace(n).into())
            }
            Attribute::SourcePrincipal(principals) => {
                is_one(principals, |p| client.is_principal(p).into())
            }
            Attribute::SourceServiceAccount(accounts) => {
                is_one(accounts, |a| client.is_account(a).into())
            }
            Attribute::SourceTrustDomain(domains) => {
                is_one(domains, |d| client.is_of_domain(d).into())
            }
            Attribute::DestinationIp(_) | Attribute::DestinationPort(_) | Attribute::Unseen(_) => {
                Truth::Yes
            }
        });
    Truth::all(when.chain([from]))
}

fn is_source(source: &Source, client: &Identity<'_>, family: Family) -> Truth {
    let Source {
        principals,
        namespaces,
        service_accounts,
        trust_domains,
        ip_blocks,
        unseen: _,
        line: _,
    } = source;
    let parts = [
        is_one(principals, |p| client.is_principal(p).into()),
        is_one(namespaces, |n| client.is_of_namespace(n).into()),
        is_one(service_accounts, |a| client.is_account(a).into()),
        is_one(trust_domains, |d| client.is_of_domain(d).into()),
        comes_from(ip_blocks, client, family),
    ];
    Truth::all(parts.into_iter())
}

/// Whether the connect goes where the rule asks for.
pub(super) fn whereto(rule: &AccessRule, destination: &Destination<'_>) -> Truth {
    let is_port = |ports: &Values<u16>| is_one(ports, |port| (*port == destination.port).into());
    let to = rule.to.iter();
    let to = Truth::one_of(to.map(|Operation { ports, .. }| is_port(ports)));
    let when = rule
        .when
        .iter()
        .map(|condition| match &condition.attribute {
            Attribute::DestinationIp(blocks) => {
                let addresses = destination.addresses.iter();
                Truth::each(addresses.map(|net| is_one(blocks, |block| is_within(net, block))))
            }
            Attribute::DestinationPort(ports) => is_port(ports),
            _ => Truth::Yes,
        });
    Truth::all(when.chain([to]))
}

/// Whether a value is one of those that are asked for, and none of those that are not.
fn is_one<T>(values: &Values<T>, is: impl Fn(&T) -> Truth) -> Truth {
    let any = Truth::one_of(values.any_of.iter().map(&is));
    let none = Truth::any(values.none_of.iter().map(&is)).not();
    any.min(none)
}

/// The client's addresses are all that it may come from, as far as any are known.
fn comes_from(blocks: &Values<IpNet>, client: &Identity<'_>, family: Family) -> Truth {
    if blocks.is_empty() {
        return Truth::Yes;
    }
    let addresses = client.client.addresses.iter().map(IpAddr::to_canonical);
    let of_family = addresses.filter(|address| match family {
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
        Family::Either => true,
    });
    Truth::each(of_family.map(|address| is_one(blocks, |block| block.contains(&address).into())))
}

fn is_within(net: &IpNet, block: &IpNet) -> Truth {
    if block.contains(net) {
        Truth::Yes
    } else if net.contains(block) {
        Truth::Unknown
    } else {
        Truth::No
    }
}

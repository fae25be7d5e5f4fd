//! What `AuthorizationPolicy` objects say of connects: which of them are about a service or an endpoint, and what follows, in
//! Istio's order: a DENY rule that matches denies; else an ALLOW rule that matches allows; else ALLOW policies deny.
//!
//! A policy that names a `ServiceEntry` is about the services of that, at the addresses and ports that clients ask for. Any other
//! is about workloads: the endpoints of entries of location `MESH_INTERNAL`, at their own addresses and ports, by whatever way a
//! client comes there.

mod asking;
mod findings;
mod identity;
mod judge;
mod policies;
mod rule;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{ObjectId, Origin};

use super::mesh::MeshWorkload;
use super::program::Endpoint;

pub(super) use asking::Asking;
pub use judge::Judge;
pub(super) use policies::AccessPolicies;
pub(super) use rule::Stance;

/// What policies say of the connects of some clients to a service, or to one of its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    pub ruling: Ruling,
    /// Whether it is decided by that no rule of ALLOW policies matches.
    pub is_default: bool,
    /// What decides: the rules that match, or else the policies of which none does.
    pub by: Vec<RuleName>,
    /// What is only counted: rules that match of action AUDIT, and of dry runs.
    pub noted: Vec<RuleName>,
    /// ALLOW policies that are dry runs, and of which no rule matches.
    pub noted_missing: Vec<RuleName>,
}

/// In order: of several the last decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ruling {
    #[default]
    Allowed,
    /// It would be denied, were policies enforced.
    Audited,
    Denied,
}

/// What policies compare of a service as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Where clients ask for it; with none it is not known.
    pub addresses: Arc<[IpNet]>,
    /// The port that they ask for; `None` where policies for its entry are not about it.
    pub port: Option<u16>,
    /// Of which family they get there.
    pub family: Family,
    /// Who is there, where clients get to whom they dial.
    pub workloads: Arc<[MeshWorkload]>,
    pub workload_port: u16,
    /// Whether it is an endpoint, whose own address is dialled.
    pub is_endpoint: bool,
}

impl Subject {
    pub(super) fn endpoint(address: IpAddr, port: u16, workloads: Arc<[MeshWorkload]>) -> Self {
        Self {
            addresses: [IpNet::from(address)].into(),
            port: None,
            family: address.into(),
            workloads,
            workload_port: port,
            is_endpoint: true,
        }
    }
}

/// Of which family a connect is that a server sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
    /// It may be of either.
    Either,
}

impl Family {
    /// Of connects to any of these addresses; of none, it is not known.
    pub(super) fn of(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let join = |one, other| if one == other { one } else { Self::Either };
        addresses
            .map(Self::from)
            .reduce(join)
            .unwrap_or(Self::Either)
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A rule of a policy, or the policy as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    pub policy: Arc<ObjectId>,
    /// The policy's.
    pub origin: Origin,
    /// 1 is the first, with its line.
    pub rule: Option<(usize, u32)>,
}

impl RuleName {
    fn whole(self) -> Self {
        Self { rule: None, ..self }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some((rule, line)) => {
                write!(
                    f,
                    "rule {rule} of {} ({}:{line})",
                    self.policy, self.origin.file
                )
            }
            None => write!(f, "{} ({})", self.policy, self.origin),
        }
    }
}

impl Access {
    /// The same by policies alone: rules tell clients apart for which the same is decided.
    fn by_policy(self) -> Self {
        let whole = |rules: Vec<RuleName>| {
            let mut names: Vec<RuleName> = rules.into_iter().map(RuleName::whole).collect();
            names.dedup();
            names
        };
        Self {
            by: whole(self.by),
            noted: whole(self.noted),
            ..self
        }
    }

    /// What follows where both are said.
    fn join(self, other: Self) -> Self {
        let weight = |access: &Self| (access.ruling, !access.is_default);
        let (mut decides, yields) = if weight(&self) >= weight(&other) {
            (self, other)
        } else {
            (other, self)
        };
        if weight(&decides) == weight(&yields) {
            add_new(&mut decides.by, yields.by);
        }
        add_new(&mut decides.noted, yields.noted);
        add_new(&mut decides.noted_missing, yields.noted_missing);
        decides
    }

    /// What is decided, and by what.
    pub fn sentence(&self) -> String {
        let by: Vec<String> = self.by.iter().map(ToString::to_string).collect();
        let by = by.join(" and ");
        match (self.ruling, self.is_default) {
            (Ruling::Allowed, _) if self.by.is_empty() => "no policy denies it".to_owned(),
            (Ruling::Allowed, _) => format!("{by} allows it"),
            (Ruling::Denied, true) => format!("no rule of {by} allows it"),
            (Ruling::Denied, false) => format!("{by} denies it"),
            (Ruling::Audited, true) => {
                format!("no rule of {by} allows it, which --policy-mode=audit lets pass")
            }
            (Ruling::Audited, false) => {
                format!("{by} denies it, which --policy-mode=audit lets pass")
            }
        }
    }
}

fn add_new(names: &mut Vec<RuleName>, more: Vec<RuleName>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

impl Endpoint {
    /// Whether policies deny it: it keeps its share, and connects that it is picked for fail.
    pub fn is_denied(&self) -> bool {
        let access = self.access.as_ref();
        access.is_some_and(|access| access.ruling == Ruling::Denied)
    }
}

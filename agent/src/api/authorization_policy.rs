//! `AuthorizationPolicy`: who may connect where, as far as a connection shows it.
//!
//! What only a request or a TLS handshake would show is kept by name, so that others can say what follows: an ALLOW rule
//! that asks for it never matches, and any other rule is read without it.

mod condition;
mod dry_run;
mod read;
mod rule;
mod schema;
mod source;
mod unseen;
mod values;

use ipnet::IpNet;

use super::attachment::Attachment;

pub(super) use dry_run::refuse as refuse_dry_run;
pub(super) use read::read;
pub(super) use schema::SCHEMA;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    pub attachment: Attachment,
    pub action: PolicyAction,
    /// Whether the policy is only to tell what it would do.
    pub is_dry_run: bool,
    /// Any one of them suffices; empty means that nothing matches. Only ALLOW and AUDIT may be without rules.
    pub rules: Vec<AccessRule>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyAction {
    #[default]
    Allow,
    Deny,
    Audit,
    /// Asks an external authorizer.
    Custom,
}

/// One of the sources, one of the operations, and all conditions; an empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRule {
    pub from: Vec<Source>,
    pub to: Vec<Operation>,
    pub when: Vec<Condition>,
    pub line: u32,
}

impl AccessRule {
    /// Whether the rule asks for what no connection shows.
    pub fn needs_unseen(&self) -> bool {
        self.from.iter().any(|source| !source.unseen.is_empty())
            || self.to.iter().any(|operation| !operation.unseen.is_empty())
            || (self.when.iter())
                .any(|condition| matches!(condition.attribute, Attribute::Unseen(_)))
    }
}

/// What a value must be one of, where that is not empty, and what it must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values<T> {
    pub any_of: Vec<T>,
    pub none_of: Vec<T>,
}

impl<T> Values<T> {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.any_of.is_empty() && self.none_of.is_empty()
    }
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self {
            any_of: Vec::new(),
            none_of: Vec::new(),
        }
    }
}

/// Who connects; a source must be all that it asks for. Texts may begin or end with `*`, or be `*`, which is anything but
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `<trust domain>/ns/<namespace>/sa/<service account>`.
    pub principals: Values<String>,
    pub namespaces: Values<String>,
    /// Not beside principals and namespaces.
    pub service_accounts: Values<ServiceAccount>,
    pub trust_domains: Values<String>,
    pub ip_blocks: Values<IpNet>,
    pub unseen: Vec<Unseen>,
    pub line: u32,
}

/// Without wildcards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAccount {
    /// The policy's own where none is written.
    pub namespace: String,
    pub name: String,
}

/// What is done; an operation must be all that it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Of the server's workload. Istio accepts 0, which no connection has.
    pub ports: Values<u16>,
    pub unseen: Vec<Unseen>,
    pub line: u32,
}

/// A field that asks for what no connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unseen {
    pub field: &'static str,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub attribute: Attribute,
    pub line: u32,
}

/// What a condition is about, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    SourceIp(Values<IpNet>),
    SourceNamespace(Values<String>),
    SourcePrincipal(Values<String>),
    SourceServiceAccount(Values<ServiceAccount>),
    SourceTrustDomain(Values<String>),
    DestinationIp(Values<IpNet>),
    DestinationPort(Values<u16>),
    /// The key of what no connection shows, such as `request.headers[User-Agent]`.
    Unseen(String),
}

#[cfg(test)]
mod tests;

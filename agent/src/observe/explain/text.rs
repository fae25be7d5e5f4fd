//! The steps of a decision, in sentences.

use std::net::SocketAddr;

use agent_common::abi::UNCOUNTED;
use agent_common::{Connect, Family, Reason, Verdict};

use crate::compile::report::ReportedPolicy;
use crate::compile::{Access, Action, Service};
use crate::observe::view::service::refusal;

use super::lookup::{By, Match};
use super::target::{self, Transport};
use super::{Claim, VerdictView};

/// What was looked up, and what was found.
pub(super) fn match_step(
    connect: &Connect,
    to: SocketAddr,
    transport: Transport,
    found: &Match<'_>,
    claimed: Option<Claim<'_>>,
) -> String {
    let asked = format!("looked up {to} {transport}");
    let of = match claimed {
        Some((key, service)) => format!(
            "service {}/{}:{} ({}, {})",
            key.namespace, key.host, key.port, service.object, service.origin
        ),
        None => "a service that the program no longer has".to_owned(),
    };
    match (found.by, found.prefix) {
        (By::Address, _) => format!("{asked}: a frontend of {of}"),
        (By::Prefix, Some(net)) => {
            format!("{asked}: no frontend of its own; the longest CIDR, {net}, is one of {of}")
        }
        (By::Prefix, None) => {
            format!("{asked}: no frontend of its own; a CIDR that holds it is one of {of}")
        }
        (By::VipRange, _) => format!(
            "{asked}: no frontend{}, but the address lies in the range of automatic addresses",
            and_no_prefix(found)
        ),
        (By::Nothing, _) => format!(
            "{asked}: no frontend{}, and not in the range of automatic {} addresses",
            and_no_prefix(found),
            family_name(connect.family)
        ),
    }
}

fn and_no_prefix(found: &Match<'_>) -> String {
    match found.prefix {
        Some(net) => format!(" (the longest CIDR, {net}, does not have this port)"),
        None => ", in no declared CIDR".to_owned(),
    }
}

const fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// What the service does, and why its endpoints stand where they stand.
pub(super) fn service_steps(service: &Service) -> Vec<String> {
    let policy = ReportedPolicy::of(service);
    let mut steps = vec![format!("resolution {}", service.resolution)];
    steps.push(match &service.action {
        Action::Balance => {
            let healthy = service.endpoints.iter().filter(|e| e.share > 0).count();
            let all = service.endpoints.len();
            let policy = policy.load_balancer;
            format!("{policy} picks among {healthy} of {all} endpoints by their shares")
        }
        Action::Original { port: None } => "passed to the original address and port".to_owned(),
        Action::Original { port: Some(port) } => {
            format!("passed to the original address, port {port}")
        }
        Action::Refuse(reason) => format!("refused: {}", refusal(*reason)),
    });
    steps.extend(policy.lines());
    steps.extend(service.explanation());
    steps
}

/// What comes of it.
/// `policy` is what denies the client what nobody registered, where that is not the mesh; `access` what policies say of the service
/// or the endpoint.
pub(super) fn verdict_step(
    verdict: Verdict,
    to: SocketAddr,
    policy: Option<&str>,
    access: Option<&Access>,
) -> String {
    let policy = policy.unwrap_or("outboundTrafficPolicy of the mesh");
    match verdict {
        Verdict::Pass => format!("not redirected: the connect goes to {to}"),
        Verdict::PassUnregistered => format!(
            "not redirected: the connect goes to {to}; {policy}, REGISTRY_ONLY, would deny it, but for --policy-mode=audit"
        ),
        Verdict::Deny {
            reason: reason @ Reason::NotRegistered,
            ..
        } => format!(
            "the connect fails with {}: {policy} is REGISTRY_ONLY",
            errno(reason)
        ),
        Verdict::Original { port: None, .. } => format!("the connect goes to {to}, and is counted"),
        Verdict::Original {
            port: Some(port), ..
        } => {
            let to = SocketAddr::new(to.ip(), port.get());
            format!("the connect goes to {to}, and is counted")
        }
        Verdict::Rewrite { address, port, .. } => {
            let endpoint = SocketAddr::new(target::ip(address), port.get());
            format!("an endpoint is drawn for each connect; this one goes to {endpoint}")
        }
        Verdict::Ask { address, port } => {
            let listener = SocketAddr::new(target::ip(address), port.get());
            format!(
                "a query to a name server: the agent's own at {listener} answers it, and asks {to} what it does not know"
            )
        }
        Verdict::Deny {
            endpoint,
            reason: reason @ Reason::Policy,
            ..
        } if endpoint != UNCOUNTED => format!(
            "an endpoint is drawn for each connect; this one fails with {}: {}",
            errno(reason),
            why_by(reason, access)
        ),
        Verdict::Deny { reason, .. } => {
            let why = why_by(reason, access);
            format!("the connect fails with {}: {why}", errno(reason))
        }
    }
}

pub(super) fn verdict_view(verdict: Verdict, access: Option<&Access>) -> VerdictView {
    match verdict {
        Verdict::Pass | Verdict::PassUnregistered => VerdictView::Pass,
        Verdict::Original { port, .. } => VerdictView::Original {
            original_port: port.map(agent_common::abi::Port::get),
        },
        Verdict::Rewrite { .. } => VerdictView::Rewrite,
        Verdict::Ask { .. } => VerdictView::Ask,
        Verdict::Deny { reason, .. } => VerdictView::Deny {
            errno: errno(reason).to_owned(),
            reason: why_by(reason, access),
        },
    }
}

/// As [`Reason`] documents it.
const fn errno(reason: Reason) -> &'static str {
    match reason {
        Reason::PortNotDeclared | Reason::Overflow => "ECONNREFUSED",
        Reason::NoEndpoint | Reason::Unsupported | Reason::Torn => "EHOSTUNREACH",
        Reason::NotRegistered | Reason::Policy => "EPERM",
    }
}

fn why_by(reason: Reason, access: Option<&Access>) -> String {
    match (reason, access) {
        (Reason::Policy, Some(access)) => access.sentence(),
        _ => why(reason).to_owned(),
    }
}

const fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::PortNotDeclared => "no service declares this port of this automatic address",
        Reason::NoEndpoint => {
            "no endpoint can take it (none is healthy, or none is of the socket's family)"
        }
        Reason::Unsupported => "what the service asks for cannot be done at this layer",
        Reason::Overflow => "the service has as many connections as its policy lets it have",
        Reason::NotRegistered => {
            "nothing registers the destination, and clients may reach only what is registered"
        }
        Reason::Policy => "policies deny it to these clients",
        Reason::Torn => "the tables were being changed; the next try succeeds",
    }
}

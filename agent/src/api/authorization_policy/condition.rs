//! Reads what else a rule asks for: an attribute by its key, and values that it must or must not have.

use super::super::codes;
use super::super::findings::Findings;
use super::super::likely::suggest;
use super::super::tree::Cursor;
use super::values::{self, Names};
use super::{Attribute, Condition};

const VALUES: Names = ["values", "notValues"];

const SEEN: [&str; 7] = [
    "source.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "destination.ip",
    "destination.port",
];

const UNSEEN: [&str; 5] = [
    "remote.ip",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "connection.sni",
];

/// Keys that begin so have the name of what they mean in brackets.
const UNSEEN_MAPS: [&str; 4] = [
    "request.headers",
    "request.experimental.inline.headers",
    "request.auth.claims",
    "experimental.envoy.filters.",
];

/// Whether the attribute is one that Istio knows, but no connection shows.
pub(super) fn is_unseen(key: &str) -> bool {
    UNSEEN.contains(&key) || is_map(key)
}

fn is_map(key: &str) -> bool {
    UNSEEN_MAPS.iter().any(|prefix| key.starts_with(prefix))
}

/// Reads a condition of a policy in `namespace`.
pub(super) fn read(
    condition: &Cursor<'_>,
    namespace: &str,
    findings: &mut Findings,
) -> Option<Condition> {
    let key = condition.text("key");
    if key.is_empty() {
        findings.error(
            codes::REQUIRED,
            condition.spot_of("key"),
            "the condition has no key",
            "write the attribute that it is about, such as source.ip",
        );
        return None;
    }
    if VALUES.iter().all(|name| condition.items(name).len() == 0) {
        findings.error(
            codes::REQUIRED,
            condition.spot_of("values"),
            format!("the condition on `{key}` has no values"),
            "write values or notValues",
        );
        return None;
    }
    let attribute = match key {
        "source.ip" => Attribute::SourceIp(values::ip_blocks(condition, VALUES, findings)),
        "destination.ip" => {
            Attribute::DestinationIp(values::ip_blocks(condition, VALUES, findings))
        }
        "destination.port" => {
            Attribute::DestinationPort(values::ports(condition, VALUES, findings))
        }
        "source.serviceAccount" => Attribute::SourceServiceAccount(values::service_accounts(
            condition, VALUES, namespace, findings,
        )),
        "source.namespace" => {
            Attribute::SourceNamespace(values::texts(condition, VALUES, findings))
        }
        "source.principal" => {
            Attribute::SourcePrincipal(values::texts(condition, VALUES, findings))
        }
        "source.trustDomain" => {
            Attribute::SourceTrustDomain(values::texts(condition, VALUES, findings))
        }
        "remote.ip" => {
            values::ip_blocks(condition, VALUES, findings);
            Attribute::Unseen(key.to_owned())
        }
        _ if is_unseen(key) => {
            values::texts(condition, VALUES, findings);
            check_name_in_brackets(condition, key, findings);
            Attribute::Unseen(key.to_owned())
        }
        _ => {
            report_unknown(condition, key, findings);
            return None;
        }
    };
    Some(Condition {
        attribute,
        line: condition.node.line,
    })
}

fn check_name_in_brackets(condition: &Cursor<'_>, key: &str, findings: &mut Findings) {
    let named = key
        .strip_suffix(']')
        .and_then(|key| key.split_once('['))
        .is_some_and(|(_, name)| !name.is_empty());
    if is_map(key) && !named {
        let message = format!("`{key}` does not end with a name in brackets");
        let hint = "write it like request.headers[User-Agent]";
        findings.error(
            codes::CONDITION_KEY,
            condition.spot_of("key"),
            message,
            hint,
        );
    }
}

fn report_unknown(condition: &Cursor<'_>, key: &str, findings: &mut Findings) {
    let message = format!("there is no attribute `{key}`");
    let hint = match key {
        "destination.namespace" => {
            "put the policy into the namespace that it is for, and remove the condition".to_owned()
        }
        "destination.name" | "destination.user" => {
            "write a selector or targetRefs, and remove the condition".to_owned()
        }
        _ if key.starts_with("destination.labels") => {
            "write a selector, and remove the condition".to_owned()
        }
        _ => {
            let all = SEEN.into_iter().chain(UNSEEN).chain(UNSEEN_MAPS);
            suggest(
                key,
                all,
                "write one of source.ip, source.namespace, source.principal, source.serviceAccount, source.trustDomain, destination.ip and destination.port",
            )
        }
    };
    findings.error(
        codes::CONDITION_KEY,
        condition.spot_of("key"),
        message,
        hint,
    );
}

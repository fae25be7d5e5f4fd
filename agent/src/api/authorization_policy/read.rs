//! Reads and validates an `AuthorizationPolicy`: its action, and that its rules and provider fit it.

use super::super::attachment;
use super::super::codes;
use super::super::findings::Findings;
use super::super::object::Meta;
use super::super::rules;
use super::super::tree::Cursor;
use super::{AuthorizationPolicy, PolicyAction, dry_run, rule, unseen};

/// What Istio's schema limits, of rules and of the sources of one.
const MOST_IN_LIST: usize = 512;

/// What an external authorizer cannot be asked by.
const NOT_CUSTOM_FIELDS: [&str; 8] = [
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
];
const NOT_CUSTOM_KEYS: [&str; 3] = [
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
];

/// Reads the spec of `object`, which conforms to the schema.
pub(in crate::api) fn read(
    spec: &Cursor<'_>,
    object: &Cursor<'_>,
    meta: &Meta,
    findings: &mut Findings,
) -> AuthorizationPolicy {
    let action = match spec.text("action") {
        "DENY" => PolicyAction::Deny,
        "AUDIT" => PolicyAction::Audit,
        "CUSTOM" => PolicyAction::Custom,
        _ => PolicyAction::Allow,
    };
    check_parts(spec, action, findings);
    let rules = spec.items("rules");
    let policy = AuthorizationPolicy {
        attachment: attachment::read(spec, findings),
        action,
        is_dry_run: dry_run::read(object, action, findings),
        rules: rules
            .map(|item| rule::read(&item, &meta.id.namespace, findings))
            .collect(),
    };
    for rule in spec.items("rules") {
        if action == PolicyAction::Custom {
            check_custom(&rule, findings);
        }
        unseen::report(&rule, action, findings);
    }
    if action == PolicyAction::Custom {
        findings.warning(
            codes::ACTION_NOT_CARRIED_OUT,
            spec.spot_of("action"),
            "CUSTOM is not carried out, as there is no external authorizer to ask: the policy neither allows nor denies anything",
            "write ALLOW or DENY where ports, addresses and identities suffice",
        );
    }
    policy
}

fn check_parts(spec: &Cursor<'_>, action: PolicyAction, findings: &mut Findings) {
    let has_rules = spec.items("rules").len() > 0;
    if !has_rules && matches!(action, PolicyAction::Deny | PolicyAction::Custom) {
        let message = format!("a policy with action {} has no rules", spec.text("action"));
        findings.error(
            codes::REQUIRED,
            spec.spot_of("rules"),
            message,
            "write rules; an empty one, {}, matches everything",
        );
    }
    let provider = spec.field("provider");
    match action {
        PolicyAction::Custom => {
            let name = provider.as_ref().map(|provider| provider.text("name"));
            if has_rules && name.unwrap_or_default().is_empty() {
                let spot = provider
                    .as_ref()
                    .map_or_else(|| spec.spot_of("provider"), |it| it.spot_of("name"));
                let hint = "write the name of an extension provider of the mesh";
                findings.error(codes::REQUIRED, spot, "the provider has no name", hint);
            }
        }
        _ => {
            if let Some(provider) = provider {
                findings.error(
                    codes::AMBIGUOUS,
                    provider.spot(),
                    "only a policy with action CUSTOM has a provider",
                    "remove provider, or write action: CUSTOM",
                );
            }
        }
    }
    let hint = "spread them over several policies";
    rules::at_most(spec, "rules", MOST_IN_LIST, hint, findings);
    for rule in spec.items("rules") {
        rules::at_most(&rule, "from", MOST_IN_LIST, hint, findings);
    }
}

fn check_custom(rule: &Cursor<'_>, findings: &mut Findings) {
    let mut report = |spot, name: &str| {
        let message = format!("a policy with action CUSTOM cannot ask for `{name}`");
        let hint = "remove it, or write an ALLOW or DENY policy beside this one";
        findings.error(codes::CUSTOM_RULE, spot, message, hint);
    };
    for from in rule.items("from") {
        let Some(source) = from.field("source") else {
            continue;
        };
        for name in NOT_CUSTOM_FIELDS {
            if source.items(name).len() > 0 {
                report(source.spot_of(name), name);
            }
        }
    }
    for condition in rule.items("when") {
        let key = condition.text("key");
        if NOT_CUSTOM_KEYS.contains(&key) || key.starts_with("request.auth.") {
            report(condition.spot_of("key"), key);
        }
    }
}

//! What did not fit, said about the objects concerned.

use crate::api::{Diagnostic, Severity};
use crate::compile::Program;
use crate::dataplane::Limits;

use super::engine::{Cause, Failures};
use super::plan::Limit;

/// One finding for each service and cause, in the order of the services; what is of none comes first.
pub(super) fn describe(program: &Program, limits: &Limits, failures: &Failures) -> Vec<Diagnostic> {
    failures
        .iter()
        .map(|(key, cause)| {
            let (severity, code, what, hint) = wording(cause, limits);
            let Some(key) = key else {
                return of_no_object(severity, code, what).hint(hint);
            };
            let message = format!("{} port {}: {what}", key.host, key.port);
            let finding = match program.services.get(key) {
                Some(service) => {
                    Diagnostic::new(severity, code, &service.object, &service.origin, message)
                }
                // Its object is gone, and what is left of it is to go.
                None => of_no_object(severity, code, message),
            };
            finding.hint(hint)
        })
        .collect()
}

fn of_no_object(severity: Severity, code: &str, message: String) -> Diagnostic {
    Diagnostic {
        file: String::new(),
        line: 0,
        severity,
        code: code.to_owned(),
        message,
        hint: String::new(),
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        field: String::new(),
    }
}

fn wording(cause: &Cause, limits: &Limits) -> (Severity, &'static str, String, String) {
    let raise = |flag: &str| format!("raise {flag}, or remove what is not used");
    match cause {
        Cause::Limit(Limit::Cells) => (
            Severity::Error,
            "SH4001",
            format!(
                "its endpoints do not fit in the {} cells of the arena, so its last set of endpoints stays in effect",
                limits.cells
            ),
            raise("the limit of cells"),
        ),
        Cause::Limit(Limit::Frontends) => (
            Severity::Error,
            "SH4002",
            format!(
                "not all its addresses are captured: there is room for {}",
                limits.frontends
            ),
            raise("the limit of frontends"),
        ),
        Cause::Limit(Limit::Prefixes) => (
            Severity::Error,
            "SH4003",
            format!(
                "not all its CIDR addresses are captured: there is room for {}",
                limits.prefixes
            ),
            raise("the limit of prefixes"),
        ),
        Cause::Limit(Limit::Services) => (
            Severity::Warning,
            "SH4004",
            format!(
                "it works, but is not counted: there are counters for {} services",
                limits.services
            ),
            raise("the limit of services"),
        ),
        Cause::Limit(Limit::Endpoints) => (
            Severity::Warning,
            "SH4005",
            format!(
                "it works, but not all its endpoints are counted: there are counters for {}",
                limits.endpoints
            ),
            raise("the limit of endpoints"),
        ),
        Cause::Limit(Limit::Cgroups) => (
            Severity::Error,
            "SH4007",
            format!(
                "not every cgroup has its scope, and those without are taken for the default client: there is room for {}",
                limits.cgroups
            ),
            raise("the limit of cgroups"),
        ),
        Cause::Limit(Limit::Exempt) => (
            Severity::Error,
            "SH4008",
            format!(
                "not all that is exempt from REGISTRY_ONLY can be reached: there is room for {} CIDRs",
                limits.exempt
            ),
            raise("the limit of exemptions"),
        ),
        Cause::Refused(error) => (
            Severity::Error,
            "SH4006",
            format!("the kernel refused part of it: {error}"),
            "it is tried again every few seconds".to_owned(),
        ),
    }
}

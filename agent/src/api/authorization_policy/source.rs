//! Reads where a rule's connections come from.

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::Cursor;
use super::values::{self, Names};
use super::{Source, unseen};

const PRINCIPALS: Names = ["principals", "notPrincipals"];
const NAMESPACES: Names = ["namespaces", "notNamespaces"];
const SERVICE_ACCOUNTS: Names = ["serviceAccounts", "notServiceAccounts"];
const TRUST_DOMAINS: Names = ["trustDomains", "notTrustDomains"];
const IP_BLOCKS: Names = ["ipBlocks", "notIpBlocks"];
const REQUEST_PRINCIPALS: Names = ["requestPrincipals", "notRequestPrincipals"];
const REMOTE_IP_BLOCKS: Names = ["remoteIpBlocks", "notRemoteIpBlocks"];

const ALL: [Names; 7] = [
    PRINCIPALS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    TRUST_DOMAINS,
    IP_BLOCKS,
    REQUEST_PRINCIPALS,
    REMOTE_IP_BLOCKS,
];

/// Reads the source of a `from`; the policy is in `namespace`.
pub(super) fn read(source: &Cursor<'_>, namespace: &str, findings: &mut Findings) -> Source {
    let has = |names: Names| names.iter().any(|name| source.items(name).len() > 0);
    if !ALL.into_iter().any(has) {
        findings.error(
            codes::REQUIRED,
            source.spot(),
            "the source asks for nothing",
            "write what it is to be, or remove from, which lets any source match",
        );
    }
    if has(SERVICE_ACCOUNTS) && (has(PRINCIPALS) || has(NAMESPACES)) {
        findings.error(
            codes::AMBIGUOUS,
            source.spot(),
            "service accounts exclude principals and namespaces",
            "write principals and namespaces into another source, or keep one of them",
        );
    }
    // Read only for what is wrong with them: no connection shows either.
    values::texts(source, REQUEST_PRINCIPALS, findings);
    values::ip_blocks(source, REMOTE_IP_BLOCKS, findings);
    Source {
        principals: values::texts(source, PRINCIPALS, findings),
        namespaces: values::texts(source, NAMESPACES, findings),
        service_accounts: values::service_accounts(source, SERVICE_ACCOUNTS, namespace, findings),
        trust_domains: values::texts(source, TRUST_DOMAINS, findings),
        ip_blocks: values::ip_blocks(source, IP_BLOCKS, findings),
        unseen: unseen::fields(source, &unseen::SOURCE),
        line: source.node.line,
    }
}

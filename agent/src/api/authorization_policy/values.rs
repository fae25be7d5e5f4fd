//! The lists of an `AuthorizationPolicy`, by what their items are. What is not valid is reported and left out.

use ipnet::IpNet;

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::{ServiceAccount, Values};

/// What Istio limits.
const MOST_SERVICE_ACCOUNTS: usize = 16;
const LONGEST_SERVICE_ACCOUNT: usize = 320;

/// The names of what a value must be one of, and of what it must not be.
pub(super) type Names = [&'static str; 2];

/// Reads both lists by `item`, which says for an item that is not empty what it is.
fn read<T>(
    parent: &Cursor<'_>,
    names: Names,
    findings: &mut Findings,
    mut item: impl FnMut(&Cursor<'_>, &mut Findings) -> Option<T>,
) -> Values<T> {
    let [any_of, none_of] = names.map(|name| {
        let items = parent.items(name);
        items
            .filter_map(|found| match found.as_text() {
                "" => {
                    let message = format!("an item of `{name}` is empty");
                    findings.error(codes::REQUIRED, found.spot(), message, "write or remove it");
                    None
                }
                _ => item(&found, findings),
            })
            .collect()
    });
    Values { any_of, none_of }
}

pub(super) fn texts(parent: &Cursor<'_>, names: Names, findings: &mut Findings) -> Values<String> {
    read(parent, names, findings, |item, _| {
        Some(item.as_text().to_owned())
    })
}

pub(super) fn ip_blocks(
    parent: &Cursor<'_>,
    names: Names,
    findings: &mut Findings,
) -> Values<IpNet> {
    read(parent, names, findings, |item, findings| {
        let block = rules::address_or_prefix(item.as_text());
        if block.is_none() {
            let message = format!(
                "`{}` is neither an IP address nor a CIDR prefix",
                item.as_text()
            );
            let hint = "write an IP address or a prefix such as 10.1.0.0/16";
            findings.error(codes::ACCESS_IP_BLOCK, item.spot(), message, hint);
        }
        block
    })
}

pub(super) fn ports(parent: &Cursor<'_>, names: Names, findings: &mut Findings) -> Values<u16> {
    read(parent, names, findings, |item, findings| {
        let text = item.as_text();
        // Rust would take a sign as well.
        let port = text.parse().ok().filter(|_| !text.starts_with('+'));
        if port.is_none() {
            let message = format!("`{text}` is not a port number");
            let hint = "write a number between 1 and 65535, in quotes; ports have neither names nor wildcards here";
            findings.error(codes::ACCESS_PORT, item.spot(), message, hint);
        }
        port
    })
}

/// Names without a namespace are of `namespace`.
pub(super) fn service_accounts(
    parent: &Cursor<'_>,
    names: Names,
    namespace: &str,
    findings: &mut Findings,
) -> Values<ServiceAccount> {
    for name in names {
        let count = parent.items(name).len();
        if count > MOST_SERVICE_ACCOUNTS {
            let message = format!(
                "there are {count} service accounts, and Istio accepts {MOST_SERVICE_ACCOUNTS}"
            );
            let hint = "spread them over several sources";
            findings.error(codes::TOO_MANY, parent.spot_of(name), message, hint);
        }
    }
    read(parent, names, findings, |item, findings| {
        let text = item.as_text();
        let account = parse_service_account(text, namespace);
        if let Err(why) = account {
            let message = format!("`{text}` is not a service account: {why}");
            let hint = "write the name of one, perhaps with its namespace and `/` before it";
            findings.error(codes::ACCESS_SERVICE_ACCOUNT, item.spot(), message, hint);
        }
        account.ok()
    })
}

fn parse_service_account(text: &str, own: &str) -> Result<ServiceAccount, &'static str> {
    let (namespace, name) = text.split_once('/').unwrap_or((own, text));
    match () {
        () if text.contains('*') => Err("it has a wildcard"),
        () if name.contains('/') => Err("it has more than one `/`"),
        () if text.len() > LONGEST_SERVICE_ACCOUNT => Err("it is longer than 320 characters"),
        () if namespace.is_empty() => Err("its namespace is empty"),
        () if name.is_empty() => Err("its name is empty"),
        () => Ok(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
    }
}

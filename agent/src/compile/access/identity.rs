//! Who a client is, as certificates of the mesh would say it; here its cgroup does.

use crate::api::MeshConfig;
use crate::api::authorization_policy::ServiceAccount;

use super::super::client::Client;

/// What Istio calls the trust domain of whatever mesh it is.
const LOCAL_TRUST_DOMAIN: &str = "cluster.local";

/// The names of the mesh's trust domain.
pub(super) struct Trust<'a> {
    domain: &'a str,
    aliases: &'a [String],
}

impl<'a> Trust<'a> {
    pub(super) fn of(mesh: &'a MeshConfig) -> Self {
        Self {
            domain: &mesh.trust_domain,
            aliases: &mesh.trust_domain_aliases,
        }
    }

    /// Whether the client has the principal. Any name of the trust domain is as good as any other, where the principal is of the
    /// usual five parts.
    pub(super) fn is_principal(&self, principal: &str, client: Client<'_>) -> bool {
        let Some(account) = client.account else {
            return false;
        };
        let path = format!("ns/{}/sa/{account}", client.namespace);
        let by_alias = principal.split_once('/').is_some_and(|(domain, rest)| {
            self.has_name(domain) && rest.split('/').count() == 4 && is_text(rest, &path)
        });
        by_alias || is_text(principal, &format!("{}/{path}", self.domain))
    }

    fn has_name(&self, domain: &str) -> bool {
        domain == LOCAL_TRUST_DOMAIN
            || is_text(domain, self.domain)
            || self.aliases.iter().any(|alias| is_text(domain, alias))
    }

    pub(super) fn is_domain(&self, domain: &str, client: Client<'_>) -> bool {
        client.account.is_some() && is_text(domain, self.domain)
    }
}

pub(super) fn is_namespace(namespace: &str, client: Client<'_>) -> bool {
    client.account.is_some() && is_text(namespace, client.namespace)
}

pub(super) fn is_account(account: &ServiceAccount, client: Client<'_>) -> bool {
    client.account == Some(&*account.name) && client.namespace == account.namespace
}

/// Istio's match of texts: `*` at the beginning or the end stands for anything, and alone for anything but nothing.
fn is_text(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        !text.is_empty()
    } else if let Some(end) = pattern.strip_prefix('*') {
        text.ends_with(end)
    } else if let Some(start) = pattern.strip_suffix('*') {
        text.starts_with(start)
    } else {
        pattern == text
    }
}

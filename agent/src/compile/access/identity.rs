//! Who a client is, as certificates of the mesh would say it; here its cgroup does.

use crate::api::MeshConfig;
use crate::api::authorization_policy::ServiceAccount;

use super::super::client::Client;

/// What Istio calls the trust domain of whatever mesh it is.
const LOCAL_TRUST_DOMAIN: &str = "cluster.local";

/// The names of the mesh's trust domain.
#[derive(Debug)]
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

    pub(super) fn identify<'c>(&'c self, client: Client<'c>) -> Identity<'c> {
        let account = client.account;
        Identity {
            client,
            trust: self,
            path: account.map(|account| format!("ns/{}/sa/{account}", client.namespace)),
        }
    }

    fn has_name(&self, domain: &str) -> bool {
        domain == LOCAL_TRUST_DOMAIN
            || is_text(domain, self.domain)
            || self.aliases.iter().any(|alias| is_text(domain, alias))
    }
}

/// A client with its identity, where it has one.
pub(super) struct Identity<'c> {
    pub(super) client: Client<'c>,
    trust: &'c Trust<'c>,
    /// What follows the trust domain in its principal.
    path: Option<String>,
}

impl Identity<'_> {
    /// Any name of the trust domain is as good as any other, where the principal is of the usual five parts.
    pub(super) fn is_principal(&self, principal: &str) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        let by_alias = principal.split_once('/').is_some_and(|(domain, rest)| {
            self.trust.has_name(domain) && rest.split('/').count() == 4 && is_text(rest, path)
        });
        by_alias || is_text(principal, &format!("{}/{path}", self.trust.domain))
    }

    pub(super) fn is_of_domain(&self, domain: &str) -> bool {
        self.path.is_some() && is_text(domain, self.trust.domain)
    }

    pub(super) fn is_of_namespace(&self, namespace: &str) -> bool {
        self.path.is_some() && is_text(namespace, self.client.namespace)
    }

    pub(super) fn is_account(&self, account: &ServiceAccount) -> bool {
        let Client {
            namespace,
            account: own,
            ..
        } = self.client;
        own == Some(&*account.name) && namespace == account.namespace
    }
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

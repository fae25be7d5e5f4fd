//! Who is asked for: a workload, or whatever is in a cgroup.

use std::fmt;
use std::str::FromStr;

use agent_common::abi::{ClientWord, DEFAULT_SCOPE};
use serde::{Deserialize, Serialize};

use crate::api::ObjectId;
use crate::api::local_workload::without_mount;
use crate::compile::Compiled;
use crate::dataplane::client_word;

/// A client, as it is named in a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClientName {
    Workload {
        namespace: String,
        name: String,
    },
    /// A path that starts with `/` at the root of the hierarchy.
    Cgroup(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither NAMESPACE/WORKLOAD, nor the path of a cgroup, which starts with /, nor the number of a process"
)]
pub struct ClientNameError(pub String);

impl FromStr for ClientName {
    type Err = ClientNameError;

    fn from_str(text: &str) -> Result<Self, ClientNameError> {
        if text.starts_with('/') {
            let path = without_mount(text).trim_end_matches('/');
            return Ok(Self::Cgroup(path.to_owned()));
        }
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::Workload {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(ClientNameError(text.to_owned())),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Cgroup(path) if path.is_empty() => f.write_str("/"),
            Self::Cgroup(path) => f.write_str(path),
        }
    }
}

impl TryFrom<String> for ClientName {
    type Error = ClientNameError;

    fn try_from(text: String) -> Result<Self, ClientNameError> {
        text.parse()
    }
}

impl From<ClientName> for String {
    fn from(name: ClientName) -> Self {
        name.to_string()
    }
}

/// A client that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) word: ClientWord,
    /// What denies it what nobody registered, where that is not the mesh.
    pub(super) policy: Option<&'a str>,
    /// The workload that it is of.
    pub(super) workload: Option<&'a ObjectId>,
}

impl<'a> Known<'a> {
    fn new(compiled: &'a Compiled, scope: u32, workload: Option<&'a ObjectId>) -> Self {
        let clients = &compiled.program.clients;
        let of = clients.scopes.get(&scope);
        Self {
            word: client_word(clients, scope).unwrap_or_default(),
            policy: of.and_then(|scope| scope.policy.as_deref()),
            workload,
        }
    }
}

/// The client, and who it is in sentences; what is wrong with its name where there is none.
pub(super) fn find<'a>(
    compiled: &'a Compiled,
    name: Option<&ClientName>,
) -> Result<(Known<'a>, Vec<String>), String> {
    let default = || Known::new(compiled, DEFAULT_SCOPE, None);
    let workloads = || compiled.residents.iter();
    match name {
        None if workloads().next().is_none() => Ok((default(), Vec::new())),
        None => Ok((
            default(),
            vec!["for clients that no LocalWorkload claims (see --from)".to_owned()],
        )),
        Some(ClientName::Workload { namespace, name }) => {
            let is_named = |id: &ObjectId| id.namespace == *namespace && id.name == *name;
            let mut found = workloads().filter(|(meta, ..)| is_named(&meta.id));
            let (meta, workload, scope) = found.next().ok_or_else(|| {
                let known: Vec<String> = workloads()
                    .take(5)
                    .map(|(meta, ..)| format!("{}/{}", meta.id.namespace, meta.id.name))
                    .collect();
                format!(
                    "there is no LocalWorkload {namespace}/{name}; known are: {}",
                    known.join(", ")
                )
            })?;
            let who = format!(
                "for {} ({}), whose cgroup is `{}`",
                meta.id, meta.origin, workload.cgroup
            );
            Ok((Known::new(compiled, scope, Some(&meta.id)), vec![who]))
        }
        Some(ClientName::Cgroup(path)) => {
            let mut above = path.as_str();
            let id = loop {
                if let Some(id) = compiled.cgroup_paths.get(above) {
                    break Some(*id);
                }
                match above.rsplit_once('/') {
                    Some((parent, _)) => above = parent,
                    None => break None,
                }
            };
            let owners = compiled.residents.owners(&compiled.cgroup_paths);
            let owner = id.and_then(|id| owners.get(&id));
            let scope = id.and_then(|id| compiled.program.clients.cgroups.get(&id));
            let who = match owner {
                Some(owner) => format!("for the cgroup {path}, which is of {owner}"),
                None => format!("for the cgroup {path}, which no LocalWorkload claims"),
            };
            let scope = scope.copied().unwrap_or(DEFAULT_SCOPE);
            Ok((Known::new(compiled, scope, owner.copied()), vec![who]))
        }
    }
}

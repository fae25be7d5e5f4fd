//! Everything that enters is a fact: an idempotent statement about the world that may be repeated or skipped.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Decoded, MeshConfig};

use super::health::{ServiceKey, ServiceVitals};
use super::snapshot::Surroundings;
use super::time::UnixTime;

/// Names one source of objects, such as a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub Arc<str>);

/// What is now known of one file.
#[derive(Clone, Debug)]
pub enum FileFact {
    /// What an earlier run of the agent knew of it; nothing where this one knows of it already.
    Remembered { decoded: Decoded, since: UnixTime },
    /// Its present content.
    Read(Decoded),
    /// It exists but could not be read; what it held stays in force. The text says why.
    Unreadable(String),
    /// It is gone, and its objects with it.
    Gone,
}

/// The newest answer for a name, or what is left of an older one while the resolver retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the answer, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Why the newest resolution failed, where it did.
    pub failure: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Fact {
    File {
        source: SourceId,
        path: Arc<str>,
        fact: FileFact,
    },
    /// The source has told everything that it held at its start.
    Synced(SourceId),
    /// A host name, lower case and without a trailing dot, resolved or failed.
    Resolved {
        host: Arc<str>,
        answer: Answer,
    },
    /// A client was told that a name has these addresses. Names are as in `Resolved`.
    Learned {
        name: Arc<str>,
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// A client asked for a name that exists, which is to have an automatic address of its own. The answer is what stands
    /// until it was resolved anew.
    Asked {
        name: Arc<str>,
        answer: Answer,
    },
    /// Which endpoints of a service are not simply healthy now.
    Vitals {
        service: ServiceKey,
        vitals: ServiceVitals,
    },
    Mesh(Box<MeshConfig>),
    /// Cgroups by path, with their ids; `None` for those that are gone.
    Cgroups(Vec<(Arc<str>, Option<u64>)>),
    Surroundings(Surroundings),
}

//! What the agent would make of files, without agent, kernel or DNS: for `analyze`, `compile` and `explain --config-dir`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::api::{Diagnostic, decode};
use crate::compile::{self, Compiled, Program, Service};
use crate::model::{
    Answer, Fact, FileFact, Registry, ServiceKey, ServiceVitals, Snapshot, SourceId, VipRanges,
    VipTable, Vital,
};
use crate::sources;

use super::resolve;

use super::args::{AssumedArgs, HostAnswer, HostHealth, NodeArgs};

/// What was judged, and what came of it.
#[derive(Debug)]
pub(super) struct Offline {
    pub snapshot: Snapshot,
    pub compiled: Compiled,
    /// What is wrong with the files and the objects in them.
    pub file_findings: Vec<Diagnostic>,
    pub files: usize,
    /// Whether some file does not parse.
    pub unparsable: bool,
}

impl Offline {
    /// Reads and compiles everything that `paths` stand for, on the node that `node` describes. Names without one of the
    /// answers that are `assumed` count as not resolved yet.
    pub(super) fn build(paths: &[PathBuf], node: &NodeArgs, assumed: &AssumedArgs) -> Result<Self> {
        let (mesh, mut file_findings) = resolve::read_mesh_config(node.mesh_config.as_deref())?;
        let inputs = sources::read_paths(paths)?;
        let node = resolve::read_node(node);
        let mut registry = Registry::new(node, VipRanges::default(), VipTable::default());
        registry.apply(Fact::Mesh(Box::new(mesh)));
        let source = SourceId("command line".into());
        let mut unparsable = false;
        for input in &inputs {
            let decoded = decode(&input.file, &input.text);
            unparsable |= decoded.unparsable;
            registry.apply(Fact::File {
                source: source.clone(),
                path: input.file.as_str().into(),
                fact: FileFact::Read(decoded),
            });
        }
        registry.apply(Fact::Synced(source));
        for answer in &assumed.resolve {
            registry.apply(resolved(answer));
        }
        let mut snapshot = registry.snapshot();
        let mut compiled = compile::compile(&snapshot);
        if !assumed.health.is_empty() {
            for fact in ejections(&compiled.program, &assumed.health)? {
                registry.apply(fact);
            }
            snapshot = registry.snapshot();
            compiled = compile::compile(&snapshot);
        }
        file_findings.extend(registry.diagnostics());
        Ok(Self {
            snapshot,
            compiled,
            file_findings,
            files: inputs.len(),
            unparsable,
        })
    }

    /// Everything that was found, by file and line.
    pub(super) fn findings(&self) -> Vec<Diagnostic> {
        let all = self.file_findings.iter().chain(&*self.compiled.diagnostics);
        let mut findings: Vec<Diagnostic> = all.cloned().collect();
        findings.sort();
        findings.dedup();
        findings
    }
}

/// What makes endpoints count as ejected, in every service of their hosts.
fn ejections(program: &Program, down: &[HostHealth]) -> Result<Vec<Fact>> {
    let mut vitals: BTreeMap<&ServiceKey, ServiceVitals> = BTreeMap::new();
    for HostHealth { host, endpoint } in down {
        let is_of_host =
            |key: &ServiceKey| key.host.trim_end_matches('.').eq_ignore_ascii_case(host);
        let has_endpoint = |service: &Service| {
            let mut endpoints = service.endpoints.iter();
            endpoints.any(|e| SocketAddr::new(e.address, e.port) == *endpoint)
        };
        let services = program.services.iter();
        let mut having = services
            .filter(|(key, service)| is_of_host(key) && has_endpoint(service))
            .peekable();
        if having.peek().is_none() {
            bail!(
                "--health: {host} has no endpoint {endpoint}; shunt compile lists those that it has"
            );
        }
        for (key, _) in having {
            let of_service = vitals.entry(key).or_default();
            of_service.insert(*endpoint, Vital::Ejected);
        }
    }
    let facts = vitals.into_iter().map(|(service, vitals)| Fact::Vitals {
        service: service.clone(),
        vitals,
    });
    Ok(facts.collect())
}

fn resolved(answer: &HostAnswer) -> Fact {
    Fact::Resolved {
        host: Arc::clone(&answer.host),
        answer: Answer {
            addresses: answer.addresses.clone(),
            failure: None,
        },
    }
}

//! What the agent would make of files, without agent, kernel or DNS: for `analyze`, `compile` and `explain --config-dir`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use crate::api::{Diagnostic, decode};
use crate::compile::{self, Compiled};
use crate::model::{Answer, Fact, FileFact, Registry, Snapshot, SourceId, VipRanges, VipTable};
use crate::sources;

use super::resolve;

use super::args::{HostAnswer, NodeArgs};

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
    /// `answers` count as not resolved yet.
    pub(super) fn build(
        paths: &[PathBuf],
        node: &NodeArgs,
        answers: &[HostAnswer],
    ) -> Result<Self> {
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
        for answer in answers {
            registry.apply(resolved(answer));
        }
        let snapshot = registry.snapshot();
        let compiled = compile::compile(&snapshot);
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

fn resolved(answer: &HostAnswer) -> Fact {
    Fact::Resolved {
        host: Arc::clone(&answer.host),
        answer: Answer {
            addresses: answer.addresses.clone(),
            failure: None,
        },
    }
}

//! What is known after each step, folded as the agent folds it. Knows nothing of tables.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent::api::{Decoded, Diagnostic, Locality, MeshConfig, Severity, decode, mesh_config};
use agent::compile::{Compiled, compile};
use agent::dataplane::abi_address;
use agent::model::{
    Answer, Fact, FileFact, Node, Registry, Snapshot, SourceId, UnixTime, VipRanges, VipTable,
};
use agent_common::abi::{DEFAULT_SCOPE, Outbound, Port};
use agent_common::{Connect, Family};
use anyhow::{Context, Result, anyhow};

use super::outcome::{Place, Target};
use super::{Script, Step};

/// How codes begin of what is found in an object by itself. Its warnings are no matter of scenarios.
const READING: &str = "SH1";

/// Everything that the steps so far have said.
#[derive(Default)]
pub struct World {
    node: Node,
    mesh: MeshConfig,
    vips: VipTable,
    files: BTreeMap<String, Decoded>,
    answers: BTreeMap<Arc<str>, Answer>,
    registry: Registry,
    now: UnixTime,
}

/// What is known after a step, and what it compiles to.
pub struct Moment {
    pub snapshot: Snapshot,
    pub compiled: Compiled,
    /// `CODE name` of every finding but the warnings of reading objects, ordered.
    pub findings: Vec<String>,
}

impl World {
    /// Takes what `step` says.
    pub fn advance(&mut self, step: &Step) -> Result<Moment> {
        if self.moves(&step.script)? {
            self.start_again();
        }
        for (name, text) in &step.objects {
            let decoded = decode(name, text);
            self.files.insert(name.clone(), decoded.clone());
            self.tell(name, FileFact::Read(decoded));
        }
        for name in &step.script.deleted {
            let held = self.files.remove(name);
            held.with_context(|| format!("{name} is not there to be deleted"))?;
            self.tell(name, FileFact::Gone);
        }
        for (host, addresses) in &step.script.answers {
            let answer = Answer {
                addresses: addresses.clone(),
                failure: None,
            };
            let host: Arc<str> = host.as_str().into();
            self.answers.insert(Arc::clone(&host), answer.clone());
            self.registry.apply(Fact::Resolved { host, answer });
        }
        self.learns(&step.script);
        Ok(self.freeze())
    }

    /// Folds what the name server would tell, and gives up what has ended: no socket is open between steps.
    fn learns(&mut self, script: &Script) {
        self.now = self.now.after(Duration::from_secs(script.seconds));
        self.registry.set_time(self.now);
        self.registry.expire(HashSet::new);
        for (name, addresses) in &script.learned {
            self.registry.apply(Fact::Learned {
                name: name.as_str().into(),
                addresses: addresses.clone(),
                ttl: Duration::ZERO,
            });
        }
        for (name, addresses) in &script.asked {
            let answer = Answer {
                addresses: addresses.clone(),
                failure: None,
            };
            self.registry.apply(Fact::Asked {
                name: name.as_str().into(),
                answer,
            });
        }
    }

    /// Whether the node or its mesh is another from now on.
    fn moves(&mut self, script: &Script) -> Result<bool> {
        if let Some(locality) = &script.locality {
            self.node.locality = Locality::parse(locality);
        }
        if let Some(network) = &script.network {
            self.node.network.clone_from(network);
        }
        if let Some(mesh) = &script.mesh {
            let text = serde_yaml::to_string(mesh)?;
            let (mesh, findings) = mesh_config::read("mesh.yaml", &text)
                .map_err(|findings| anyhow!("{findings:?}"))?;
            anyhow::ensure!(findings.is_empty(), "{findings:?}");
            self.mesh = mesh;
        }
        Ok(script.locality.is_some() || script.network.is_some() || script.mesh.is_some())
    }

    /// As an agent that is started with other flags: it knows what is in its files, and its automatic VIPs.
    fn start_again(&mut self) {
        let vips = self.vips.clone();
        self.registry = Registry::new(self.node.clone(), VipRanges::default(), vips);
        self.registry.apply(Fact::Mesh(Box::new(self.mesh.clone())));
        for (name, decoded) in self.files.clone() {
            self.tell(&name, FileFact::Read(decoded));
        }
        for (host, answer) in self.answers.clone() {
            self.registry.apply(Fact::Resolved { host, answer });
        }
    }

    fn tell(&mut self, name: &str, fact: FileFact) {
        self.registry.apply(Fact::File {
            source: SourceId("scenario".into()),
            path: name.into(),
            fact,
        });
    }

    fn freeze(&mut self) -> Moment {
        let snapshot = self.registry.snapshot();
        self.vips = snapshot.vips.clone();
        let compiled = compile(&snapshot);
        let of_files = self.registry.diagnostics();
        let all = of_files.iter().chain(&*compiled.diagnostics);
        let counts =
            |d: &&Diagnostic| !d.code.starts_with(READING) || d.severity == Severity::Error;
        let mut findings: Vec<String> = all
            .filter(counts)
            .map(|d| format!("{} {}", d.code, d.name))
            .collect();
        findings.sort();
        Moment {
            snapshot,
            compiled,
            findings,
        }
    }
}

impl Moment {
    /// What a client that names `target` connects to.
    pub fn address(&self, target: &Target) -> Result<SocketAddr> {
        let ip = match &target.place {
            Place::Address(ip) => *ip,
            Place::Vip(host) => self.vip(host, target.family())?,
        };
        let is_mapped = target.family() == Family::V6 && ip.is_ipv4();
        let ip = match ip {
            IpAddr::V4(v4) if is_mapped => v4.to_ipv6_mapped().into(),
            ip => ip,
        };
        Ok(SocketAddr::new(ip, target.port))
    }

    fn vip(&self, host: &str, family: Family) -> Result<IpAddr> {
        let (namespace, name) = host.split_once('/').unwrap_or(("default", host));
        let vips = self.snapshot.vips.get(namespace, name);
        let vips = vips.with_context(|| format!("{namespace}/{name} has no automatic VIP"))?;
        Ok(match family {
            Family::V4 => vips.v4.into(),
            Family::V6 => vips.v6.into(),
        })
    }

    /// The connect that the kernel sees of it.
    pub fn connect(&self, target: &Target) -> Result<Connect> {
        let to = self.address(target)?;
        Ok(Connect {
            family: target.family(),
            address: abi_address(to.ip().to_canonical()),
            port: Port::new(to.port()),
            protocol: target.protocol,
            scope: DEFAULT_SCOPE,
            names: 0,
            outbound: Outbound::AllowAny,
        })
    }
}

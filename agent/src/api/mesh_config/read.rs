//! Reads the mesh's configuration from any of the forms in which people keep it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::codes;
use super::super::decode::{syntax_finding, unknown_subject};
use super::super::destination_rule::{
    read_connection_pool, read_keepalive, read_locality_setting, read_outlier_detection,
};
use super::super::diagnostic::{Diagnostic, Severity};
use super::super::document::{self, Document};
use super::super::findings::Findings;
use super::super::host::is_dns_label;
use super::super::outbound_policy;
use super::super::rules::{self, Exports};
use super::super::schema;
use super::super::tree::{Cursor, Node, Path, Spot, Value};
use super::MeshConfig;
use super::schema::{MESH_CONFIG, MESH_NETWORKS};
use super::visibility;

/// Reads a bare `MeshConfig` or `MeshNetworks`, a `ConfigMap` with `data.mesh` and `data.meshNetworks`, an
/// `IstioOperator` with `spec.meshConfig`, or several of them that do not contradict each other.
///
/// With the configuration come warnings; the error holds at least one diagnostic of severity error.
pub fn read(file: &str, text: &str) -> Result<(MeshConfig, Vec<Diagnostic>), Vec<Diagnostic>> {
    let file: Arc<str> = file.into();
    let mut reader = Reader::new(&file);
    for document in document::split(text) {
        match document::parse(document) {
            Ok(node) => reader.read_document(node),
            Err(error) => reader
                .diagnostics
                .extend(syntax_finding(&file, error).into_diagnostics()),
        }
    }
    let Reader {
        mesh,
        findings,
        mut diagnostics,
        ..
    } = reader;
    diagnostics.extend(findings.into_diagnostics());
    if diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        Err(diagnostics)
    } else {
        Ok((mesh, diagnostics))
    }
}

struct Reader {
    file: Arc<str>,
    mesh: MeshConfig,
    has_mesh: bool,
    findings: Findings,
    /// Of documents that are not YAML.
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    fn new(file: &Arc<str>) -> Self {
        let findings = Findings::new(unknown_subject(file));
        Self {
            file: Arc::clone(file),
            mesh: MeshConfig::default(),
            has_mesh: false,
            findings,
            diagnostics: Vec::new(),
        }
    }

    fn read_document(&mut self, mut node: Node) {
        let kind = node.text_of("kind").unwrap_or_default().to_owned();
        self.findings.subject.kind.clone_from(&kind);
        match (kind.as_str(), &node.value) {
            (_, Value::Null) => {}
            ("" | "MeshConfig" | "MeshNetworks", Value::Map(_)) => {
                // Not fields of the configuration, but harmless.
                node.take("kind");
                node.take("apiVersion");
                self.read_bare(node);
            }
            ("ConfigMap", _) => self.read_config_map(&node),
            ("IstioOperator", _) => self.read_operator(node),
            _ => {
                let hint = "write a MeshConfig, a ConfigMap with data.mesh, or an IstioOperator with spec.meshConfig";
                let spot = Spot::new(&Path::Root, node.line);
                self.findings.error(
                    codes::MESH_DOCUMENT,
                    spot,
                    "the document holds no mesh configuration",
                    hint,
                );
            }
        }
    }

    fn read_bare(&mut self, mut node: Node) {
        if let Some(networks) = node.take("networks") {
            self.read_networks(wrap("networks", networks), &Path::Root);
        }
        if let Some(networks) = node.take("meshNetworks") {
            self.read_networks(networks, &Path::Field(&Path::Root, "meshNetworks"));
        }
        if let Value::Map(entries) = &node.value
            && !entries.is_empty()
        {
            self.read_mesh(node, &Path::Root);
        }
    }

    /// The data of a `ConfigMap` are texts that hold documents of their own.
    fn read_config_map(&mut self, node: &Node) {
        let found = ["mesh", "meshNetworks"].into_iter().filter(|name| {
            let Some(data) = node.get("data").and_then(|data| data.get(name)) else {
                return false;
            };
            let Value::Text(text) = &data.value else {
                return false;
            };
            // A block scalar begins on the line after its key.
            match document::parse(Document {
                text,
                first_line: data.line + 1,
            }) {
                Ok(inner) if inner.value == Value::Null => {}
                Ok(inner) if *name == "mesh" => self.read_mesh(inner, &Path::Root),
                Ok(inner) => self.read_networks(inner, &Path::Root),
                Err(error) => self
                    .diagnostics
                    .extend(syntax_finding(&self.file, error).into_diagnostics()),
            }
            true
        });
        if found.count() == 0 {
            let spot = Spot::new(&Path::Root, node.line);
            let message = "the ConfigMap has neither data.mesh nor data.meshNetworks";
            self.findings.error(
                codes::MESH_DOCUMENT,
                spot,
                message,
                "give the ConfigMap istio of Istio's root namespace",
            );
        }
    }

    fn read_operator(&mut self, mut node: Node) {
        let spec = Path::Field(&Path::Root, "spec");
        let mesh = node
            .take("spec")
            .and_then(|mut spec| spec.take("meshConfig"));
        if let Some(mesh) = mesh {
            self.read_mesh(mesh, &Path::Field(&spec, "meshConfig"));
        } else {
            let spot = Spot::new(&Path::Field(&spec, "meshConfig"), node.line);
            let message = "the IstioOperator has no mesh configuration";
            self.findings.warning(
                codes::MESH_DOCUMENT,
                spot,
                message,
                "write it below spec.meshConfig",
            );
        }
    }

    fn read_mesh(&mut self, mut node: Node, path: &Path<'_>) {
        if self.has_mesh {
            let spot = Spot::new(path, node.line);
            let message = "the file holds more than one mesh configuration";
            self.findings
                .error(codes::MESH_DOCUMENT, spot, message, "keep one of them");
            return;
        }
        self.has_mesh = true;
        schema::conform(&mut node, &MESH_CONFIG, path, &mut self.findings);
        read_fields(
            &Cursor::new(&node, *path),
            &mut self.mesh,
            &mut self.findings,
        );
    }

    fn read_networks(&mut self, mut node: Node, path: &Path<'_>) {
        schema::conform(&mut node, &MESH_NETWORKS, path, &mut self.findings);
        let cursor = Cursor::new(&node, *path);
        let with_gateways: BTreeSet<_> = cursor
            .entries("networks")
            .filter(|(_, network)| network.items("gateways").len() > 0)
            .map(|(name, _)| name.to_owned())
            .collect();
        for (_, network) in cursor.entries("networks") {
            for gateway in network.items("gateways") {
                check_gateway(&gateway, &mut self.findings);
            }
        }
        self.mesh.gateway_networks.extend(with_gateways);
    }
}

fn wrap(name: &str, node: Node) -> Node {
    Node {
        line: node.line,
        value: Value::Map(vec![(name.to_owned(), node)]),
    }
}

fn check_gateway(gateway: &Cursor<'_>, findings: &mut Findings) {
    rules::at_most_one(gateway, &["address", "registryServiceName"], findings);
    if !gateway.has("address") && !gateway.has("registryServiceName") {
        let message = "the gateway has neither an address nor a service";
        findings.error(
            codes::NETWORK,
            gateway.spot(),
            message,
            "write address or registryServiceName",
        );
    }
    rules::port(
        gateway.int("port").unwrap_or(0),
        gateway.spot_of("port"),
        findings,
    );
}

fn read_fields(config: &Cursor<'_>, mesh: &mut MeshConfig, findings: &mut Findings) {
    if let Some(setting) = config.field("localityLbSetting") {
        mesh.locality_lb = read_locality_setting(&setting, findings);
    }
    if let Some(rate) = rules::duration(config, "dnsRefreshRate", findings) {
        mesh.dns_refresh_rate = rate;
    }
    read_connections(config, mesh, findings);
    if let Some(policy) = outbound_policy::read(config) {
        mesh.outbound = policy;
    }
    let root = config.text("rootNamespace");
    if is_dns_label(root) {
        root.clone_into(&mut mesh.root_namespace);
    } else if !root.is_empty() {
        let message = format!("`{root}` is not a namespace");
        findings.error(
            codes::EXPORT_TO,
            config.spot_of("rootNamespace"),
            message,
            "write the name of a namespace",
        );
    }
    if let Some(setting) = config.field("serviceEntryVisibility") {
        mesh.visibility = visibility::read(&setting, findings);
    }
    let domain = config.text("trustDomain");
    if !domain.is_empty() {
        domain.clone_into(&mut mesh.trust_domain);
    }
    let aliases = config.items("trustDomainAliases");
    mesh.trust_domain_aliases = aliases.map(|alias| alias.as_text().to_owned()).collect();
    let exports = [
        (
            "defaultServiceExportTo",
            Exports::Service,
            &mut mesh.default_service_export_to,
        ),
        (
            "defaultDestinationRuleExportTo",
            Exports::Rule,
            &mut mesh.default_destination_rule_export_to,
        ),
        (
            "defaultVirtualServiceExportTo",
            Exports::Rule,
            &mut mesh.default_virtual_service_export_to,
        ),
    ];
    for (name, kind, target) in exports {
        let written = rules::export_to(config, name, ".", kind, findings);
        if !written.is_empty() {
            *target = written;
        }
    }
}

/// What the mesh says of connections to every service.
fn read_connections(config: &Cursor<'_>, mesh: &mut MeshConfig, findings: &mut Findings) {
    mesh.connect_timeout = rules::duration(config, "connectTimeout", findings);
    mesh.tcp_keepalive = config
        .field("tcpKeepalive")
        .map(|keepalive| read_keepalive(&keepalive, findings));
    let Some(policy) = config.field("defaultTrafficPolicy") else {
        return;
    };
    mesh.default_traffic_policy.connection_pool = policy
        .field("connectionPool")
        .map(|pool| read_connection_pool(&pool, findings));
    mesh.default_traffic_policy.outlier_detection = policy
        .field("outlierDetection")
        .map(|outlier| read_outlier_detection(&outlier, findings));
}

//! Objects about clients, as text, and what they come to.

use agent::api::{Severity, decode};
use agent::compile::Compiled;
use agent::model::{Fact, FileFact, Registry, Snapshot, SourceId};

/// An entry of the namespace for `a.test`, at 10.1.0.1 unless told otherwise.
pub fn seen(namespace: &str, more: &str) -> String {
    let addresses = if more.contains("addresses") {
        ""
    } else {
        "addresses: [10.1.0.1], "
    };
    let hosts = if more.contains("hosts") {
        ""
    } else {
        "hosts: [a.test], "
    };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a, namespace: {namespace}}}\nspec: {{{hosts}{addresses}ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 81, name: more, protocol: HTTP}}], resolution: STATIC, endpoints: [{{address: 10.2.0.1}}], {more}}}\n"
    )
}

/// A workload, with these labels.
pub fn local(namespace: &str, name: &str, labels: &str) -> String {
    let spec = format!("cgroup: /{namespace}/{name}");
    workload(namespace, name, labels, &spec)
}

/// A workload that says this.
pub fn workload(namespace: &str, name: &str, labels: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: shunt.internal/v1alpha1\nkind: LocalWorkload\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\nspec: {{{spec}}}\n"
    )
}

/// A sidecar that says this.
pub fn sidecar(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// An `AuthorizationPolicy` that says this.
pub fn authorization(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// What is known once all of it is read, in which there must be no error.
pub fn read_all(texts: &[String]) -> Snapshot {
    let decoded = decode("all.yaml", &texts.concat());
    let errors = decoded
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error);
    assert_eq!(errors.count(), 0, "{:?}", decoded.diagnostics);
    let mut registry = Registry::default();
    registry.apply(Fact::File {
        source: SourceId("test".into()),
        path: "all.yaml".into(),
        fact: FileFact::Read(decoded),
    });
    registry.snapshot()
}

/// The scope of the workload of this name.
pub fn scope_of(compiled: &Compiled, name: &str) -> u32 {
    let mut workloads = compiled.residents.iter();
    let found = workloads.find(|(meta, ..)| meta.id.name == name);
    found.unwrap_or_else(|| panic!("no workload {name}")).2
}

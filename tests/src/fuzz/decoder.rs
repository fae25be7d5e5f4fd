//! Whether any text of a file becomes objects that can be compiled, or findings that say where and why not.

use agent::api::{Decoded, Severity, codes, decode, mesh_config};
use agent::compile::compile;
use agent::model::{Fact, FileFact, Registry, SourceId};

pub fn decoder(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let decoded = decode("x", &text);
    check(&text, &decoded);
    // What both make of the same text is the same.
    assert_eq!(decoded, decode("x", &text));
    let mut registry = Registry::default();
    if let Ok((mesh, _)) = mesh_config::read("x", &text) {
        registry.apply(Fact::Mesh(Box::new(mesh)));
    }
    let objects = decoded.objects.len();
    registry.apply(Fact::File {
        source: SourceId("fuzz".into()),
        path: "x".into(),
        fact: FileFact::Read(decoded),
    });
    let snapshot = registry.snapshot();
    assert!(snapshot.objects.len() <= objects);
    let compiled = compile(&snapshot);
    for finding in registry.diagnostics().iter().chain(&*compiled.diagnostics) {
        assert!(!finding.message.is_empty() && !finding.code.is_empty());
    }
}

fn check(text: &str, decoded: &Decoded) {
    let lines = text.lines().count().max(1) + 1;
    for finding in &decoded.diagnostics {
        let line = usize::try_from(finding.line).expect("lines are few");
        assert!((1..=lines).contains(&line), "{finding:?}");
        assert!(!finding.message.is_empty() && !finding.hint.is_empty());
        assert!(codes::ALL.iter().any(|code| code.id == finding.code));
    }
    let mut findings = decoded.diagnostics.iter();
    let has_errors = findings.any(|finding| finding.severity == Severity::Error);
    assert_eq!(has_errors, !decoded.broken.is_empty());
}

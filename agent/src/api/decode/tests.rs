//! What documents hold, at which line what is wrong with them, and what becomes of the rest of the file.

mod any_text;
mod limits;

use std::fmt::Write as _;

use super::super::codes;
use super::super::diagnostic::Severity;
use super::*;

const SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: db
spec:
  hosts: [db.example.com]
  resolution: DNS
  ports:
  - {number: 5432, name: tcp, protocol: TCP}
";

/// Every finding as `line severity code field`.
fn findings(text: &str) -> Vec<String> {
    decode("test.yaml", text)
        .diagnostics
        .iter()
        .map(|d| format!("{} {:?} {} {}", d.line, d.severity, d.code, d.field))
        .collect()
}

fn names(text: &str) -> Vec<String> {
    decode("test.yaml", text)
        .objects
        .iter()
        .map(|object| object.meta.id.to_string())
        .collect()
}

#[test]
fn a_valid_object_is_read_without_a_word() {
    let decoded = decode("test.yaml", SERVICE);
    assert_eq!(decoded.diagnostics, []);
    assert_eq!(decoded.broken, []);
    assert!(!decoded.unparsable);
    let object = &decoded.objects[0];
    assert_eq!(object.meta.id.to_string(), "ServiceEntry default/db");
    assert_eq!(object.meta.origin.to_string(), "test.yaml:1");
}

#[test]
fn files_without_content_hold_nothing_and_are_fine() {
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n---\n# x\n---\n",
        "null\n",
        "%YAML 1.2\n---\n",
        "\u{feff}",
    ] {
        assert_eq!(decode("test.yaml", text), Decoded::default(), "{text:?}");
    }
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let text = format!(
        "{SERVICE}---\nkind: [\n---\n{}",
        SERVICE.replace("db", "other")
    );
    let decoded = decode("test.yaml", &text);
    assert_eq!(
        names(&text),
        ["ServiceEntry default/db", "ServiceEntry default/other"]
    );
    assert_eq!(decoded.broken, [Broken { id: None }]);
    assert!(decoded.unparsable);
    assert_eq!(decoded.diagnostics.len(), 1);
    assert_eq!(decoded.diagnostics[0].code, codes::SYNTAX.id);
    assert!(
        (10..=12).contains(&decoded.diagnostics[0].line),
        "{:?}",
        decoded.diagnostics[0]
    );
    assert_eq!(decoded.objects[1].meta.origin.line, 13);
}

#[test]
fn documents_are_told_apart_by_lines_alone() {
    let second = SERVICE.replace("db", "two");
    let value = SERVICE.replace("hosts: [db.example.com]", "hosts: ['db.example.com'] # ---");
    assert_eq!(
        names(&format!("--- # first\n{value}...\n---\n{second}")).len(),
        2
    );
    assert_eq!(
        names(&format!("{SERVICE}---\n{second}").replace('\n', "\r\n")).len(),
        2
    );
    assert_eq!(names(&format!("%YAML 1.2\n---\n{SERVICE}")).len(), 1);
}

#[test]
fn lines_end_where_editors_end_them() {
    // To YAML, each of these ends a line as well.
    for lone in ["\r", "\u{85}", "\u{2028}"] {
        let comment = format!("# é{lone}# two{lone}# three");
        let ill_typed = format!("{comment}\n{}", SERVICE.replace("5432", "x"));
        let broken = format!("{comment}\n{SERVICE}(");
        assert_eq!(
            findings(&ill_typed),
            ["10 Error SH1011 spec.ports[0].number"],
            "{lone:?}"
        );
        assert_eq!(findings(&broken), ["11 Error SH1001 "], "{lone:?}");
    }
    assert_eq!(findings("(:\r."), ["1 Error SH1001 "]);
}

#[test]
fn json_is_read_as_an_object_or_a_list() {
    let object = r#"{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "a\u00e4\/b"},
  "spec": {"hosts": ["a.example.com"], "resolution": "DNS",
	"ports": [{"number": "443", "name": "tls", "protocol": "TLS"}], "colour": 1}}"#;
    assert_eq!(names(object), ["ServiceEntry default/aä/b"]);
    assert_eq!(findings(object), ["3 Warning SH1010 spec.colour"]);
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{object}, {object}]}}"#);
    assert_eq!(names(&list).len(), 2);
}

#[test]
fn lists_hold_objects_of_any_kind() {
    let indented = SERVICE.replace('\n', "\n  ");
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {indented}\n- kind: Deployment\n  apiVersion: apps/v1\n- 7\n"
    );
    assert_eq!(names(&list), ["ServiceEntry default/db"]);
    assert_eq!(decode("x", &list).objects[0].meta.origin.line, 4);
    assert_eq!(findings(&list), ["14 Info SH1007 kind", "16 Error SH1002 "]);
    assert_eq!(
        findings("apiVersion: v1\nkind: List\nitems: none\n"),
        ["1 Error SH1002 "]
    );
}

#[test]
fn what_is_no_object_is_unparsable() {
    for text in ["hosts: [a]\n", "- a\n", "just text\n", "kind: ''\n"] {
        let decoded = decode("test.yaml", text);
        assert!(decoded.unparsable, "{text:?}");
        assert_eq!(decoded.broken, [Broken { id: None }], "{text:?}");
        assert_eq!(findings(text), ["1 Error SH1002 "], "{text:?}");
    }
}

#[test]
fn other_kinds_are_named_and_left_alone() {
    let object = |version: &str, kind: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")
    };
    let cases = [
        (
            "networking.istio.io/v1",
            "Telemetry",
            "2 Warning SH1006 kind",
            0,
        ),
        (
            "telemetry.istio.io/v1",
            "Telemetry",
            "2 Warning SH1006 kind",
            0,
        ),
        ("apps/v1", "Deployment", "2 Info SH1007 kind", 0),
        (
            "networking.istio.io/v1",
            "ServiceEntrys",
            "2 Error SH1005 kind",
            1,
        ),
        (
            "networking.istio.io/v1",
            "Telemetrie",
            "2 Warning SH1005 kind",
            0,
        ),
        (
            "networking.istio.io/v1",
            "Banana",
            "2 Warning SH1005 kind",
            0,
        ),
        (
            "networking.istio.io/v9",
            "ServiceEntry",
            "1 Error SH1004 apiVersion",
            1,
        ),
    ];
    for (version, kind, expected, broken) in cases {
        let text = object(version, kind);
        assert_eq!(findings(&text), [expected], "{kind}");
        let decoded = decode("x", &text);
        assert_eq!(decoded.broken.len(), broken, "{kind}");
        assert!(!decoded.unparsable, "{kind}");
        assert!(decoded.diagnostics[0].message.contains(if broken == 1 {
            "ServiceEntry"
        } else {
            kind
        }));
        assert_eq!(decoded.diagnostics[0].name, "x");
    }
}

#[test]
fn a_misspelt_kind_stands_for_the_object_that_it_was_to_be() {
    let text = SERVICE.replace("kind: ServiceEntry", "kind: ServiceEntrie");
    let broken = decode("x", &text).broken;
    assert_eq!(
        broken[0].id.as_ref().unwrap().to_string(),
        "ServiceEntry default/db"
    );
}

#[test]
fn fields_are_checked_at_their_line() {
    let cases = [
        (
            "resolution: DNS",
            "resolutoin: DNS",
            "7 Warning SH1010 spec.resolutoin",
        ),
        (
            "resolution: DNS",
            "resolution: dns",
            "7 Error SH1011 spec.resolution",
        ),
        (
            "resolution: DNS",
            "resolution: DNS\n  resolution: DNS",
            "8 Error SH1003 spec.resolution",
        ),
        (
            "resolution: DNS",
            "export_to: ['.']\n  exportTo: ['.']",
            "8 Error SH1003 spec.exportTo",
        ),
        (
            "hosts: [db.example.com]",
            "hosts: db.example.com",
            "6 Error SH1011 spec.hosts",
        ),
        (
            "hosts: [db.example.com]",
            "hosts:\n  - db.example.com\n  - 7",
            "8 Error SH1011 spec.hosts[1]",
        ),
        (
            "hosts: [db.example.com]",
            "hosts: [~]",
            "6 Error SH1011 spec.hosts[0]",
        ),
        (
            "number: 5432",
            "number: five",
            "9 Error SH1011 spec.ports[0].number",
        ),
        (
            "number: 5432",
            "nummer: 1, number: 5432",
            "9 Warning SH1010 spec.ports[0].nummer",
        ),
        (
            "  name: db",
            "  name: db\n  labels: {version: 1.10}",
            "5 Error SH1011 metadata.labels.version",
        ),
        (
            "  name: db",
            "  namespace: x",
            "3 Error SH1008 metadata.name",
        ),
        ("spec:", "spce:", "5 Warning SH1010 spce"),
    ];
    for (from, to, expected) in cases {
        let text = SERVICE.replacen(from, to, 1);
        assert!(
            findings(&text).contains(&expected.to_owned()),
            "{to}: {:?}",
            findings(&text)
        );
    }
    let typo = decode("x", &SERVICE.replace("resolution", "resolutoin"));
    assert_eq!(typo.diagnostics[0].hint, "did you mean `resolution`?");
}

#[test]
fn protobuf_s_leniency_holds() {
    let lenient = SERVICE
        .replace(
            "resolution: DNS",
            "resolution: 2\n  workload_selector: null\n  subject_alt_names: []",
        )
        .replace("number: 5432", "number: \"5432\", target_port: \"1\"");
    let decoded = decode("x", &lenient);
    assert_eq!(decoded.diagnostics, []);
    let Spec::ServiceEntry(entry) = &decoded.objects[0].spec else {
        panic!("no ServiceEntry")
    };
    assert_eq!(entry.ports[0].number, 5432);
    assert_eq!(entry.ports[0].target_port, Some(1));
    assert_eq!(entry.resolution.to_string(), "DNS");
    assert_eq!(entry.workload_selector, None);
}

#[test]
fn tabs_are_named_as_what_is_wrong() {
    let text = SERVICE.replace("  resolution", "\tresolution");
    let decoded = decode("x", &text);
    assert_eq!(findings(&text), ["7 Error SH1001 "]);
    assert!(decoded.diagnostics[0].message.contains("tab"));
}

#[test]
fn anchors_and_merge_keys_stand_for_what_they_name() {
    let text = SERVICE.replace(
        "  - {number: 5432, name: tcp, protocol: TCP}",
        "  - &port {number: 5432, name: tls, protocol: TLS}\n  - <<: *port\n    number: 5433\n    name: two\n",
    );
    let decoded = decode("x", &text);
    assert_eq!(decoded.diagnostics, []);
    let Spec::ServiceEntry(entry) = &decoded.objects[0].spec else {
        panic!("no ServiceEntry")
    };
    let ports: Vec<_> = entry
        .ports
        .iter()
        .map(|port| (port.number, port.protocol.to_string(), port.line))
        .collect();
    assert_eq!(
        ports,
        [(5432, "TLS".to_owned(), 9), (5433, "TLS".to_owned(), 10)]
    );
}

#[test]
fn aliases_cannot_blow_a_document_up() {
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, previous) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g", "h"])
    {
        let aliases = vec![format!("*{previous}"); 9].join(", ");
        writeln!(laughs, "{name}: &{name} [{aliases}]").unwrap();
    }
    let wide = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x, ".repeat(5000),
        "*a, ".repeat(5000)
    );
    for text in [laughs, wide] {
        assert_eq!(decode("x", &text).diagnostics[0].code, codes::TOO_LARGE.id);
    }
}

#[test]
fn large_files_are_read_in_order() {
    let mut text = String::new();
    while text.len() < 2 * LARGE {
        let name = format!("s{:07}", text.len());
        writeln!(text, "{}---", SERVICE.replace("db", &name)).unwrap();
    }
    let objects = decode("x", &text).objects;
    assert!(
        objects
            .windows(2)
            .all(|pair| pair[0].meta.id < pair[1].meta.id)
    );
    assert!(
        objects
            .windows(2)
            .all(|pair| pair[0].meta.origin.line + 10 == pair[1].meta.origin.line)
    );
    assert_eq!(objects.len(), text.matches("kind:").count());
}

#[test]
fn a_wrong_version_is_told_the_group_of_the_kind() {
    let hint = |kind: &str| {
        let decoded = decode("x", &format!("apiVersion: istio.io/v1\nkind: {kind}\n"));
        decoded.diagnostics[0].hint.clone()
    };
    let networking = "write apiVersion: networking.istio.io/v1";
    assert_eq!(hint("VirtualService"), networking);
    let security = "write apiVersion: security.istio.io/v1";
    assert_eq!(hint("AuthorizationPolicy"), security);
}

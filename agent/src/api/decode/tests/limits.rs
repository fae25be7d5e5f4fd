//! What must hold of texts that are written to hurt: they are refused soon, and with a reason.

use super::*;

/// What does not take time in proportion to the length of such texts takes hours, and so fails.
const MEGABYTE: usize = 1 << 20;

/// The code of the first finding about `text`.
fn first_code(text: &str) -> String {
    decode("x", text).diagnostics[0].code.clone()
}

#[test]
fn nesting_is_bounded_however_it_is_written() {
    for bracket in ["[", "{a: ", "{\"a\":", "- ", "? ", "[[], "] {
        let text = bracket.repeat(MEGABYTE / bracket.len());
        assert_eq!(first_code(&text), codes::TOO_LARGE.id, "{bracket}");
    }
    let mut steps = String::new();
    for depth in 0..1_000 {
        writeln!(steps, "{}a:", " ".repeat(depth)).unwrap();
    }
    assert_eq!(first_code(&steps), codes::TOO_LARGE.id);
}

#[test]
fn aliases_cannot_make_values_deeper_than_they_may_be_written() {
    let mut text = "a0: &a0 x\n".to_owned();
    for (previous, name) in (0..4).zip(1..) {
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        writeln!(text, "a{name}: &a{name} {open}*a{previous}{close}").unwrap();
    }
    let decoded = decode("x", &text);
    let finding = &decoded.diagnostics[0];
    assert_eq!(finding.code, codes::TOO_LARGE.id, "{finding}");
    assert_eq!(finding.line, 4, "{finding}");
}

#[test]
fn a_document_has_no_more_values_than_the_limit_and_the_others_are_read() {
    let many = "-\n".repeat(1_000_001);
    let text = format!("{many}---\n{SERVICE}");
    let decoded = decode("x", &text);
    assert_eq!(decoded.diagnostics[0].code, codes::TOO_LARGE.id);
    assert!(decoded.diagnostics[0].message.contains("1000000 values"));
    assert_eq!(decoded.objects.len(), 1);
}

#[test]
fn what_has_no_end_is_not_read_to_the_end() {
    for start in ["\"", "[a, ", "x: |\n "] {
        let text = format!("{start}{}", "a ".repeat(MEGABYTE));
        assert_eq!(first_code(&text), codes::TOO_LARGE.id, "{start}");
    }
}

#[test]
fn large_json_is_read_like_any_other() {
    let object = r#"{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "NAME"},
  "spec": {"hosts": ["a.example.com"], "resolution": "DNS", "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}]}}"#;
    let objects: Vec<String> = (0..10_000)
        .map(|n| object.replace("NAME", &format!("s{n:05}")))
        .collect();
    let items = objects.join(",\n");
    for start in ["", "---\n"] {
        let text = format!(r#"{start}{{"apiVersion": "v1", "kind": "List", "items": [{items}]}}"#);
        let decoded = decode("x", &text);
        assert_eq!(decoded.diagnostics, []);
        assert_eq!(decoded.objects.len(), 10_000);
        let lines = u32::try_from(start.len() / 4).unwrap();
        assert_eq!(decoded.objects[9_999].meta.origin.line, 19_999 + lines);
    }
}

#[test]
fn merging_large_mappings_takes_time_in_proportion() {
    let mapping = |prefix: &str| {
        let keys: Vec<String> = (0..50_000).map(|n| format!("{prefix}{n}: 1")).collect();
        keys.join(",\n ")
    };
    let text = format!(
        "a: &a {{{}}}\nb: {{<<: *a, {}}}\n",
        mapping("k"),
        mapping("l")
    );
    assert_eq!(first_code(&text), codes::NO_OBJECT.id);
}

#[test]
fn findings_are_listed_up_to_a_limit_and_the_worst_of_the_others_counts() {
    let unknown: String = (0..500).fold(String::new(), |mut text, n| {
        writeln!(text, "  unknown{n}: 1").unwrap();
        text
    });
    let text = format!("{SERVICE}{unknown}  addresses: 7\n");
    let decoded = decode("x", &text);
    assert_eq!(decoded.objects, [], "an error that is not listed counts");
    let last = decoded.diagnostics.last().unwrap();
    assert_eq!(last.code, codes::TOO_MANY_FINDINGS.id, "{last}");
    assert_eq!(last.severity, Severity::Error);
    assert!(last.message.starts_with("401 more"), "{last}");

    let text = "--- a\n".repeat(MEGABYTE / 5);
    let decoded = decode("x", &text);
    assert_eq!(decoded.diagnostics.len(), 1_001);
    assert!(decoded.broken.len() <= THREADS, "{}", decoded.broken.len());
    let more = format!("{} more", MEGABYTE / 5 - 1_000);
    let last = decoded.diagnostics.last().unwrap();
    assert!(last.message.starts_with(&more), "{last}");
}

//! What must hold of any text, and of documents that are nearly right.

use proptest::prelude::*;

use super::*;

/// Pieces that make documents that are nearly right.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let lines = prop::sample::select(
        SERVICE
            .lines()
            .chain([
                "---",
                "...",
                "  endpoints:",
                "  - address: 1.2.3.4",
                "    weight: 2",
                "  labels: {a: b}",
                "\t- x",
                "&a *a",
                "  <<: *a",
                "? x",
                "|",
                "{",
                "]",
            ])
            .collect::<Vec<_>>(),
    );
    let mutated = (
        prop::collection::vec(lines, 0..12),
        any::<prop::sample::Index>(),
        any::<char>(),
    );
    mutated.prop_map(|(lines, index, c)| {
        let mut text = format!("{SERVICE}{}\n", lines.join("\n"));
        let at = text
            .char_indices()
            .map(|(at, _)| at)
            .nth(index.index(text.chars().count()))
            .unwrap();
        text.insert(at, c);
        text
    })
}

/// What must hold whatever the text is.
fn check_invariants(text: &str) -> Result<(), TestCaseError> {
    let decoded = decode("x", text);
    let lines = u32::try_from(text.lines().count().max(1)).unwrap();
    for diagnostic in &decoded.diagnostics {
        prop_assert!(
            (1..=lines + 1).contains(&diagnostic.line),
            "{:?}",
            diagnostic
        );
        prop_assert!(!diagnostic.message.is_empty() && !diagnostic.hint.is_empty());
        prop_assert!(codes::ALL.iter().any(|code| code.id == diagnostic.code));
    }
    let errors = decoded
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .count();
    prop_assert_eq!(errors == 0, decoded.broken.is_empty());
    for object in &decoded.objects {
        prop_assert!(object.meta.origin.line <= lines);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        check_invariants(&text)?;
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_invariants(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn nearly_right_documents_are_read_without_panic(text in nearly_yaml()) {
        check_invariants(&text)?;
    }

    #[test]
    fn an_ill_typed_field_is_found_at_the_line_where_it_stands(blank in 0_usize..40, before in 0_usize..3) {
        let text = format!("{}{}{}", "\n".repeat(blank), format!("{SERVICE}---\n").repeat(before), SERVICE.replace("5432", "x"));
        let line = text.lines().position(|line| line.contains("number: x")).unwrap() + 1;
        prop_assert_eq!(findings(&text), [format!("{line} Error SH1011 spec.ports[0].number")]);
    }
}

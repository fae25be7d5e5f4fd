//! Istio's validation of `PeerAuthentication`, a row for each rule, and what a valid one is read as.

use std::fmt::Write as _;

use expect_test::expect;

use super::super::decode::Decoded;
use super::super::object::Spec;
use super::super::specimen;
use super::*;

fn decode_spec(spec: &str) -> Decoded {
    specimen::decode_spec("PeerAuthentication", spec)
}

fn read_spec(spec: &str) -> PeerAuthentication {
    let mut decoded = decode_spec(spec);
    match decoded.objects.pop().map(|object| object.spec) {
        Some(Spec::PeerAuthentication(policy)) => policy,
        other => panic!("{other:?} {:?}", decoded.diagnostics),
    }
}

#[test]
fn a_valid_one_is_read_with_its_modes() {
    let policy = read_spec(
        "  selector: {matchLabels: {app: x}}
  mtls: {mode: STRICT}
  portLevelMtls:
    8080: {mode: DISABLE}
    '9090': {mode: PERMISSIVE}
    443: {}
",
    );
    let expected = PeerAuthentication {
        selector: Some(BTreeMap::from([("app".to_owned(), "x".to_owned())])),
        mode: MtlsMode::Strict,
        ports: BTreeMap::from([
            (443, MtlsMode::Unset),
            (8080, MtlsMode::Disable),
            (9090, MtlsMode::Permissive),
        ]),
    };
    assert_eq!(policy, expected);
    assert_eq!(read_spec("  {}\n"), PeerAuthentication::default());
}

#[test]
fn ports_modes_and_selectors_are_checked() {
    let labels = "selector: {matchLabels: {a: b}}, portLevelMtls:";
    let rows: &[(&str, &[&str])] = &[
        ("mtls: {mode: UNSET}", &[]),
        ("mtls: {mode: BOTH}", &["Error SH1011 spec.mtls.mode"]),
        ("selector: {}", &["Warning SH1117 spec.selector"]),
        (
            "selector: {matchLabels: {a: 'b*'}}",
            &["Error SH1116 spec.selector.matchLabels.a"],
        ),
        ("LABELS {80: {mode: STRICT}}", &[]),
        ("LABELS {}", &["Error SH1801 spec.portLevelMtls"]),
        ("LABELS {0: {}}", &["Error SH1105 spec.portLevelMtls.0"]),
        (
            "LABELS {65536: {}}",
            &["Error SH1105 spec.portLevelMtls.65536"],
        ),
        (
            "LABELS {http: {}}",
            &["Error SH1105 spec.portLevelMtls.http"],
        ),
        (
            "LABELS {80: {}, '080': {}}",
            &["Error SH1003 spec.portLevelMtls.080"],
        ),
        (
            "portLevelMtls: {80: {}}",
            &["Error SH1801 spec.portLevelMtls"],
        ),
        (
            "selector: {matchLabels: {}}, portLevelMtls: {80: {}}",
            &[
                "Warning SH1117 spec.selector",
                "Error SH1801 spec.portLevelMtls",
            ],
        ),
    ];
    for (row, expected) in rows {
        let spec = format!("  {{{}}}\n", row.replace("LABELS", labels));
        assert_eq!(specimen::findings(&decode_spec(&spec)), *expected, "{row}");
    }
}

#[test]
fn messages_say_what_to_do() {
    let decoded = decode_spec(
        "  mtls: {mode: STRICKT}
",
    );
    let other = decode_spec(
        "  portLevelMtls:
    80: {mode: STRICT}
    90000: {mode: STRICT}
",
    );
    let mut found = String::new();
    for diagnostic in decoded.diagnostics.iter().chain(&other.diagnostics) {
        let (line, message, hint) = (diagnostic.line, &diagnostic.message, &diagnostic.hint);
        writeln!(found, "{line} {message}\n  {hint}").unwrap();
    }
    expect![[r"
        5 `STRICKT` is none of the values of this field
          did you mean `STRICT`?
        5 portLevelMtls is only for selected workloads, as ports are theirs
          write a selector with matchLabels, or mtls for all ports
        7 90000 is not a port number
          write a number between 1 and 65535
    "]]
    .assert_eq(&found);
}

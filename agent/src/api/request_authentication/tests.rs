//! Istio's validation of `RequestAuthentication`, a row for each rule, and what a valid one is read as.

use std::fmt::Write as _;

use expect_test::expect;

use super::super::attachment::{Target, TargetKind};
use super::super::decode::Decoded;
use super::super::object::Spec;
use super::super::specimen;
use super::*;

fn decode_spec(spec: &str) -> Decoded {
    specimen::decode_spec("RequestAuthentication", spec)
}

fn read_spec(spec: &str) -> RequestAuthentication {
    let mut decoded = decode_spec(spec);
    match decoded.objects.pop().map(|object| object.spec) {
        Some(Spec::RequestAuthentication(policy)) => policy,
        other => panic!("{other:?} {:?}", decoded.diagnostics),
    }
}

#[test]
fn a_valid_one_is_read_with_what_it_is_about() {
    let policy = read_spec(
        "  targetRefs: [{kind: ServiceEntry, group: networking.istio.io, name: x}]
  jwtRules: [{issuer: a}, {issuer: b}]
",
    );
    let target = Target {
        kind: TargetKind::ServiceEntry,
        name: "x".to_owned(),
        line: 5,
    };
    let expected = RequestAuthentication {
        attachment: Attachment {
            selector: None,
            targets: vec![target],
        },
        rules: 2,
    };
    assert_eq!(policy, expected);
}

#[test]
fn one_without_rules_is_not_warned_of() {
    let decoded = decode_spec("  {}\n");
    assert_eq!(decoded.diagnostics, []);
    assert_eq!(read_spec("  {}\n"), RequestAuthentication::default());
}

#[test]
fn what_it_applies_to_is_checked() {
    let cases: &[(&str, &[&str])] = &[
        ("targetRef: {kind: Service, name: a}", &[]),
        (
            "targetRef: {kind: Service, group: apps, name: a}",
            &["SH1701 spec.targetRef.kind"],
        ),
        (
            "selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]",
            &["SH1014 spec.targetRefs"],
        ),
    ];
    for (fields, expected) in cases {
        let decoded = decode_spec(&format!("  {{{fields}}}\n"));
        assert_eq!(specimen::errors(&decoded), *expected, "{fields}");
    }
}

#[test]
fn rules_are_checked() {
    let cases: &[(&str, &[&str])] = &[
        ("issuer: ''", &["SH1015 issuer"]),
        ("issuer: '', jwksUri: 'https://a.com'", &[]),
        ("issuer: a, audiences: [b, '']", &["SH1015 audiences[1]"]),
        ("issuer: a, jwksUri: 'HTTP://a.com:80/k?x=y'", &[]),
        ("issuer: a, jwksUri: 'http://[::1]:80/k'", &[]),
        ("issuer: a, jwksUri: a.com", &["SH1901 jwksUri"]),
        ("issuer: a, jwks_uri: 'ftp://a.com'", &["SH1901 jwksUri"]),
        ("issuer: a, jwksUri: 'http://a.com:x/'", &["SH1901 jwksUri"]),
        (
            "issuer: a, jwksUri: 'http://a.com', jwks: '{\"keys\": []}'",
            &["SH1014 jwks"],
        ),
        ("issuer: a, fromHeaders: [{name: b, prefix: c}]", &[]),
        (
            "issuer: a, fromHeaders: [{}]",
            &["SH1015 fromHeaders[0].name"],
        ),
        ("issuer: a, fromParams: ['']", &["SH1015 fromParams[0]"]),
        ("issuer: a, fromCookies: ['']", &["SH1015 fromCookies[0]"]),
        (
            "issuer: a, spaceDelimitedClaims: ['']",
            &["SH1015 spaceDelimitedClaims[0]"],
        ),
        (
            "issuer: a, outputClaimToHeaders: [{header: x-b_c, claim: d}]",
            &[],
        ),
        (
            "issuer: a, outputClaimToHeaders: [{header: 'x:b', claim: d}]",
            &["SH1904 outputClaimToHeaders[0].header"],
        ),
        (
            "issuer: a, outputClaimToHeaders: [{header: x}]",
            &["SH1015 outputClaimToHeaders[0].claim"],
        ),
        (
            "issuer: a, outputClaimToHeaders: [null]",
            &["SH1011 outputClaimToHeaders[0]"],
        ),
        ("issuer: a, timeout: 5s", &[]),
        ("issuer: a, timeout: 1us", &["SH1303 timeout"]),
        ("issuer: a, timeout: soon", &["SH1011 timeout"]),
        ("issuer: a, presence: REQUIRED", &[]),
        ("issuer: a, presence: MUST", &["SH1011 presence"]),
    ];
    for (rule, expected) in cases {
        let found: Vec<_> = specimen::errors(&decode_spec(&format!("  jwtRules: [{{{rule}}}]\n")))
            .iter()
            .map(|error| error.replace("spec.jwtRules[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{rule}");
    }
}

#[test]
fn keys_are_checked() {
    let cases = [
        (r#"{"keys": [{"kty": "RSA", "n": "a", "e": "AQAB"}]}"#, ""),
        (r#"{"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}"#, ""),
        (
            r#"{"kty": "RSA", "n": "a", "e": "b", "d": "c"}"#,
            "Warning SH1903",
        ),
        (r#"{"keys": [{"kty": "RSA", "n": "a"}]}"#, "Error SH1902"),
        (r#"{"keys": [{"kty": "DSA"}]}"#, "Error SH1902"),
        (r#"{"keys": {}}"#, "Error SH1902"),
        ("[]", "Error SH1902"),
        ("key", "Error SH1902"),
    ];
    for (keys, expected) in cases {
        let decoded = decode_spec(&format!("  jwtRules: [{{issuer: a, jwks: '{keys}'}}]\n"));
        let mut found = specimen::findings(&decoded);
        assert_eq!(found.pop().unwrap(), "Warning SH1905 spec.jwtRules");
        let expected = match expected {
            "" => Vec::new(),
            code => vec![format!("{code} spec.jwtRules[0].jwks")],
        };
        assert_eq!(found, expected, "{keys}");
    }
}

#[test]
fn messages_say_what_is_wrong_and_what_to_do() {
    let decoded = decode_spec(
        "  jwtRules:
  - audiences: [a]
  - issuer: a
    jwksUri: a.com/keys
  - issuer: a
    jwks: '{\"keys\": [{}]}'
  - issuer: a
    outputClaimToHeaders:
    - header: ':path'
",
    );
    let mut found = String::new();
    for diagnostic in &decoded.diagnostics {
        let (line, message, hint) = (diagnostic.line, &diagnostic.message, &diagnostic.hint);
        writeln!(found, "{line} {message}\n  {hint}").unwrap();
    }
    expect![[r"
        6 the rule has neither issuer nor jwksUri
          write the issuer of the tokens, or where to get the keys that verify them
        8 `a.com/keys` is not a URL of scheme http or https
          write it like https://example.com/.well-known/jwks.json
        10 jwks is not a JSON Web Key or a set of them: `` is not a type of key
          write the JSON that the issuer publishes
        13 there is no claim
          write claim, or remove the item
        13 `:path` is not a header that a claim can be copied to
          use letters, digits, `-` and `_`
        5 tokens are not verified, as only the HTTP request has them: the RequestAuthentication has no effect
          let the server or a gateway before it verify them
    "]].assert_eq(&found);
}

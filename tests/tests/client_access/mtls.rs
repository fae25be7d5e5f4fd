//! What `PeerAuthentication` objects make unreachable in plaintext.

use agent::compile::compile;

use super::{may, read};

#[test]
fn endpoints_that_take_mutual_tls_only_are_named() {
    let peers = |namespace: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        )
    };
    let all = |mode: &str| format!("mtls: {{mode: {mode}}}");
    let of_port = |port: u16, mode: &str| {
        format!(
            "selector: {{matchLabels: {{app: a}}}}, portLevelMtls: {{{port}: {{mode: {mode}}}}}"
        )
    };
    for (written, by) in [
        (
            vec![("istio-system", "root", all("STRICT"))],
            "istio-system/root",
        ),
        (vec![("shop", "other", all("STRICT"))], ""),
        (
            vec![
                ("istio-system", "root", all("STRICT")),
                ("pay", "own", all("PERMISSIVE")),
            ],
            "",
        ),
        (
            vec![
                ("istio-system", "root", all("STRICT")),
                ("pay", "own", all("UNSET")),
            ],
            "istio-system/root",
        ),
        (
            vec![
                ("pay", "own", all("STRICT")),
                ("pay", "port", of_port(8080, "DISABLE")),
            ],
            "",
        ),
        (vec![("pay", "port", of_port(8080, "STRICT"))], "pay/port"),
        (vec![("pay", "port", of_port(80, "STRICT"))], ""),
        (
            vec![
                ("pay", "own", all("STRICT")),
                ("pay", "port", of_port(80, "DISABLE")),
            ],
            "pay/own",
        ),
    ] {
        let texts: Vec<String> = written
            .iter()
            .map(|(n, name, spec)| peers(n, name, spec))
            .collect();
        let compiled = compile(&read(&texts));
        let found = compiled.diagnostics.iter().filter(|d| d.code == "SH3025");
        let found: Vec<&str> = found.map(|d| d.message.as_str()).collect();
        let service = compiled.program.services.values().next().unwrap();
        let reasons = service.reasons.join("\n");
        if by.is_empty() {
            assert_eq!(found, [""; 0], "{written:?}");
            assert!(!reasons.contains("STRICT"), "{reasons}");
        } else {
            let by = format!("PeerAuthentication {by} ");
            assert!(
                found.len() == 1 && found[0].contains(&by),
                "{written:?}: {found:?}"
            );
            assert!(reasons.contains(&by), "{reasons}");
        }
        // They are reported, not denied.
        assert_eq!(may(&compiled, &["s"]), [true]);
    }
}

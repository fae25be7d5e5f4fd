//! Reads and validates a `RequestAuthentication`.

use super::super::attachment;
use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::RequestAuthentication;
use super::jwks::{self, Keys};

/// What Istio's schema limits.
const MOST_RULES: usize = 4096;
const MOST_CLAIMS: usize = 64;
const LONGEST_URL: usize = 2048;

/// What to do about a list that is too long.
const SPREAD: &str = "spread them over several objects or rules";

/// Reads a spec that conforms to the schema.
pub(in crate::api) fn read(spec: &Cursor<'_>, findings: &mut Findings) -> RequestAuthentication {
    let attachment = attachment::read(spec, findings);
    rules::at_most(spec, "jwtRules", MOST_RULES, SPREAD, findings);
    for rule in spec.items("jwtRules") {
        check_rule(&rule, findings);
    }
    let rules = spec.items("jwtRules").len();
    if rules > 0 {
        findings.warning(
            codes::REQUEST_NOT_AUTHENTICATED,
            spec.spot_of("jwtRules"),
            "tokens are not verified, as only the HTTP request has them: the RequestAuthentication has no effect",
            "let the server or a gateway before it verify them",
        );
    }
    RequestAuthentication { attachment, rules }
}

fn check_rule(rule: &Cursor<'_>, findings: &mut Findings) {
    if rule.text("issuer").is_empty() && rule.text("jwksUri").is_empty() {
        findings.error(
            codes::REQUIRED,
            rule.spot_of("issuer"),
            "the rule has neither issuer nor jwksUri",
            "write the issuer of the tokens, or where to get the keys that verify them",
        );
    }
    rules::at_most_one(rule, &["jwksUri", "jwks"], findings);
    check_keys(rule, findings);
    for name in [
        "audiences",
        "fromParams",
        "fromCookies",
        "spaceDelimitedClaims",
    ] {
        for item in rule.items(name).filter(|item| item.as_text().is_empty()) {
            let message = format!("an item of `{name}` is empty");
            findings.error(codes::REQUIRED, item.spot(), message, "write or remove it");
        }
    }
    rules::at_most(rule, "spaceDelimitedClaims", MOST_CLAIMS, SPREAD, findings);
    for header in rule.items("fromHeaders") {
        require(&header, "name", findings);
    }
    for item in rule.items("outputClaimToHeaders") {
        require(&item, "claim", findings);
        require(&item, "header", findings);
        check_header(&item, findings);
    }
    rules::duration(rule, "timeout", findings);
}

fn require(parent: &Cursor<'_>, name: &str, findings: &mut Findings) {
    if parent.text(name).is_empty() {
        let message = format!("there is no {name}");
        let hint = format!("write {name}, or remove the item");
        findings.error(codes::REQUIRED, parent.spot_of(name), message, hint);
    }
}

fn check_header(item: &Cursor<'_>, findings: &mut Findings) {
    let header = item.text("header");
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !header.bytes().all(is_valid) {
        let message = format!("`{header}` is not a header that a claim can be copied to");
        let hint = "use letters, digits, `-` and `_`";
        findings.error(codes::CLAIM_HEADER, item.spot_of("header"), message, hint);
    }
}

fn check_keys(rule: &Cursor<'_>, findings: &mut Findings) {
    let url = rule.text("jwksUri");
    if url.len() > LONGEST_URL {
        let message = format!("jwksUri is longer than {LONGEST_URL} characters");
        let hint = "write the keys into jwks, or serve them at a shorter URL";
        findings.error(codes::TOO_MANY, rule.spot_of("jwksUri"), message, hint);
    } else if rule.has("jwksUri") && !is_http_url(url) {
        let message = format!("`{url}` is not a URL of scheme http or https");
        let hint = "write it like https://example.com/.well-known/jwks.json";
        findings.error(codes::JWKS_URI, rule.spot_of("jwksUri"), message, hint);
    }
    let keys = rule.text("jwks");
    if keys.is_empty() {
        return;
    }
    match jwks::parse(keys) {
        Ok(Keys::Public) => {}
        Ok(Keys::Private) => findings.warning(
            codes::JWKS_PRIVATE,
            rule.spot_of("jwks"),
            "jwks has a private key, and whoever reads it can issue tokens",
            "write the public key only, and have the issuer replace the pair",
        ),
        Err(why) => {
            let message = format!("jwks is not a JSON Web Key or a set of them: {why}");
            let hint = "write the JSON that the issuer publishes";
            findings.error(codes::JWKS, rule.spot_of("jwks"), message, hint);
        }
    }
}

/// Whether Go takes `text` for a URL that an HTTP client can get, as far as Istio looks.
fn is_http_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !host.ends_with(']') => port,
        _ => "",
    };
    ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        && !text.contains(|c: char| c.is_ascii_control())
        && !host.contains([' ', '\\'])
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

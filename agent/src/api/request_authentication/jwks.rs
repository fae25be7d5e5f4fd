//! JSON Web Keys (RFC 7517), as far as it takes to tell that they are some.

use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    Public,
    /// At least one is the private half of a pair.
    Private,
}

/// What a key of each type must have.
const MEMBERS: [(&str, &[&str]); 4] = [
    ("RSA", &["n", "e"]),
    ("EC", &["crv", "x", "y"]),
    ("OKP", &["crv", "x"]),
    ("oct", &["k"]),
];

/// Reads a set of keys or a single one, or says why it is none.
pub(super) fn parse(text: &str) -> Result<Keys, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(outer) = value else {
        return Err("it is no JSON object".to_owned());
    };
    let Some(keys) = outer.get("keys") else {
        return parse_key(&outer);
    };
    let Value::Array(keys) = keys else {
        return Err("`keys` is no list".to_owned());
    };
    let mut found = Keys::Public;
    for key in keys {
        let Value::Object(key) = key else {
            return Err("an item of `keys` is no JSON object".to_owned());
        };
        if parse_key(key)? == Keys::Private {
            found = Keys::Private;
        }
    }
    Ok(found)
}

fn parse_key(key: &Map<String, Value>) -> Result<Keys, String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kty");
    let Some((_, members)) = MEMBERS.iter().find(|(known, _)| *known == kind) else {
        return Err(format!("`{kind}` is not a type of key"));
    };
    match members.iter().find(|name| text(name).is_empty()) {
        Some(missing) => Err(format!("a key of type {kind} has no `{missing}`")),
        None if key.contains_key("d") => Ok(Keys::Private),
        None => Ok(Keys::Public),
    }
}

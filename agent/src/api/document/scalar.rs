//! What a scalar of YAML is: by the core schema of YAML 1.2, as far as it is written without quotes.

use saphyr_parser::{ScalarStyle, Tag};

use super::super::tree::Value;

/// The error is a sentence.
pub(super) fn value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let Some(tag) = tag else {
        return Ok(match style {
            ScalarStyle::Plain => plain(text),
            _ => Value::Text(text.to_owned()),
        });
    };
    if !tag.is_yaml_core_schema() {
        return Err(foreign(tag));
    }
    let found = plain(text);
    match (tag.suffix.as_str(), found) {
        ("str", _) => Ok(Value::Text(text.to_owned())),
        ("null", Value::Null) => Ok(Value::Null),
        ("bool", value @ Value::Bool(_))
        | ("int", value @ Value::Int(_))
        | ("float", value @ Value::Float(_)) => Ok(value),
        #[expect(clippy::cast_precision_loss, reason = "so it is asked for")]
        ("float", Value::Int(number)) => Ok(Value::Float(number as f64)),
        (suffix @ ("null" | "bool" | "int" | "float"), _) => {
            Err(format!("`{text}` is not of the type `!!{suffix}`"))
        }
        _ => Err(foreign(tag)),
    }
}

/// Whether a list or mapping may have the tag, which then says what it is anyway. The error is a sentence.
pub(super) fn check_collection(tag: Option<&Tag>, own: &str) -> Result<(), String> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => Err(foreign(tag)),
        _ => Ok(()),
    }
}

fn foreign(tag: &Tag) -> String {
    format!("the tag `{tag}` is not known here")
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Most are texts.
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.strip_prefix(prefix)
            && !digits.starts_with(['+', '-'])
        {
            let number = i128::from_str_radix(&format!("{sign}{digits}"), radix);
            return number.ok().map(Value::Int);
        }
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        // As "007" may be a name, it is none.
        let is_number = unsigned == "0" || !unsigned.starts_with('0');
        return is_number.then(|| {
            let number = format!("{sign}{unsigned}").parse();
            number.map_or_else(|_| infinite(sign), Value::Int)
        });
    }
    float(unsigned, sign)
}

fn float(unsigned: &str, sign: &str) -> Option<Value> {
    match unsigned {
        ".inf" | ".Inf" | ".INF" => Some(infinite(sign)),
        ".nan" | ".NaN" | ".NAN" => Some(Value::Float(f64::NAN)),
        _ => {
            let number: f64 = format!("{sign}{unsigned}").parse().ok()?;
            number.is_finite().then_some(Value::Float(number))
        }
    }
}

fn infinite(sign: &str) -> Value {
    Value::Float(if sign.is_empty() {
        f64::INFINITY
    } else {
        f64::NEG_INFINITY
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_the_core_schema_says() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(text), Value::Null, "{text}");
        }
        for (text, number) in [
            ("0", 0),
            ("+12", 12),
            ("-12", -12),
            ("0x1F", 31),
            ("-0o17", -15),
            ("0b101", 5),
            ("18446744073709551616", 1 << 64),
        ] {
            assert_eq!(plain(text), Value::Int(number), "{text}");
        }
        for (text, number) in [
            ("1.10", 1.1),
            ("-.5", -0.5),
            ("1e3", 1000.0),
            ("-.INF", f64::NEG_INFINITY),
        ] {
            assert_eq!(plain(text), Value::Float(number), "{text}");
        }
        for text in [
            "yes", "no", "on", "nUll", "007", "-01", "1.2.3", "1_000", "0x", "0x-1", "+-1", "inf",
            "nan", "10s", ".", "1e999", "0o8", "-", "+",
        ] {
            assert_eq!(plain(text), Value::Text(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn quotes_and_tags_say_what_a_scalar_is() {
        let core = |suffix: &str| Tag {
            handle: "tag:yaml.org,2002:".to_owned(),
            suffix: suffix.to_owned(),
        };
        let quoted = value("5", ScalarStyle::DoubleQuoted, None);
        assert_eq!(quoted, Ok(Value::Text("5".to_owned())));
        let tagged = |suffix, text| value(text, ScalarStyle::Plain, Some(&core(suffix)));
        assert_eq!(tagged("str", "5"), Ok(Value::Text("5".to_owned())));
        assert_eq!(tagged("float", "5"), Ok(Value::Float(5.0)));
        assert_eq!(tagged("int", "5"), Ok(Value::Int(5)));
        assert!(tagged("bool", "5").unwrap_err().contains("!!bool"));
        assert!(tagged("binary", "5").is_err());
        assert!(check_collection(Some(&core("map")), "map").is_ok());
        assert!(check_collection(Some(&core("set")), "map").is_err());
    }
}

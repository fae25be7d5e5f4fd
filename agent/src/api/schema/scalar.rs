//! How a single value is read by its type, as protobuf's JSON mapping has it.

use std::time::Duration;

use super::super::likely::suggest;
use super::super::tree::Value;
use super::Type;

/// Why a value is not of a type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) message: String,
    pub(super) hint: String,
}

/// The value in its one form, or `None` where it has it already.
pub(super) fn conform(value: &Value, ty: &Type) -> Result<Option<Value>, Mismatch> {
    match ty {
        Type::Any | Type::Message(_) => Ok(None),
        Type::Text => conform_text(value),
        Type::Bool => conform_bool(value),
        Type::Int32 => conform_int(value, i32::MIN.into(), i32::MAX.into()),
        Type::Uint32 => conform_int(value, 0, u32::MAX.into()),
        Type::Uint64 => conform_int(value, 0, u64::MAX.into()),
        Type::Double => conform_double(value),
        Type::Duration => conform_duration(value),
        Type::Enum(names) => conform_enum(value, names),
        Type::List(_) => mismatch(
            value,
            "a list",
            "write each item on a line of its own that begins with `- `",
        ),
        Type::Map(_) => mismatch(
            value,
            "a mapping",
            "write it as `key: value` lines, indented",
        ),
    }
}

fn mismatch(value: &Value, expected: &str, hint: &str) -> Result<Option<Value>, Mismatch> {
    Err(Mismatch {
        message: format!("expected {expected}, found {}", value.noun()),
        hint: hint.to_owned(),
    })
}

fn conform_text(value: &Value) -> Result<Option<Value>, Mismatch> {
    match value {
        Value::Text(_) => Ok(None),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Null => {
            mismatch(value, "a text", "put it in quotes")
        }
        Value::List(_) | Value::Map(_) => mismatch(value, "a text", "write a single text"),
    }
}

fn conform_bool(value: &Value) -> Result<Option<Value>, Mismatch> {
    match value {
        Value::Bool(_) => Ok(None),
        // Booleans of YAML 1.1, which Kubernetes' reader still knows.
        Value::Text(text)
            if matches!(text.as_str(), "yes" | "Yes" | "YES" | "on" | "On" | "ON") =>
        {
            Ok(Some(Value::Bool(true)))
        }
        Value::Text(text)
            if matches!(text.as_str(), "no" | "No" | "NO" | "off" | "Off" | "OFF") =>
        {
            Ok(Some(Value::Bool(false)))
        }
        _ => mismatch(
            value,
            "true or false",
            "write true or false, without quotes",
        ),
    }
}

fn conform_int(value: &Value, min: i128, max: i128) -> Result<Option<Value>, Mismatch> {
    let number = match value {
        Value::Int(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole, and a cast saturates"
        )]
        Value::Float(number) if number.fract() == 0.0 => Some(*number as i128),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (min..=max).contains(&number) => {
            Ok((*value != Value::Int(number)).then_some(Value::Int(number)))
        }
        Some(number) => Err(Mismatch {
            message: format!("{number} is out of range"),
            hint: format!("write a number between {min} and {max}"),
        }),
        None => mismatch(value, "a whole number", "write a number without quotes"),
    }
}

fn conform_double(value: &Value) -> Result<Option<Value>, Mismatch> {
    match value {
        Value::Float(_) => Ok(None),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a float is what the field holds"
        )]
        Value::Int(number) => Ok(Some(Value::Float(*number as f64))),
        Value::Text(text) => match text.parse() {
            Ok(number) => Ok(Some(Value::Float(number))),
            Err(_) => mismatch(value, "a number", "write a number without quotes"),
        },
        _ => mismatch(value, "a number", "write a number without quotes"),
    }
}

fn conform_enum(value: &Value, names: &[(&str, i32)]) -> Result<Option<Value>, Mismatch> {
    match value {
        Value::Text(text) if names.iter().any(|(name, _)| name == text) => Ok(None),
        Value::Text(text) => {
            let all = names
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ");
            Err(Mismatch {
                message: format!("`{text}` is none of the values of this field"),
                hint: suggest(
                    text,
                    names.iter().map(|(name, _)| *name),
                    &format!("write one of {all}"),
                ),
            })
        }
        Value::Int(number) => match names
            .iter()
            .find(|(_, value)| i128::from(*value) == *number)
        {
            Some((name, _)) => Ok(Some(Value::Text((*name).to_owned()))),
            None => Err(Mismatch {
                message: format!("{number} is none of the values of this field"),
                hint: "write the value by its name".to_owned(),
            }),
        },
        _ => mismatch(value, "the name of a value", "write the value by its name"),
    }
}

fn conform_duration(value: &Value) -> Result<Option<Value>, Mismatch> {
    const HINT: &str = "write a number with its unit, such as 250ms, 5s or 1m";
    match value {
        Value::Text(text) => match parse_duration(text) {
            Some(nanoseconds) => Ok(Some(Value::Int(nanoseconds))),
            None => Err(Mismatch {
                message: format!("`{text}` is not a duration"),
                hint: HINT.to_owned(),
            }),
        },
        _ => mismatch(value, "a duration", HINT),
    }
}

/// What Go's `time.ParseDuration` accepts, unless it is negative.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let nanoseconds = u64::try_from(parse_duration(text)?).ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Nanoseconds of what Go's `time.ParseDuration` accepts, of which protobuf's own form (`1.5s`) is a part.
fn parse_duration(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut total: i128 = 0;
    let mut rest = unsigned;
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total = total.checked_add(scale(number, unit_nanoseconds(unit)?)?)?;
        rest = after;
    }
    if total > i128::from(i64::MAX) {
        return None;
    }
    Some(if text.starts_with('-') { -total } else { total })
}

fn unit_nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A decimal number of units; what is less than a nanosecond is dropped.
fn scale(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let parse = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<i64>().ok().map(i128::from)
        }
    };
    let fraction = fraction.get(..fraction.len().min(15))?;
    let divisor = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(parse(whole)? * unit + parse(fraction)? * unit / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases: [(&str, Option<i128>); 14] = [
            ("1s", Some(1_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("250ms", Some(250_000_000)),
            ("1h2m3s", Some(3_723_000_000_000)),
            ("-1s", Some(-1_000_000_000)),
            (".5s", Some(500_000_000)),
            ("0", Some(0)),
            ("2.000000005s", Some(2_000_000_005)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("99999999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn a_duration_by_itself_is_not_negative() {
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("-1s"), None);
        assert_eq!(duration("soon"), None);
    }

    #[test]
    fn numbers_may_be_text_or_whole_floats_within_range() {
        let read = |value| conform(&value, &Type::Uint32);
        assert_eq!(read(Value::Int(80)), Ok(None));
        assert_eq!(read(Value::Text("80".to_owned())), Ok(Some(Value::Int(80))));
        assert_eq!(read(Value::Float(80.0)), Ok(Some(Value::Int(80))));
        assert!(read(Value::Float(80.5)).is_err());
        assert!(read(Value::Int(-1)).is_err());
        assert!(read(Value::Int(1 << 32)).is_err());
        assert!(read(Value::Text("eighty".to_owned())).is_err());
    }

    #[test]
    fn enum_values_go_by_name_or_number() {
        let ty = Type::Enum(&[("NONE", 0), ("STATIC", 1)]);
        assert_eq!(conform(&Value::Text("STATIC".to_owned()), &ty), Ok(None));
        assert_eq!(
            conform(&Value::Int(1), &ty),
            Ok(Some(Value::Text("STATIC".to_owned())))
        );
        assert!(conform(&Value::Int(7), &ty).is_err());
        let misspelt = conform(&Value::Text("STATIK".to_owned()), &ty).unwrap_err();
        assert_eq!(misspelt.hint, "did you mean `STATIC`?");
    }

    #[test]
    fn the_booleans_of_older_yaml_are_booleans() {
        assert_eq!(
            conform(&Value::Text("off".to_owned()), &Type::Bool),
            Ok(Some(Value::Bool(false)))
        );
        assert!(conform(&Value::Text("true".to_owned()), &Type::Bool).is_err());
    }
}

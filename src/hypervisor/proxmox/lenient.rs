//! Reading JSON that does not keep its schema.
//!
//! Proxmox VE answers with whatever its Perl scalars were used as last: numbers as strings and back, booleans as 0, 1,
//! "1", "" or null, keys left out, an object where the schema says array (recorded 029, 111, 117, 396, 637).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The text of a scalar: strings as they are, numbers printed, booleans as `1` and `0`; `None` for all else.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A truth value in one of its many spellings; `None` if it is none.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "" | "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// For a field that is a text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(scalar(&Value::deserialize(deserializer)?))
}

/// For a field that is a whole number; fractions are cut off.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = scalar(&Value::deserialize(deserializer)?);
    Ok(text.and_then(|text| text.split('.').next().and_then(|whole| whole.trim().parse().ok())))
}

/// For a field that is a truth value.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(scalar(&Value::deserialize(deserializer)?).as_deref().and_then(truth))
}

/// For a field that is a list: anything else counts as empty, elements that do not fit are left out.
pub(super) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(elements(Value::deserialize(deserializer)?))
}

/// The elements of a list that fit; of an object that should be a list, the object alone.
pub(super) fn elements<T: DeserializeOwned>(value: Value) -> Vec<T> {
    let all = match value {
        Value::Array(all) => all,
        object @ Value::Object(_) => vec![object],
        _ => Vec::new(),
    };
    all.into_iter().filter_map(|element| serde_json::from_value(element).ok()).collect()
}

/// The scalars of an object, as texts.
pub(super) fn scalars(value: &Value) -> BTreeMap<String, String> {
    let Value::Object(fields) = value else { return BTreeMap::new() };
    fields.iter().filter_map(|(key, value)| Some((key.clone(), scalar(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Sample {
        #[serde(default, deserialize_with = "text")]
        text: Option<String>,
        #[serde(default, deserialize_with = "number")]
        number: Option<i64>,
        #[serde(default, deserialize_with = "flag")]
        flag: Option<bool>,
        #[serde(default, deserialize_with = "list")]
        list: Vec<String>,
    }

    fn read(value: Value) -> Sample {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn numbers_and_strings_are_interchangeable() {
        assert_eq!(read(json!({"text": 256, "number": "100"})).text.as_deref(), Some("256"));
        assert_eq!(read(json!({"number": "100"})).number, Some(100));
        assert_eq!(read(json!({"number": 2.75})).number, Some(2));
        assert_eq!(read(json!({"number": "much"})).number, None);
        assert_eq!(read(json!({"text": null, "other": [1]})).text, None);
    }

    #[test]
    fn booleans_come_in_every_form() {
        for (value, truth) in [
            (json!(1), Some(true)),
            (json!("1"), Some(true)),
            (json!(true), Some(true)),
            (json!("on"), Some(true)),
            (json!(0), Some(false)),
            (json!(""), Some(false)),
            (json!(null), None),
            (json!([]), None),
        ] {
            assert_eq!(read(json!({"flag": value})).flag, truth, "{value}");
        }
    }

    #[test]
    fn lists_may_be_objects_or_missing() {
        assert_eq!(read(json!({"list": ["a", 1, "b"]})).list, ["a", "b"]);
        assert!(read(json!({"list": null})).list.is_empty());
        assert!(read(json!({})).list.is_empty());
        let lines: Vec<BTreeMap<String, Value>> = elements(json!({"n": 1, "t": "unable to open file"}));
        assert_eq!(lines.len(), 1);
    }
}

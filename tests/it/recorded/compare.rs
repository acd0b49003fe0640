//! Comparing data with a shape: `s` text, `n` number, `b` boolean, `z` null, `o` any object, `a` any list, `upid` a
//! task's identifier, `["=", value]` exactly that, `["first", shape]` a list whose first entry has that shape,
//! `["each", key, shapes…]` a list of entries that are told apart by that key; an object has exactly the named keys.

use serde_json::Value;

/// Adds what differs to `found`.
pub(super) fn compare(at: &str, shape: &Value, data: &Value, found: &mut Vec<String>) {
    let fits = match shape {
        Value::String(kind) => match kind.as_str() {
            "s" => data.is_string(),
            "n" => data.is_number(),
            "b" => data.is_boolean(),
            "z" => data.is_null(),
            "o" => data.is_object(),
            "a" => data.is_array(),
            "upid" => data.as_str().is_some_and(|text| text.starts_with("UPID:")),
            other => panic!("{at}: no such shape: {other}"),
        },
        Value::Object(keys) => return object(at, keys, data, found),
        Value::Array(parts) => return list(at, parts, data, found),
        other => panic!("{at}: no such shape: {other}"),
    };
    if !fits {
        found.push(format!("{at}: {} instead of {shape}", brief(data)));
    }
}

fn object(at: &str, keys: &serde_json::Map<String, Value>, data: &Value, found: &mut Vec<String>) {
    let Some(is) = data.as_object() else {
        found.push(format!("{at}: {} instead of an object", brief(data)));
        return;
    };
    for (key, shape) in keys {
        match is.get(key) {
            Some(value) => compare(&format!("{at}.{key}"), shape, value, found),
            None => found.push(format!("{at}: {key} is missing")),
        }
    }
    let surplus: Vec<_> = is.keys().filter(|key| !keys.contains_key(*key)).cloned().collect();
    if !surplus.is_empty() {
        found.push(format!("{at}: {} should not be there", surplus.join(", ")));
    }
}

fn list(at: &str, parts: &[Value], data: &Value, found: &mut Vec<String>) {
    match parts.first().and_then(Value::as_str) {
        Some("=") => {
            if *data != parts[1] {
                found.push(format!("{at}: {} instead of {}", brief(data), parts[1]));
            }
        }
        Some("first") => compare(&format!("{at}[0]"), &parts[1], &data[0], found),
        Some("each") => {
            let key = parts[1].as_str().unwrap();
            each(at, key, &parts[2..], data, found);
        }
        _ => {
            if data.as_array().is_none_or(|list| !list.is_empty()) {
                found.push(format!("{at}: {} instead of an empty list", brief(data)));
            }
        }
    }
}

fn each(at: &str, key: &str, shapes: &[Value], data: &Value, found: &mut Vec<String>) {
    let Some(list) = data.as_array() else {
        found.push(format!("{at}: {} instead of a list", brief(data)));
        return;
    };
    let mut list = list.clone();
    list.sort_by_key(|entry| entry[key].to_string());
    if list.len() != shapes.len() {
        let names: Vec<_> = list.iter().map(|entry| entry[key].to_string()).collect();
        found.push(format!("{at}: {} entries ({}) instead of {}", list.len(), names.join(", "), shapes.len()));
        return;
    }
    for (shape, entry) in shapes.iter().zip(&list) {
        compare(&format!("{at}[{}]", entry[key]), shape, entry, found);
    }
}

fn brief(data: &Value) -> String {
    data.to_string().chars().take(200).collect()
}

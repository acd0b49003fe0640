//! Installed custom resource definitions: what their schema prunes, fills in and refuses.
//!
//! CEL rules, patterns and numeric bounds are not looked at: the real API server judges those.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// One served version of a custom resource.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) namespaced: bool,
    pub(super) has_status: bool,
    pub(super) root: Value,
    /// The same without what it says of the object as a whole: which top-level fields there must be.
    sections: Value,
}

/// Schemas by group, plural name and version.
pub(super) type Schemas = BTreeMap<(String, String, String), Schema>;

/// Reads the served versions out of a `CustomResourceDefinition`.
pub(super) fn read(definition: &Value) -> Schemas {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (group, plural, kind) = (text("/spec/group"), text("/spec/names/plural"), text("/spec/names/kind"));
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let mut schemas = Schemas::new();
    for version in versions.into_iter().flatten().filter(|version| version["served"] == true) {
        let name = version["name"].as_str().unwrap_or_default().to_owned();
        let root = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or(Value::Null);
        let schema = Schema {
            kind: kind.clone(),
            list_kind: format!("{kind}List"),
            namespaced: text("/spec/scope") != "Cluster",
            has_status: version.pointer("/subresources/status").is_some(),
            sections: sections(&root),
            root,
        };
        schemas.insert((group.clone(), plural.clone(), name), schema);
    }
    schemas
}

impl Schema {
    /// Removes what the schema does not know, and says what that was.
    pub(super) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut pruned = Vec::new();
        self.each_section(object, |value, schema, path| prune(value, schema, path, &mut pruned));
        pruned
    }

    /// Fills in defaults.
    pub(super) fn fill_in(&self, object: &mut Value) {
        self.each_section(object, |value, schema, _| fill_in(value, schema));
    }

    /// What the schema refuses in this object, one sentence for each place.
    pub(super) fn faults(&self, object: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let mut copy = object.clone();
        self.each_section(&mut copy, |value, schema, path| check(value, schema, path, &mut faults));
        for name in names(&self.root["required"]) {
            if object.get(name).is_none() {
                faults.push(format!("{name}: Required value"));
            }
        }
        faults
    }

    /// True if an apply to `/status` that leaves no status is refused.
    pub(super) fn demands_status(&self) -> bool {
        let status = &self.root["properties"]["status"];
        status.is_object() && status["nullable"] != true
    }

    /// Visits the top-level fields that belong to the schema (all but apiVersion, kind and metadata).
    fn each_section(&self, object: &mut Value, mut visit: impl FnMut(&mut Value, &Value, &str)) {
        let Some(object) = object.as_object_mut() else { return };
        let properties = &self.root["properties"];
        let mut sections = Map::new();
        for name in object.keys().filter(|name| !is_type_meta(name)).cloned().collect::<Vec<_>>() {
            sections.insert(name.clone(), object.remove(&name).unwrap_or_default());
        }
        for (name, schema) in properties.as_object().into_iter().flatten() {
            if schema.get("default").is_some() && !is_type_meta(name) && !sections.contains_key(name) {
                sections.insert(name.clone(), Value::Null);
            }
        }
        let mut whole = Value::Object(sections);
        visit(&mut whole, &self.sections, "");
        if let Value::Object(whole) = whole {
            object.extend(whole.into_iter().filter(|(name, value)| name == "status" || !value.is_null()));
        }
    }
}

fn sections(root: &Value) -> Value {
    let mut sections = root.clone();
    if let Some(fields) = sections.as_object_mut() {
        fields.remove("required");
    }
    sections
}

fn is_type_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The schema of one field of an object; `None` if the object has no such field, `Some(Null)` if anything goes.
pub(super) fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    if let Some(known) = schema["properties"].get(name) {
        return Some(known);
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) | None => (schema[PRESERVE] == true).then_some(&Value::Null),
        Some(Value::Bool(true)) => Some(&Value::Null),
        Some(more) => Some(more),
    }
}

fn prune(value: &mut Value, schema: &Value, path: &str, pruned: &mut Vec<String>) {
    if schema.is_null() {
        return;
    }
    match value {
        Value::Object(fields) => {
            for name in fields.keys().cloned().collect::<Vec<_>>() {
                match field(schema, &name) {
                    None => {
                        fields.remove(&name);
                        pruned.push(join(path, &name));
                    }
                    Some(of_field) => {
                        if let Some(inner) = fields.get_mut(&name) {
                            prune(inner, of_field, &join(path, &name), pruned);
                        }
                    }
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune(item, &schema["items"], &format!("{path}[{index}]"), pruned);
            }
        }
        _ => {}
    }
}

fn fill_in(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
                let missing = fields.get(name).is_none_or(|value| value.is_null() && of_field["nullable"] != true);
                if let (true, Some(default)) = (missing, of_field.get("default")) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, inner) in fields.iter_mut() {
                if let Some(of_field) = field(schema, name) {
                    fill_in(inner, of_field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill_in(item, &schema["items"])),
        _ => {}
    }
}

fn check(value: &mut Value, schema: &Value, path: &str, faults: &mut Vec<String>) {
    if !schema.is_object() || (value.is_null() && schema["nullable"] == true) {
        return;
    }
    if let Some(expected) = schema["type"].as_str().filter(|expected| !has_type(value, expected)) {
        faults.push(format!("{path}: Invalid value: {value}: {path} in body must be of type {expected}"));
        return;
    }
    let allowed = schema["enum"].as_array();
    if allowed.is_some_and(|allowed| !allowed.contains(value)) {
        faults.push(format!("{path}: Unsupported value: {value}"));
    }
    match value {
        Value::Object(fields) => {
            for name in names(&schema["required"]) {
                if !fields.contains_key(name) {
                    faults.push(format!("{}: Required value", join(path, name)));
                }
            }
            for (name, inner) in fields.iter_mut() {
                if let Some(of_field) = field(schema, name) {
                    check(inner, of_field, &join(path, name), faults);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                check(item, &schema["items"], &format!("{path}[{index}]"), faults);
            }
        }
        _ => {}
    }
}

fn has_type(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let root = json!({
            "type": "object", "required": ["spec"],
            "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer"},
                    "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                }},
                "status": {"type": "object", "properties": {"free": {"type": "object", PRESERVE: true}}},
            },
        });
        Schema {
            kind: "T".into(),
            list_kind: "TList".into(),
            namespaced: true,
            has_status: true,
            sections: sections(&root),
            root,
        }
    }

    #[test]
    fn unknown_fields_are_pruned_and_named() {
        let mut object = json!({
            "apiVersion": "a/v1", "kind": "T", "metadata": {"name": "x", "odd": 1},
            "spec": {"size": 1, "new": 2, "labels": {"any": "thing"}, "items": [{"name": "a", "extra": 1}]},
            "status": {"free": {"deep": {"er": null}}, "later": true}, "top": 1,
        });
        let mut pruned = schema().prune(&mut object);
        pruned.sort();
        assert_eq!(pruned, ["spec.items[0].extra", "spec.new", "status.later", "top"]);
        assert_eq!(object["status"], json!({"free": {"deep": {"er": null}}}));
        assert_eq!(object["metadata"]["odd"], 1);
    }

    #[test]
    fn defaults_types_and_required_fields() {
        let mut object = json!({"metadata": {}, "spec": {"size": 1}});
        schema().fill_in(&mut object);
        assert_eq!(object["spec"]["mode"], "A");
        assert!(schema().faults(&object).is_empty());
        assert_eq!(schema().faults(&json!({"metadata": {}})), ["spec: Required value"]);
        let wrong = schema().faults(&json!({"spec": {"size": "1", "mode": "C"}, "status": null}));
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert_eq!(schema().faults(&json!({"spec": {}})), ["spec.size: Required value"]);
    }
}

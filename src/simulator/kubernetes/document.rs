//! The parts of an object, and who may write which.

use serde_json::{Value, json};

use super::error::{Answer, Refusal};

pub(super) fn json_patched(mut object: Value, patch: &Value) -> Answer<Value> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
    json_patch::patch(&mut object, &patch).map_err(|error| Refusal::patch_does_not_fit(&error.to_string()))?;
    Ok(object)
}

/// What managers own: everything but type and system metadata.
pub(super) fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.retain(|name, _| name != "apiVersion" && name != "kind");
    }
    if let Some(metadata) = content["metadata"].as_object_mut() {
        metadata.retain(|name, _| {
            matches!(name.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences" | "generateName")
        });
        if metadata.is_empty() {
            set(&mut content, "metadata", None);
        }
    }
    content
}

/// What the generation counts: everything but metadata and status.
pub(super) fn desired(object: &Value) -> Value {
    let mut desired = content(object);
    set(&mut desired, "metadata", None);
    set(&mut desired, "status", None);
    desired
}

pub(super) fn set(object: &mut Value, name: &str, value: Option<&Value>) {
    let Some(fields) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(fields.insert(name.to_owned(), value.clone())),
        None => drop(fields.remove(name)),
    }
}

/// Metadata that only the server writes.
pub(super) fn keep_system_metadata(wanted: &mut Value, live: &Value) {
    let kept = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ];
    for name in ["apiVersion", "kind"] {
        set(wanted, name, live.get(name));
    }
    if !wanted["metadata"].is_object() {
        wanted["metadata"] = json!({});
    }
    for name in kept {
        set(&mut wanted["metadata"], name, live["metadata"].get(name));
    }
    set(&mut wanted["metadata"], "managedFields", None);
    for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = |value: &Value| value.is_null() || *value == json!({}) || *value == json!([]);
        if wanted["metadata"].get(name).is_some_and(empty) {
            set(&mut wanted["metadata"], name, None);
        }
    }
}

pub(super) fn has_new_finalizer(live: &Value, wanted: &Value) -> bool {
    let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let old = list(live);
    list(wanted).iter().any(|finalizer| !old.contains(finalizer))
}

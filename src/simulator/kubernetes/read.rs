//! Reading requests: get, list (paged), and what a watch starts with.

use serde_json::{Value, json};

use super::call::{Call, Target};
use super::error::{Answer, Refusal};
use super::selector::Selector;
use super::store::{ObjectKey, Store};

pub(super) fn get(store: &Store, call: &Call) -> Answer<Value> {
    let target = &call.target;
    if !matches!(target.subresource.as_deref(), None | Some("status")) {
        return Err(Refusal::no_such_path());
    }
    let key = ObjectKey::new(target, target.name.as_deref().unwrap_or_default());
    let stored = store.objects.get(&key).ok_or_else(|| Refusal::not_found(target))?;
    Ok(shown(stored.wire(), call))
}

pub(super) fn list(store: &Store, call: &Call) -> Answer<Value> {
    let selector = Selector::of(call)?;
    let limit = call.parameter("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let (version, after) = match call.parameter("continue").filter(|token| !token.is_empty()) {
        Some(token) => resume(token)?,
        None => (store.version, None),
    };
    if version < store.compacted {
        return Err(Refusal::expired());
    }
    let mut matching = store
        .within(&call.target)
        .filter(|(key, _)| after.as_ref().is_none_or(|after| (&key.namespace, &key.name) > (&after.0, &after.1)))
        .filter(|(_, stored)| selector.admits(&stored.object));
    let page: Vec<_> = matching.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    let left = matching.count();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let (1.., Some((last, _))) = (left, page.last()) {
        metadata["continue"] = json!(format!("{version} {} {}", last.namespace, last.name));
        metadata["remainingItemCount"] = json!(left);
    }
    let items: Vec<Value> = page.into_iter().map(|(_, stored)| shown(stored.wire(), call)).collect();
    let (api_version, kind) = list_type(store, call, &items);
    Ok(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items}))
}

fn resume(token: &str) -> Answer<(u64, Option<(String, String)>)> {
    let parts: Vec<&str> = token.splitn(3, ' ').collect();
    match parts.as_slice() {
        [version, namespace, name] => {
            let version = version.parse().map_err(|_| Refusal::bad_request("continue token is not valid"))?;
            Ok((version, Some(((*namespace).to_owned(), (*name).to_owned()))))
        }
        _ => Err(Refusal::bad_request("continue token is not valid")),
    }
}

fn list_type(store: &Store, call: &Call, items: &[Value]) -> (String, String) {
    if call.metadata_only {
        return ("meta.k8s.io/v1".into(), "PartialObjectMetadataList".into());
    }
    let of_items = || items.first().and_then(|item| item["kind"].as_str()).map(|kind| format!("{kind}List"));
    let kind = store.schema(&call.target).map(|schema| schema.list_kind.clone()).or_else(of_items);
    (call.target.api_version(), kind.unwrap_or_else(|| "List".into()))
}

/// The object in the form that the request accepts.
pub(super) fn shown(object: Value, call: &Call) -> Value {
    if !call.metadata_only {
        return object;
    }
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

/// A watch event line.
pub(super) fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

/// A bookmark at a version; `initial` ends the events with which a streaming list begins.
pub(super) fn bookmark(call: &Call, kind: &str, version: u64, initial: bool) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let (api_version, kind) = if call.metadata_only {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
    } else {
        (call.target.api_version(), kind)
    };
    event("BOOKMARK", &json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))
}

/// The kind of a collection's objects, as far as it is known.
pub(super) fn kind_of(store: &Store, target: &Target) -> String {
    let stored = || store.within(target).next().and_then(|(_, stored)| stored.object["kind"].as_str());
    let known = store.schema(target).map(|schema| schema.kind.as_str()).or_else(stored);
    known.unwrap_or("Unknown").to_owned()
}

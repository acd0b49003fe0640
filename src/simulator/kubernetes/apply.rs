//! Server-side apply, near enough: merge by shape, ownership per manager, removal of what its manager leaves out.

use serde_json::{Map, Value, json};

use super::error::{Answer, Refusal};
use super::fields::{self, ListKind, Path, Paths, Shape, Step};
use super::owners::{Owners, Writer};

/// The result of an apply: the merged object, and who owns what now.
pub(super) struct Applied {
    pub(super) object: Value,
    pub(super) owners: Owners,
}

/// Applies `body` (stripped of what the subresource does not take) onto `live`.
pub(super) fn apply(
    live: &Value,
    owners: &Owners,
    body: &Value,
    shape: Shape<'_>,
    writer: &Writer,
    force: bool,
) -> Answer<Applied> {
    let wanted = own_fields(body);
    let paths = fields::leaves(&wanted, shape);
    let conflicts: Paths = paths
        .iter()
        .filter(|path| fields::find(live, path).is_some_and(|value| Some(value) != fields::find(&wanted, path)))
        .filter(|path| !is_container(&paths, path) && owners.holding(path, &writer.owner).next().is_some())
        .cloned()
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(Refusal::apply_conflict(&describe(&conflicts, owners, writer)));
    }
    let mut object = merge(live, &wanted, shape);
    let mut owners = owners.clone();
    owners.take(&conflicts, &writer.owner);
    for path in left_out(&owners, &paths, writer) {
        fields::remove(&mut object, &path);
    }
    owners.set(writer, paths);
    Ok(Applied { object, owners })
}

/// What an applied configuration lays claim to: no nulls, no system metadata.
fn own_fields(body: &Value) -> Value {
    let mut wanted = without_nulls(body);
    if let Some(object) = wanted.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
    }
    if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| {
            matches!(name.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences" | "generateName")
        });
        if metadata.is_empty() {
            wanted.as_object_mut().and_then(|object| object.remove("metadata"));
        }
    }
    wanted
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, inner)| !inner.is_null())
                .map(|(name, inner)| (name.clone(), without_nulls(inner)))
                .collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

fn is_container(paths: &Paths, path: &Path) -> bool {
    paths.iter().any(|other| other.len() > path.len() && other.starts_with(path))
}

fn describe(conflicts: &Paths, owners: &Owners, writer: &Writer) -> Vec<String> {
    let holders = |path: &Path| -> Vec<String> {
        owners.holding(path, &writer.owner).map(|owner| format!("\"{}\"", owner.manager)).collect()
    };
    conflicts
        .iter()
        .map(|path| format!("conflict with {}: {}", holders(path).join(" and "), fields::display(path)))
        .collect()
}

/// What this manager owned, does not name any more, and no one else owns.
fn left_out(owners: &Owners, paths: &Paths, writer: &Writer) -> Vec<Path> {
    let mut kept: Paths = owners.of_others(&writer.owner);
    kept.extend(paths.iter().cloned());
    let keeps = |gone: &Path| kept.iter().any(|path| path.starts_with(gone));
    let gone: Vec<Path> = owners.paths(&writer.owner).into_iter().filter(|path| !keeps(path)).collect();
    let keyed = |path: &Path| matches!((path.len(), path.iter().rev().nth(1)), (2.., Some(Step::Item(_))));
    let is_key = |path: &Path| match (path.iter().rev().nth(1), path.last()) {
        (Some(Step::Item(keys)), Some(Step::Field(name))) => {
            serde_json::from_str::<Map<String, Value>>(keys).is_ok_and(|keys| keys.contains_key(name))
        }
        _ => false,
    };
    gone.into_iter().filter(|path| !(keyed(path) && is_key(path))).collect()
}

/// Lays `wanted` over `live`.
fn merge(live: &Value, wanted: &Value, shape: Shape<'_>) -> Value {
    match (live, wanted) {
        (Value::Object(old), Value::Object(new)) if shape.is_granular(live) => {
            let mut merged = old.clone();
            for (name, value) in new {
                let before = merged.get(name).cloned().unwrap_or_default();
                merged.insert(name.clone(), merge(&before, value, shape.field(name)));
            }
            Value::Object(merged)
        }
        (Value::Array(old), Value::Array(new)) => merge_lists(old, new, shape),
        _ => wanted.clone(),
    }
}

fn merge_lists(old: &[Value], new: &[Value], shape: Shape<'_>) -> Value {
    let mut merged = old.to_vec();
    match shape.list_kind() {
        ListKind::Atomic => return json!(new),
        ListKind::Set => merged.extend(new.iter().filter(|item| !old.contains(item)).cloned()),
        ListKind::Keyed(keys) => {
            for item in new {
                let step = fields::item_step(item, &keys);
                match merged.iter().position(|other| fields::item_step(other, &keys) == step) {
                    Some(index) => merged[index] = merge(&merged[index], item, shape.items()),
                    None => merged.push(item.clone()),
                }
            }
        }
    }
    Value::Array(merged)
}

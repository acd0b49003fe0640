//! Paths of fields, as server-side apply counts them: objects are walked through, lists only where they are keyed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema::{self, Schema};

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a keyed list with these keys (compact JSON).
    Item(String),
    /// An element of a set (compact JSON).
    Element(String),
}

pub(super) type Path = Vec<Step>;
pub(super) type Paths = BTreeSet<Path>;

/// How a list merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ListKind {
    Atomic,
    Set,
    Keyed(Vec<String>),
}

/// What is known about the merging of a value: from a schema, or by the names that Kubernetes itself uses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    Root(Option<&'a Schema>),
    Known(&'a Value),
    Named(&'static str),
}

impl Shape<'_> {
    pub(super) fn field(self, name: &str) -> Self {
        let by_name = || match name {
            "conditions" => Self::Named("conditions"),
            "finalizers" => Self::Named("finalizers"),
            "ownerReferences" => Self::Named("ownerReferences"),
            _ => Self::Named(""),
        };
        match self {
            Self::Root(Some(schema)) if name != "metadata" => {
                schema.root["properties"].get(name).map_or_else(by_name, Self::Known)
            }
            Self::Known(schema) => match schema::field(schema, name) {
                Some(known) if known.is_object() => Self::Known(known),
                _ => Self::Named(""),
            },
            Self::Root(_) | Self::Named(_) => by_name(),
        }
    }

    pub(super) fn items(self) -> Self {
        match self {
            Self::Known(schema) if schema["items"].is_object() => Self::Known(&schema["items"]),
            _ => Self::Named(""),
        }
    }

    pub(super) fn list_kind(self) -> ListKind {
        let keyed = |key: &str| ListKind::Keyed(vec![key.to_owned()]);
        match self {
            Self::Known(schema) => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => ListKind::Set,
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                    ListKind::Keyed(keys.filter_map(Value::as_str).map(str::to_owned).collect())
                }
                _ => ListKind::Atomic,
            },
            Self::Named("conditions") => keyed("type"),
            Self::Named("finalizers") => ListKind::Set,
            Self::Named("ownerReferences") => keyed("uid"),
            Self::Root(_) | Self::Named(_) => ListKind::Atomic,
        }
    }

    fn is_atomic_object(self) -> bool {
        matches!(self, Self::Known(schema) if schema["x-kubernetes-map-type"] == "atomic")
    }

    /// True if the object's fields have owners of their own.
    pub(super) fn is_granular(self, value: &Value) -> bool {
        value.is_object() && !self.is_atomic_object()
    }
}

/// The keys of an item of a keyed list.
pub(super) fn item_step(item: &Value, keys: &[String]) -> Step {
    let found: Map<String, Value> = keys.iter().map(|key| (key.clone(), item[key].clone())).collect();
    Step::Item(Value::Object(found).to_string())
}

/// Every owned place of a value.
pub(super) fn leaves(value: &Value, shape: Shape<'_>) -> Paths {
    let mut out = Paths::new();
    collect(value, shape, &mut Vec::new(), &mut out);
    out
}

fn collect(value: &Value, shape: Shape<'_>, path: &mut Path, out: &mut Paths) {
    match value {
        Value::Object(fields) if !fields.is_empty() && shape.is_granular(value) => {
            for (name, inner) in fields {
                path.push(Step::Field(name.clone()));
                collect(inner, shape.field(name), path, out);
                path.pop();
            }
        }
        Value::Array(items) => match shape.list_kind() {
            ListKind::Atomic => drop(out.insert(path.clone())),
            ListKind::Set => {
                out.extend(items.iter().map(|item| extended(path, Step::Element(item.to_string()))));
            }
            ListKind::Keyed(keys) => {
                for item in items {
                    path.push(item_step(item, &keys));
                    out.insert(path.clone());
                    collect(item, shape.items(), path, out);
                    path.pop();
                }
            }
        },
        _ => drop(out.insert(path.clone())),
    }
}

fn extended(path: &Path, step: Step) -> Path {
    let mut longer = path.clone();
    longer.push(step);
    longer
}

/// The value at a path.
pub(super) fn find<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => find(value.get(name)?, rest),
        Step::Item(_) | Step::Element(_) => find(&value[position(value, step)?], rest),
    }
}

fn position(list: &Value, step: &Step) -> Option<usize> {
    list.as_array()?.iter().position(|item| is_at(item, step))
}

fn is_at(item: &Value, step: &Step) -> bool {
    match step {
        Step::Element(text) => serde_json::from_str::<Value>(text).is_ok_and(|element| element == *item),
        Step::Item(text) => serde_json::from_str::<Map<String, Value>>(text)
            .is_ok_and(|keys| keys.iter().all(|(key, wanted)| item.get(key) == Some(wanted))),
        Step::Field(_) => false,
    }
}

/// Removes what is at a path, and the containers that it leaves empty.
pub(super) fn remove(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    let emptied = |inner: &Value| inner.as_object().is_some_and(Map::is_empty) || *inner == json!([]);
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest);
                if rest.is_empty() || emptied(inner) {
                    fields.remove(name);
                }
            }
        }
        (Step::Item(_) | Step::Element(_), list @ Value::Array(_)) => {
            let index = position(list, step);
            if let (Some(index), Value::Array(items)) = (index, list) {
                remove(&mut items[index], rest);
                if rest.is_empty() || emptied(&items[index]) {
                    items.remove(index);
                }
            }
        }
        _ => {}
    }
}

/// A path as people read it: `.status.conditions[{"type":"Ready"}].status`.
pub(super) fn display(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Field(name) => format!("{text}.{name}"),
        Step::Item(keys) => format!("{text}[{keys}]"),
        Step::Element(element) => format!("{text}[={element}]"),
    })
}

/// The wire form of a set of paths (`FieldsV1`).
pub(super) fn fields_v1(paths: &Paths) -> Value {
    let mut root = json!({});
    for path in paths {
        let mut place = &mut root;
        for step in path {
            let key = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Item(keys) => format!("k:{keys}"),
                Step::Element(element) => format!("v:{element}"),
            };
            if place.get(&key).is_none() {
                place[&key] = json!({});
            }
            place = &mut place[&key];
        }
        if matches!(path.last(), Some(Step::Item(_))) {
            place["."] = json!({});
        }
    }
    root
}

//! Who owns which fields: the managers of an object.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{self, Path, Paths, Shape};

/// A field manager: one name may own fields by applying and by updating, and on each subresource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) applies: bool,
    pub(super) subresource: Option<String>,
}

/// What an owner owns, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) paths: Paths,
    pub(super) api_version: String,
    pub(super) time: String,
}

/// All owners of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Owners(pub(super) BTreeMap<Owner, Share>);

/// A write: who makes it, with which API version, when.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) owner: Owner,
    pub(super) api_version: String,
    pub(super) time: String,
}

impl Owners {
    /// What everyone but this owner owns.
    pub(super) fn of_others(&self, owner: &Owner) -> Paths {
        self.0.iter().filter(|(other, _)| *other != owner).flat_map(|(_, share)| share.paths.clone()).collect()
    }

    pub(super) fn paths(&self, owner: &Owner) -> Paths {
        self.0.get(owner).map(|share| share.paths.clone()).unwrap_or_default()
    }

    /// The names of those who own the place, something in it, or something around it.
    pub(super) fn holding<'a>(&'a self, place: &'a Path, but: &'a Owner) -> impl Iterator<Item = &'a Owner> {
        let overlaps = move |path: &Path| path.starts_with(place) || place.starts_with(path);
        let holds = move |share: &Share| share.paths.iter().any(overlaps);
        self.0.iter().filter(move |(owner, share)| *owner != but && holds(share)).map(|(owner, _)| owner)
    }

    /// Sets what an applier owns; nothing else changes.
    pub(super) fn set(&mut self, writer: &Writer, paths: Paths) {
        if paths.is_empty() {
            self.0.remove(&writer.owner);
            return;
        }
        let share = Share { paths, api_version: writer.api_version.clone(), time: writer.time.clone() };
        match self.0.get_mut(&writer.owner) {
            Some(old) if old.paths == share.paths => {}
            _ => drop(self.0.insert(writer.owner.clone(), share)),
        }
    }

    /// Takes these places from everyone but the writer.
    pub(super) fn take(&mut self, places: &Paths, owner: &Owner) {
        let taken = |path: &Path| places.iter().any(|place| path.starts_with(place));
        for (_, share) in self.0.iter_mut().filter(|(other, _)| *other != owner) {
            share.paths.retain(|path| !taken(path));
        }
        self.0.retain(|_, share| !share.paths.is_empty());
    }

    /// Enters an ordinary write: the writer owns what it changed, and what is gone has no owner.
    pub(super) fn updated(&mut self, old: &Value, new: &Value, shape: Shape<'_>, writer: &Writer) {
        let (before, after) = (fields::leaves(old, shape), fields::leaves(new, shape));
        let changed: Paths = after
            .iter()
            .filter(|path| !before.contains(*path) || is_changed_leaf(old, new, path, &after))
            .cloned()
            .collect();
        for share in self.0.values_mut() {
            share.paths.retain(|path| after.contains(path));
        }
        self.take(&changed, &writer.owner);
        if !changed.is_empty() {
            let mut paths = self.paths(&writer.owner);
            paths.extend(changed);
            self.set(writer, paths);
        }
    }

    /// The wire form, `metadata.managedFields`.
    pub(super) fn managed_fields(&self) -> Value {
        let entry = |(owner, share): (&Owner, &Share)| {
            let mut entry = json!({
                "manager": owner.manager,
                "operation": if owner.applies { "Apply" } else { "Update" },
                "apiVersion": share.api_version,
                "time": share.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields::fields_v1(&share.paths),
            });
            if let Some(subresource) = &owner.subresource {
                entry["subresource"] = json!(subresource);
            }
            entry
        };
        Value::Array(self.0.iter().map(entry).collect())
    }
}

/// True if the value at the leaf differs. An item of a keyed list is judged by its fields, not as a whole.
fn is_changed_leaf(old: &Value, new: &Value, path: &Path, all: &Paths) -> bool {
    let has_parts = all.iter().any(|other| other.len() > path.len() && other.starts_with(path));
    !has_parts && fields::find(old, path) != fields::find(new, path)
}

//! The objects, their versions, and the history that watches read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::Target;
use super::owners::Owners;
use super::schema::{Schema, Schemas};

/// Changes kept for watches; who is further behind has to list again (410).
const HISTORY: usize = 20_000;

/// Group, resource, namespace (empty if cluster-scoped), name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(target: &Target, name: &str) -> Self {
        Self {
            group: target.group.clone(),
            resource: target.resource.clone(),
            namespace: target.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }

    pub(super) fn namespace_object(name: &str) -> Self {
        let (group, namespace) = (String::new(), String::new());
        Self { group, resource: "namespaces".into(), namespace, name: name.into() }
    }

    pub(super) fn is_in(&self, target: &Target) -> bool {
        self.group == target.group
            && self.resource == target.resource
            && target.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace)
            && target.name.as_ref().is_none_or(|name| *name == self.name)
    }
}

/// An object without its `managedFields`, and the owners that those show.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) object: Value,
    pub(super) owners: Owners,
}

impl Stored {
    /// The object as it is answered.
    pub(super) fn wire(&self) -> Value {
        let mut object = self.object.clone();
        let managed = self.owners.managed_fields();
        if managed != json!([]) {
            object["metadata"]["managedFields"] = managed;
        }
        object
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.object["metadata"].get("deletionTimestamp").is_some()
    }

    pub(super) fn version(&self) -> &str {
        self.object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }

    pub(super) fn has_finalizers(&self) -> bool {
        self.object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
    }
}

/// One change, as watches see it.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: ObjectKey,
    pub(super) before: Option<Arc<Value>>,
    /// The object after the change; as it was last if `deleted`.
    pub(super) object: Arc<Value>,
    pub(super) deleted: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<ObjectKey, Stored>,
    pub(super) version: u64,
    /// The history before this version is gone.
    pub(super) compacted: u64,
    changes: VecDeque<Change>,
    pub(super) schemas: Schemas,
    made: u64,
}

impl Store {
    pub(super) fn schema(&self, target: &Target) -> Option<&Schema> {
        self.schemas.get(&(target.group.clone(), target.resource.clone(), target.version.clone()))
    }

    /// A number that was not given before; names and uids are made of it.
    pub(super) fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    pub(super) fn next_uid(&mut self) -> String {
        let number = self.next_number();
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).to_string()
    }

    /// Stores the object under the next version.
    pub(super) fn put(&mut self, key: ObjectKey, mut stored: Stored) -> Value {
        self.version += 1;
        stored.object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let wire = stored.wire();
        let before = self.objects.insert(key.clone(), stored).map(|old| Arc::new(old.wire()));
        self.record(key, before, wire.clone(), false);
        wire
    }

    /// Removes the object; its last state carries the version of the removal.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Value> {
        let mut stored = self.objects.remove(key)?;
        let before = Some(Arc::new(stored.wire()));
        self.version += 1;
        stored.object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let wire = stored.wire();
        self.record(key.clone(), before, wire.clone(), true);
        Some(wire)
    }

    fn record(&mut self, key: ObjectKey, before: Option<Arc<Value>>, object: Value, deleted: bool) {
        self.changes.push_back(Change { version: self.version, key, before, object: Arc::new(object), deleted });
        while self.changes.len() > HISTORY {
            self.compacted = self.changes.pop_front().map_or(self.compacted, |change| change.version);
        }
    }

    /// Forgets the history: a watch from an older version has to list again.
    pub(super) fn compact(&mut self) {
        self.changes.clear();
        self.compacted = self.version;
    }

    /// The objects of a collection in order of namespace and name.
    pub(super) fn within<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = (&'a ObjectKey, &'a Stored)> {
        let mut first = ObjectKey::new(target, "");
        first.name.clear();
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(key, _)| key.group == target.group && key.resource == target.resource)
            .filter(|(key, _)| key.is_in(target))
    }

    /// The changes of a collection after a version.
    pub(super) fn since<'a>(&'a self, version: u64, target: &'a Target) -> impl Iterator<Item = &'a Change> {
        let from = self.changes.partition_point(|change| change.version <= version);
        self.changes.range(from..).filter(|change| change.key.is_in(target))
    }
}

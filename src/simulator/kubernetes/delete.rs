//! Deletion: preconditions, finalizers, and the two controllers that end what an owner or a namespace leaves behind.

use serde_json::{Value, json};

use super::call::Target;
use super::error::{Answer, Refusal};
use super::store::{ObjectKey, Store};
use super::write::{Write, Written};

const FOREGROUND: &str = "foregroundDeletion";

impl Write<'_> {
    pub(super) fn delete_named(&mut self) -> Answer<Written> {
        let name = self.target().name.clone().unwrap_or_default();
        let key = ObjectKey::new(self.target(), &name);
        self.delete(&key)
    }

    pub(super) fn delete(&mut self, key: &ObjectKey) -> Answer<Written> {
        let live = self.store.objects.get(key).ok_or_else(|| Refusal::not_found(self.target()))?;
        let metadata = &live.object["metadata"];
        let conditions = &self.call.body["preconditions"];
        for name in ["uid", "resourceVersion"] {
            if conditions[name].as_str().is_some_and(|wanted| metadata[name] != wanted) {
                let why = format!("Precondition failed: {name} in precondition differs from the object's");
                return Err(Refusal::conflict(self.target(), &why));
            }
        }
        if self.call.dry_run() {
            return Ok(Written::answer(live.wire(), false));
        }
        let policy = self.call.body["propagationPolicy"].as_str().or(self.call.parameter("propagationPolicy"));
        let foreground = policy == Some("Foreground");
        Ok(begin(self.store, key, &self.now, foreground))
    }
}

/// Marks the object as being deleted, or removes it if nothing holds it.
fn begin(store: &mut Store, key: &ObjectKey, now: &str, foreground: bool) -> Written {
    let Some(mut stored) = store.objects.get(key).cloned() else { return Written::answer(Value::Null, false) };
    if stored.is_terminating() {
        return Written::answer(stored.wire(), false);
    }
    let is_namespace = *key == ObjectKey::namespace_object(&key.name);
    if foreground {
        let mut finalizers = stored.object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        finalizers.push(json!(FOREGROUND));
        stored.object["metadata"]["finalizers"] = json!(finalizers);
    }
    if !stored.has_finalizers() && !is_namespace {
        let uid = stored.object["metadata"]["uid"].clone();
        store.remove(key);
        let details = json!({"name": key.name, "group": key.group, "kind": key.resource, "uid": uid});
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        return Written::answer(status, true);
    }
    stored.object["metadata"]["deletionTimestamp"] = json!(now);
    stored.object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    if is_namespace {
        stored.object["status"] = json!({"phase": "Terminating"});
    } else if let Some(generation) = stored.object["metadata"]["generation"].as_i64() {
        stored.object["metadata"]["generation"] = json!(generation + 1);
    }
    Written::answer(store.put(key.clone(), stored), true)
}

/// One pass of garbage collector and namespace controller; true if it changed something.
pub(super) fn collect(store: &mut Store, now: &str) -> bool {
    let keys: Vec<ObjectKey> = store.objects.keys().cloned().collect();
    let mut changed = false;
    for key in keys {
        changed |= collect_orphan(store, &key, now) || end_namespace(store, &key, now) || end_foreground(store, &key);
    }
    changed
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().filter_map(|owner| owner["uid"].as_str())
}

fn collect_orphan(store: &mut Store, key: &ObjectKey, now: &str) -> bool {
    let Some(stored) = store.objects.get(key).filter(|stored| !stored.is_terminating()) else { return false };
    let alive = |uid: &str| {
        store.objects.values().any(|other| {
            let finalizers = &other.object["metadata"]["finalizers"];
            let leaving =
                other.is_terminating() && finalizers.as_array().is_some_and(|list| list.contains(&json!(FOREGROUND)));
            other.object["metadata"]["uid"] == uid && !leaving
        })
    };
    let orphaned = owners(&stored.object).next().is_some() && !owners(&stored.object).any(alive);
    orphaned && begin(store, key, now, false).changed
}

fn end_foreground(store: &mut Store, key: &ObjectKey) -> bool {
    let Some(stored) = store.objects.get(key).filter(|stored| stored.is_terminating()).cloned() else { return false };
    let Some(finalizers) = stored.object["metadata"]["finalizers"].as_array() else { return false };
    let uid = stored.object["metadata"]["uid"].as_str().unwrap_or_default();
    let has_children = store.objects.values().any(|other| owners(&other.object).any(|owner| owner == uid));
    if has_children || !finalizers.contains(&json!(FOREGROUND)) {
        return false;
    }
    let left: Vec<&Value> = finalizers.iter().filter(|name| **name != json!(FOREGROUND)).collect();
    let mut next = stored.clone();
    next.object["metadata"]["finalizers"] = json!(left);
    let gone = left.is_empty();
    store.put(key.clone(), next);
    if gone {
        store.remove(key);
    }
    true
}

fn end_namespace(store: &mut Store, key: &ObjectKey, now: &str) -> bool {
    let is_leaving = *key == ObjectKey::namespace_object(&key.name)
        && store.objects.get(key).is_some_and(super::store::Stored::is_terminating);
    if !is_leaving {
        return false;
    }
    let inside: Vec<ObjectKey> = store.objects.keys().filter(|other| other.namespace == key.name).cloned().collect();
    if inside.is_empty() {
        return store.remove(key).is_some();
    }
    let mut changed = false;
    for inner in &inside {
        changed |= begin(store, inner, now, false).changed;
    }
    changed
}

/// The objects that a deletion of a whole collection is about.
pub(super) fn members(store: &Store, target: &Target, admits: impl Fn(&Value) -> bool) -> Vec<ObjectKey> {
    store.within(target).filter(|(_, stored)| admits(&stored.object)).map(|(key, _)| key.clone()).collect()
}

//! Deletion: preconditions, finalizers, and the two controllers that end what an owner or a namespace leaves behind.

use serde_json::{Value, json};

use super::call::Target;
use super::error::{Answer, Refusal};
use super::store::{ObjectKey, Store, Stored};
use super::write::{Write, Written};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

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
        let finalizer = match policy {
            Some("Foreground") => Some(FOREGROUND),
            Some("Orphan") => Some(ORPHAN),
            _ => None,
        };
        Ok(begin(self.store, key, &self.now, finalizer))
    }
}

/// Marks the object as being deleted, or removes it if nothing holds it. `finalizer`: what the garbage collector is to do
/// first.
fn begin(store: &mut Store, key: &ObjectKey, now: &str, finalizer: Option<&str>) -> Written {
    let Some(mut stored) = store.objects.get(key).cloned() else { return Written::answer(Value::Null, false) };
    if stored.is_terminating() {
        return Written::answer(stored.wire(), false);
    }
    let is_namespace = *key == ObjectKey::namespace_object(&key.name);
    if let Some(finalizer) = finalizer {
        let mut finalizers = stored.object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        finalizers.push(json!(finalizer));
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
        changed |= collect_orphan(store, &key, now)
            || end_namespace(store, &key, now)
            || end_foreground(store, &key)
            || end_orphaning(store, &key);
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
    orphaned && begin(store, key, now, None).changed
}

fn end_foreground(store: &mut Store, key: &ObjectKey) -> bool {
    let Some(uid) = held(store, key, FOREGROUND) else { return false };
    let has_children = store.objects.values().any(|other| owners(&other.object).any(|owner| owner == uid));
    if !has_children {
        release(store, key, FOREGROUND);
    }
    !has_children
}

/// Takes an owner from all that it owns, and then lets it go.
fn end_orphaning(store: &mut Store, key: &ObjectKey) -> bool {
    let Some(uid) = held(store, key, ORPHAN) else { return false };
    let is_child = |stored: &Stored| owners(&stored.object).any(|owner| owner == uid);
    let children = store.objects.iter().filter(|(_, stored)| is_child(stored));
    let children: Vec<_> = children.map(|(key, stored)| (key.clone(), stored.clone())).collect();
    for (child, mut stored) in children {
        let references = stored.object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let left: Vec<Value> = references.into_iter().filter(|owner| owner["uid"] != json!(uid)).collect();
        stored.object["metadata"]["ownerReferences"] = json!(left);
        store.put(child, stored);
    }
    release(store, key, ORPHAN);
    true
}

/// The UID of an object that is being deleted and waits for the garbage collector to do what `finalizer` says.
fn held(store: &Store, key: &ObjectKey, finalizer: &str) -> Option<String> {
    let stored = store.objects.get(key).filter(|stored| stored.is_terminating())?;
    let finalizers = stored.object["metadata"]["finalizers"].as_array()?;
    finalizers.contains(&json!(finalizer)).then(|| stored.object["metadata"]["uid"].as_str().map(str::to_owned))?
}

/// Takes a finalizer from an object that is being deleted; it is gone if that was the last one.
fn release(store: &mut Store, key: &ObjectKey, finalizer: &str) {
    let Some(mut next) = store.objects.get(key).cloned() else { return };
    let finalizers = next.object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let left: Vec<Value> = finalizers.into_iter().filter(|name| *name != json!(finalizer)).collect();
    let gone = left.is_empty();
    next.object["metadata"]["finalizers"] = json!(left);
    store.put(key.clone(), next);
    if gone {
        store.remove(key);
    }
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
        changed |= begin(store, inner, now, None).changed;
    }
    changed
}

/// The objects that a deletion of a whole collection is about.
pub(super) fn members(store: &Store, target: &Target, admits: impl Fn(&Value) -> bool) -> Vec<ObjectKey> {
    store.within(target).filter(|(_, stored)| admits(&stored.object)).map(|(key, _)| key.clone()).collect()
}

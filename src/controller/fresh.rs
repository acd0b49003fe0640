//! What this process has written itself, as long as its watches are behind that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};

use super::connection::Key;
use super::index::{Stored, name_of, stored};

/// Objects that were written, or read live. Clones share them.
#[derive(Debug)]
pub struct Written<K>(Arc<Mutex<HashMap<Key, Arc<K>>>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Written<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Stored> Written<K> {
    /// This is what the object is now.
    pub fn note(&self, object: &K) {
        let mut all = self.all();
        let name = name_of(object);
        if all.get(&name).is_none_or(|known| known.uid() != object.uid() || is_older(&**known, object)) {
            all.insert(name, Arc::new(object.clone()));
        }
    }

    /// The object as a watch shows it, or as this process knows it to be by now.
    pub fn newest(&self, seen: Arc<K>) -> Arc<K> {
        match self.all().get(&name_of(&*seen)) {
            Some(written) if is_older(&*seen, &**written) => Arc::clone(written),
            _ => seen,
        }
    }

    /// Forgets what the watch has caught up with, and what is gone.
    pub fn settle(&self, store: &Store<K>) {
        self.all().retain(|name, written| stored(store, name).is_some_and(|seen| is_older(&*seen, &**written)));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Arc<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `one` is an older version of the very object that `other` is. Versions of one kind can be compared as
/// numbers.
fn is_older<K: Resource>(one: &K, other: &K) -> bool {
    let version = |object: &K| object.resource_version().and_then(|text| text.parse::<u64>().ok());
    one.uid() == other.uid() && version(one) < version(other)
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::api::Worker;

    fn worker(uid: &str, version: &str) -> Worker {
        let metadata = json!({"name": "a", "namespace": "ns", "uid": uid, "resourceVersion": version});
        let spec = json!({"hypervisorRef": {"name": "h"}, "image": {"template": "t"}, "networks": []});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn the_newer_one_of_an_object_counts_and_another_object_of_its_name_is_another() {
        let written = Written::default();
        written.note(&worker("u", "10"));
        written.note(&worker("u", "9"));
        let newest = |uid, version| written.newest(Arc::new(worker(uid, version))).resource_version().unwrap();
        assert_eq!(newest("u", "9"), "10");
        assert_eq!(newest("u", "11"), "11");
        assert_eq!(newest("v", "8"), "8");
    }

    #[test]
    fn what_the_watch_has_caught_up_with_is_forgotten() {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(worker("u", "9")));
        let written = Written::default();
        written.note(&worker("u", "10"));
        written.settle(&store);
        assert_eq!(written.all().len(), 1);
        writer.apply_watcher_event(&Event::Apply(worker("u", "10")));
        written.settle(&store);
        assert!(written.all().is_empty());
    }
}

//! Objects of a store by what they name: a look at all of them for each question would take too long.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use super::connection::Key;

/// What kube asks of the objects of a store.
pub trait Stored: Resource<DynamicType = ()> + Clone + 'static {}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Stored for K {}

/// The objects of a store by a key that each of them may have.
#[derive(Debug)]
pub struct Index<K> {
    key_of: fn(&K) -> Option<Key>,
    all: RwLock<All<K>>,
}

#[derive(Debug)]
struct All<K> {
    /// The objects with a key, by namespace and name.
    by_key: HashMap<Key, BTreeMap<Key, Arc<K>>>,
    /// The key that each object has there.
    keys: HashMap<Key, Key>,
}

impl<K> Default for All<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), keys: HashMap::new() }
    }
}

/// Namespace and name of an object.
pub fn name_of<K: Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The object of this namespace and name.
pub fn stored<K: Stored>(store: &Store<K>, (namespace, name): &Key) -> Option<Arc<K>> {
    store.get(&ObjectRef::new(name).within(namespace))
}

impl<K: Stored> Index<K> {
    /// An index by what `key_of` says; empty until it is told what the watch shows.
    pub fn new(key_of: fn(&K) -> Option<Key>) -> Self {
        Self { key_of, all: RwLock::default() }
    }

    /// The objects with this key, in the order of their names.
    pub fn of(&self, key: &Key) -> Vec<Arc<K>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.by_key.get(key).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// The store has taken this event in.
    pub fn settle(&self, store: &Store<K>, event: &Event<K>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            // Until the list is complete the store shows what it showed before.
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                *all = All::default();
                for object in store.state() {
                    let name = name_of(object.as_ref());
                    all.put(name, (self.key_of)(&object), object);
                }
            }
            Event::Apply(object) | Event::Delete(object) => {
                let name = name_of(object);
                all.take(&name);
                // An object of another UID may have its name by now.
                if let Some(now) = stored(store, &name) {
                    all.put(name, (self.key_of)(&now), now);
                }
            }
        }
    }
}

impl<K> All<K> {
    fn put(&mut self, name: Key, key: Option<Key>, object: Arc<K>) {
        let Some(key) = key else { return };
        self.by_key.entry(key.clone()).or_default().insert(name.clone(), object);
        self.keys.insert(name, key);
    }

    fn take(&mut self, name: &Key) {
        let Some(key) = self.keys.remove(name) else { return };
        if let Some(objects) = self.by_key.get_mut(&key) {
            objects.remove(name);
            if objects.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }
}

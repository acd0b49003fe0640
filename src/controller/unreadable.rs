//! Objects that this program cannot read: a newer or an older CRD let a value in that its types do not have.
//!
//! One of them must not end the watch of all others. Nothing is done for it; and while it is there nothing may be
//! concluded from its absence from the store: it exists, its VM is no orphan, its VM's id is taken, and what it needs
//! must stay.

mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use self::tell::tend;
use super::connection::Key;

/// An object, or what can be told of one that does not fit its type.
///
/// `kube::core::DeserializeGuard` does the same but keeps the metadata alone, and copies each object on the way.
#[derive(Debug, Clone)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that does not fit its type.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Why it cannot be read.
    pub error: String,
    /// All of it, without what nobody reads.
    object: Value,
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        let error = match K::deserialize(&object) {
            Ok(readable) => return Ok(Self(Ok(readable))),
            Err(error) => error.to_string(),
        };
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let metadata = ObjectMeta::deserialize(&object["metadata"]).map_err(D::Error::custom)?;
        Ok(Self(Err(Unreadable { metadata, error, object })))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

/// Namespace and name of an object.
fn key(metadata: &ObjectMeta) -> Key {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

impl Unreadable {
    /// Namespace and name.
    pub fn key(&self) -> Key {
        key(&self.metadata)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.object.pointer(pointer).and_then(Value::as_str)
    }

    /// Whether this Worker names that Hypervisor, or may: if it cannot be told which one it names.
    pub fn may_need(&self, (namespace, hypervisor): &Key) -> bool {
        self.metadata.namespace.as_ref() == Some(namespace)
            && self.text("/spec/hypervisorRef/name").is_none_or(|name| name == hypervisor)
    }

    /// The ids of the VMs that this Worker has, or may be getting.
    pub fn vm_ids(&self) -> impl Iterator<Item = &str> {
        ["/status/vm/id", "/status/operation/target/vmId"].into_iter().filter_map(|pointer| self.text(pointer))
    }

    /// The name of this Worker's VM.
    pub fn vm_name(&self) -> &str {
        self.text("/spec/vmName").unwrap_or_else(|| self.name())
    }

    /// The static addresses that this Worker declares.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let networks = self.object.pointer("/spec/networks").and_then(Value::as_array).into_iter().flatten();
        let texts = networks.flat_map(|network| ["/ipv4/address", "/ipv6/address"].map(|at| network.pointer(at)));
        texts.filter_map(|text| text?.as_str()?.split('/').next()?.parse().ok())
    }
}

/// The objects of one kind that cannot be read. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Unreadables(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    all: BTreeMap<Key, Arc<Unreadable>>,
    /// Those that the present list has shown so far.
    relisted: BTreeSet<Key>,
    /// Those that can be read again and were not told of yet.
    recovered: BTreeSet<Key>,
}

impl Unreadables {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by namespace and name.
    pub fn all(&self) -> Vec<Arc<Unreadable>> {
        self.held().all.values().cloned().collect()
    }

    /// The one of this namespace and name.
    pub fn get(&self, key: &Key) -> Option<Arc<Unreadable>> {
        self.held().all.get(key).cloned()
    }

    /// The Workers that need this Hypervisor, or may.
    pub fn of(&self, hypervisor: &Key) -> Vec<Arc<Unreadable>> {
        self.held().all.values().filter(|worker| worker.may_need(hypervisor)).cloned().collect()
    }

    /// Those that can be read again, each once.
    pub fn recovered(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.held().recovered)
    }

    /// What the store is to see of an event of the watch. There is no moment at which an object that exists is neither
    /// here nor there.
    pub fn sift<K>(&self, event: Event<Guarded<K>>, store: &Store<K>) -> Option<Event<K>>
    where
        K: Resource<DynamicType = ()> + Clone,
    {
        let in_store = |object: &Unreadable| {
            let (namespace, name) = object.key();
            store.get(&ObjectRef::new(&name).within(&namespace)).map(|before| Event::Delete((*before).clone()))
        };
        match event {
            Event::Init => {
                self.held().relisted.clear();
                Some(Event::Init)
            }
            Event::InitDone => Some(Event::InitDone),
            Event::InitApply(Guarded(Ok(object))) => Some(Event::InitApply(object)),
            Event::Apply(Guarded(Ok(object))) => Some(Event::Apply(object)),
            Event::Delete(Guarded(Ok(object))) => {
                self.held().all.remove(&key(object.meta()));
                Some(Event::Delete(object))
            }
            Event::InitApply(Guarded(Err(object))) => {
                self.held().relisted.insert(object.key());
                self.put::<K>(object);
                None
            }
            Event::Apply(Guarded(Err(object))) => {
                let before = in_store(&object);
                self.put::<K>(object);
                before
            }
            Event::Delete(Guarded(Err(object))) => {
                self.held().all.remove(&object.key());
                in_store(&object)
            }
        }
    }

    /// The store has taken this event in: what it has now is not unreadable any more. Whether there was such an object.
    pub fn settle<K: Resource>(&self, event: &Event<K>) -> bool {
        let mut held = self.held();
        let Held { all, relisted, recovered } = &mut *held;
        match event {
            Event::Apply(object) => recovered.extend(all.remove_entry(&key(object.meta())).map(|(key, _)| key)),
            Event::InitDone => {
                let gone: BTreeSet<Key> = all.keys().filter(|key| !relisted.contains(*key)).cloned().collect();
                all.retain(|key, _| !gone.contains(key));
                recovered.extend(gone);
            }
            Event::Init | Event::InitApply(_) | Event::Delete(_) => {}
        }
        !recovered.is_empty()
    }

    fn put<K: Resource<DynamicType = ()>>(&self, object: Unreadable) {
        let (key, object) = (object.key(), Arc::new(object));
        let before = self.held().all.insert(key.clone(), Arc::clone(&object));
        if before.is_none_or(|before| before.error != object.error) {
            let (kind, error, (namespace, name)) = (K::kind(&()), &object.error, key);
            tracing::warn!(%kind, %namespace, %name, %error, "an object cannot be read; nothing is done for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;
    use crate::api::Worker;

    fn guarded(name: &str, policy: &str) -> Guarded<Worker> {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "managedFields": [{}]},
            "spec": {
                "hypervisorRef": {"name": "lab"}, "proxmox": {"host": "pve1", "storage": "local-lvm"},
                "image": {"template": "debian"}, "test": {"policy": policy},
                "networks": [{"name": "lan", "bridge": "vmbr0", "ipv4": {"method": "Static", "address": "10.0.0.9/24"}}],
            },
            "status": {"vm": {"id": "5001"}, "operation": {"target": {"vmId": "5002"}}},
        }))
        .unwrap()
    }

    #[test]
    fn what_can_be_told_of_an_unreadable_object_is_told() {
        assert!(guarded("w1", "Manual").0.is_ok());
        let worker = guarded("w1", "Nightly").0.unwrap_err();
        assert!(worker.error.contains("Nightly"), "{}", worker.error);
        assert_eq!(worker.metadata.uid.as_deref(), Some("uid-w1"));
        assert_eq!(worker.metadata.managed_fields, None);
        assert_eq!(worker.vm_ids().collect::<Vec<_>>(), ["5001", "5002"]);
        assert_eq!((worker.vm_name(), worker.addresses().count()), ("w1", 1));
        let hypervisor = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert!(worker.may_need(&hypervisor("ns", "lab")) && !worker.may_need(&hypervisor("ns", "other")));
        assert!(!worker.may_need(&hypervisor("other", "lab")));
        let nameless = Unreadable { object: Value::Null, ..worker };
        assert!(nameless.may_need(&hypervisor("ns", "other")), "nobody can tell");
    }

    /// Passes events on to a store, as the watch does, and sees that no object is missed in between.
    fn pass(events: Vec<Event<Guarded<Worker>>>) -> (Vec<String>, Vec<String>, Vec<String>) {
        let (store, mut writer) = reflector::store();
        let unreadable = Unreadables::default();
        for event in events {
            if let Some(event) = unreadable.sift(event, &store) {
                writer.apply_watcher_event(&event);
                unreadable.settle(&event);
            }
        }
        let mut readable: Vec<_> = store.state().iter().filter_map(|worker| worker.metadata.name.clone()).collect();
        readable.sort();
        let names = |keys: Vec<Key>| keys.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        let held = unreadable.all().iter().map(|object| object.key()).collect();
        (readable, names(held), names(unreadable.recovered().into_iter().collect()))
    }

    #[test]
    fn an_object_is_in_the_store_or_among_the_unreadable() {
        let good = |name| guarded(name, "Manual");
        let bad = |name| guarded(name, "Nightly");
        let list = || vec![Event::Init, Event::InitApply(good("a")), Event::InitApply(bad("b")), Event::InitDone];
        let after = |more: Vec<Event<Guarded<Worker>>>| pass(list().into_iter().chain(more).collect());
        let is = |readable: &[&str], unreadable: &[&str], recovered: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            (owned(readable), owned(unreadable), owned(recovered))
        };
        assert_eq!(after(vec![]), is(&["a"], &["b"], &[]));
        assert_eq!(after(vec![Event::Apply(bad("a"))]), is(&[], &["a", "b"], &[]));
        assert_eq!(after(vec![Event::Apply(good("b"))]), is(&["a", "b"], &[], &["b"]));
        assert_eq!(after(vec![Event::Apply(bad("a")), Event::Delete(good("a"))]), is(&[], &["b"], &[]));
        assert_eq!(after(vec![Event::Delete(bad("a")), Event::Delete(bad("b"))]), is(&[], &[], &[]));
        let relist = vec![Event::Init, Event::InitApply(bad("a")), Event::InitDone];
        assert_eq!(after(relist), is(&[], &["a"], &["b"]));
        let half = vec![Event::Init, Event::InitApply(bad("a"))];
        assert_eq!(after(half), is(&["a"], &["a", "b"], &[]));
    }
}

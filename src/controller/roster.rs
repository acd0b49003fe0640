//! The Workers as the watch shows them, by the Hypervisor that they name: a poll, and each look of a worker at its
//! neighbours, would otherwise look at all of them.

use std::ops::Deref;
use std::sync::Arc;

use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;

use super::connection::Key;
use super::fresh::Written;
use super::index::Index;
use super::snapshot::hypervisor_key;
use crate::api::Worker;

/// All Workers, as the watch shows them.
#[derive(Clone)]
pub struct Roster {
    store: Store<Worker>,
    /// The same objects by the Hypervisor that they name; none where nobody says what the watch has shown.
    by_hypervisor: Option<Arc<Index<Worker>>>,
    written: Written<Worker>,
}

/// A store that is filled by hand: to find a few Workers it looks at all.
impl From<Store<Worker>> for Roster {
    fn from(store: Store<Worker>) -> Self {
        Self { store, by_hypervisor: None, written: Written::default() }
    }
}

impl Deref for Roster {
    type Target = Store<Worker>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl Roster {
    /// A store of which [`Self::settle`] is told all that the watch shows.
    pub fn told(store: Store<Worker>) -> Self {
        let index = Index::new(|worker| Some(hypervisor_key(worker)));
        Self { by_hypervisor: Some(Arc::new(index)), ..Self::from(store) }
    }

    /// The Workers that name a Hypervisor.
    pub fn of(&self, hypervisor: &Key) -> Vec<Arc<Worker>> {
        match &self.by_hypervisor {
            Some(index) => index.of(hypervisor),
            None => self.store.state_filter(|worker| hypervisor_key(worker) == *hypervisor),
        }
    }

    /// The Workers that name a Hypervisor, none older than what this process has written itself of its claims.
    pub fn newest_of(&self, hypervisor: &Key) -> Vec<Arc<Worker>> {
        self.of(hypervisor).into_iter().map(|worker| self.newest(worker)).collect()
    }

    /// A Worker as the watch shows it, or as this process knows it to be by now.
    pub fn newest(&self, seen: Arc<Worker>) -> Arc<Worker> {
        self.written.newest(seen)
    }

    /// This process has written the claims of a Worker.
    pub fn note(&self, worker: &Worker) {
        self.written.note(worker);
    }

    /// Forgets what the watch has caught up with.
    pub fn settle_written(&self) {
        self.written.settle(&self.store);
    }

    /// The store has taken this event in.
    pub fn settle(&self, event: &Event<Worker>) {
        if let Some(index) = &self.by_hypervisor {
            index.settle(&self.store, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;

    fn worker(name: &str, hypervisor: &str, version: &str) -> Worker {
        let spec = json!({
            "hypervisorRef": {"name": hypervisor}, "proxmox": {"host": "pve1", "storage": "s"},
            "image": {"template": "t"}, "networks": [],
        });
        let metadata = json!({"name": name, "namespace": "backup", "resourceVersion": version});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn what_was_told_is_what_a_look_at_all_would_find() {
        let (store, mut writer) = reflector::store();
        let (told, looking) = (Roster::told(store.clone()), Roster::from(store));
        let of = |roster: &Roster, hypervisor: &str| {
            let workers = roster.of(&("backup".to_owned(), hypervisor.to_owned()));
            let mut found: Vec<_> = workers.iter().map(|one| (one.name_any(), one.resource_version())).collect();
            found.sort();
            found
        };
        let listed = |workers: Vec<Worker>| {
            let workers = workers.into_iter().map(Event::InitApply);
            [Event::Init].into_iter().chain(workers).chain([Event::InitDone]).collect::<Vec<_>>()
        };
        let first = listed(vec![worker("a", "one", "1"), worker("b", "one", "1"), worker("c", "two", "1")]);
        let changes = vec![
            Event::Apply(worker("a", "one", "2")),
            Event::Apply(worker("d", "three", "3")),
            Event::Delete(worker("c", "two", "4")),
        ];
        let again = listed(vec![worker("a", "two", "5"), worker("d", "three", "3")]);
        for event in first.into_iter().chain(changes).chain(again) {
            writer.apply_watcher_event(&event);
            told.settle(&event);
            for hypervisor in ["one", "two", "three"] {
                assert_eq!(of(&told, hypervisor), of(&looking, hypervisor), "{hypervisor} after {event:?}");
            }
        }
        assert_eq!(of(&told, "two"), [("a".to_owned(), Some("5".to_owned()))]);
        assert_eq!(of(&told, "one"), []);
    }
}

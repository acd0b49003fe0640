//! The `WorkerTask`s as the watch shows them, never older than what this process has written itself; by the Worker that
//! they are with, and by the session that they belong to.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;

use super::connection::Key;
use super::fresh::Written;
use super::index::{Index, stored};
use crate::api::WorkerTask;

/// All `WorkerTask`s. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    store: Store<WorkerTask>,
    indices: Option<Arc<Indices>>,
    written: Written<WorkerTask>,
}

struct Indices {
    by_worker: Index<WorkerTask>,
    by_session: Index<WorkerTask>,
}

/// A store that is filled by hand: to find a few `WorkerTask`s it looks at all.
impl From<Store<WorkerTask>> for Tasks {
    fn from(store: Store<WorkerTask>) -> Self {
        Self { store, indices: None, written: Written::default() }
    }
}

/// Namespace and name of the Worker that a task is with, or was with last.
pub fn worker_key(task: &WorkerTask) -> Option<Key> {
    let worker = task.status.as_ref()?.worker.clone()?;
    Some((task.namespace().unwrap_or_default(), worker))
}

/// Namespace and name of the session that a task names.
pub fn session_key(task: &WorkerTask) -> Key {
    (task.namespace().unwrap_or_default(), task.spec.session_ref.name.clone())
}

impl Tasks {
    /// A store of which [`Self::settle`] is told all that the watch shows.
    pub fn told(store: Store<WorkerTask>) -> Self {
        let by_session = Index::new(|task| Some(session_key(task)));
        let indices = Indices { by_worker: Index::new(worker_key), by_session };
        Self { indices: Some(Arc::new(indices)), ..Self::from(store) }
    }

    /// The store has taken this event in.
    pub fn settle(&self, event: &Event<WorkerTask>) {
        if let Some(indices) = &self.indices {
            indices.by_worker.settle(&self.store, event);
            indices.by_session.settle(&self.store, event);
        }
    }

    /// The task of this namespace and name.
    pub fn get(&self, name: &Key) -> Option<Arc<WorkerTask>> {
        stored(&self.store, name).map(|task| self.written.newest(task))
    }

    /// All tasks.
    pub fn all(&self) -> Vec<Arc<WorkerTask>> {
        self.newest_of(self.store.state())
    }

    /// The tasks that say that they are, or were, with a Worker.
    pub fn of_worker(&self, worker: &Key) -> Vec<Arc<WorkerTask>> {
        self.newest_of(match &self.indices {
            Some(indices) => indices.by_worker.of(worker),
            None => self.store.state_filter(|task| worker_key(task).as_ref() == Some(worker)),
        })
    }

    /// The tasks that name a session, in no order.
    pub fn of_session(&self, session: &Key) -> Vec<Arc<WorkerTask>> {
        self.newest_of(match &self.indices {
            Some(indices) => indices.by_session.of(session),
            None => self.store.state_filter(|task| session_key(task) == *session),
        })
    }

    /// This process has written a task, or read it live.
    pub fn note(&self, task: &WorkerTask) {
        self.written.note(task);
    }

    /// Forgets what the watch has caught up with.
    pub fn settle_written(&self) {
        self.written.settle(&self.store);
    }

    fn newest_of(&self, tasks: Vec<Arc<WorkerTask>>) -> Vec<Arc<WorkerTask>> {
        tasks.into_iter().map(|task| self.written.newest(task)).collect()
    }
}

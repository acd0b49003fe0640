//! Watches that keep only what is needed, and that no single object can end.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::core::object::HasStatus;
use kube::runtime::PredicateConfig;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::listed::Listed;
use super::roster::Roster;
use super::tasks::Tasks;
use super::unreadable::{Guarded, Unreadables};
use crate::api::worker_status::TestResult;
use crate::api::{Worker, WorkerTask};

/// Objects as a watch shows them, and the stream that keeps the store up to date while it is polled.
pub struct Watched<K: Resource<DynamicType = ()> + 'static> {
    /// All objects that can be read.
    pub store: Store<K>,
    /// Those that cannot be read.
    pub unreadable: Unreadables,
    /// Whether the first list has come.
    pub listed: Listed,
    /// Rings when an object has gone, cannot be read any more, or can be again.
    pub(super) news: Arc<Notify>,
    /// The objects whose change matters.
    pub(super) stream: BoxStream<'static, Result<K, watcher::Error>>,
}

/// Watches all Workers.
pub fn watch_workers(client: kube::Client) -> (Watched<Worker>, Roster) {
    let (store, writer) = reflector::store();
    let roster = Roster::told(store.clone());
    let told = roster.clone();
    (watch_into(client, store, writer, trim, move |event| told.settle(event)), roster)
}

/// Watches all `WorkerTask`s.
pub fn watch_tasks(client: kube::Client) -> (Watched<WorkerTask>, Tasks) {
    let (store, writer) = reflector::store();
    let tasks = Tasks::told(store.clone());
    let told = tasks.clone();
    (watch_into(client, store, writer, |_| {}, move |event| told.settle(event)), tasks)
}

/// Watches all objects of a kind; fields that nothing here reads are not kept, and objects that cannot be read are put
/// aside.
pub fn watch<K>(client: kube::Client) -> Watched<K>
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    watch_into(client, store, writer, |_| {}, |_| {})
}

/// `trim` takes away what is not to be kept; `tell` is told of each event that the store has taken in.
fn watch_into<K>(
    client: kube::Client,
    store: Store<K>,
    writer: Writer<K>,
    trim: fn(&mut K),
    tell: impl Fn(&Event<K>) + Send + 'static,
) -> Watched<K>
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (announcer, listed) = Listed::awaited();
    let (unreadable, news) = (Unreadables::default(), Arc::new(Notify::new()));
    let events = watcher::watcher(Api::<Guarded<K>>::all(client), watcher::Config::default()).default_backoff();
    let sift = {
        let (store, unreadable, news) = (store.clone(), unreadable.clone(), Arc::clone(&news));
        move |event| {
            if matches!(&event, Event::Apply(Guarded(Err(_))) | Event::Delete(Guarded(Err(_)))) {
                news.notify_one();
            }
            std::future::ready(Ok(unreadable.sift(event, &store)))
        }
    };
    // The reflector has taken an event in before it comes here.
    let settle = {
        let (unreadable, news) = (unreadable.clone(), Arc::clone(&news));
        move |event: &Event<K>| {
            tell(event);
            let has_recovered = unreadable.settle(event);
            if matches!(event, Event::InitDone) {
                announcer.listed();
            }
            if has_recovered || matches!(event, Event::InitDone | Event::Delete(_)) {
                news.notify_one();
            }
        }
    };
    let stream = reflector::reflector(writer, events.try_filter_map(sift).modify(trim))
        .inspect_ok(settle)
        .touched_objects()
        .predicate_filter(matters::<K>, PredicateConfig::default());
    Watched { store, unreadable, listed, news, stream: stream.boxed() }
}

/// Of a test that has passed nothing but that is read out of the cache, and its checks would be a third of the memory
/// that a worker at rest takes. A status is only ever written from a Worker that was read live.
fn trim(worker: &mut Worker) {
    if let Some(test) = worker.status.as_mut().and_then(|status| status.last_test.as_mut()) {
        test.checks.retain(|check| check.result != TestResult::Passed.as_str());
        test.checks.shrink_to_fit();
    }
}

/// Whether a change matters: another generation, finalizer, annotation, label or deletion; not our own status writes, but a
/// status that somebody took away.
#[allow(clippy::unnecessary_wraps, reason = "the shape of a predicate")]
fn matters<K: Resource + HasStatus>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    (&meta.uid, meta.generation, &meta.finalizers, &meta.annotations, &meta.labels).hash(&mut hasher);
    (meta.deletion_timestamp.is_some(), object.status().is_some()).hash(&mut hasher);
    Some(hasher.finish())
}

//! What both controllers share: watches that keep only what is needed, triggers, a guard against panics, back-off.
//!
//! A process that is not the leader runs all of it, so that its caches are warm, but reconciles nothing.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt};
use kube::core::object::HasStatus;
use kube::runtime::PredicateConfig;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;

use super::connection::Key;
use super::context::Context;
use super::listed::Listed;
use super::{hypervisor, worker};
use crate::api::{Hypervisor, Worker};
use crate::domain::backoff;
use crate::runtime::metrics::Reconciled;
use crate::runtime::shutdown::Shutdown;

/// Workers that are reconciled at a time.
const WORKERS_AT_A_TIME: u16 = 64;
/// Hypervisors that are reconciled at a time.
const HYPERVISORS_AT_A_TIME: u16 = 64;

/// How soon an object is looked at again while this process may change nothing.
const GATE_CLOSED: Duration = Duration::from_secs(20);

/// Objects as a watch shows them, and the stream that keeps the store up to date while it is polled.
pub struct Watched<K: Resource<DynamicType = ()> + 'static> {
    /// All objects.
    pub store: Store<K>,
    /// Whether the first list has come.
    pub listed: Listed,
    stream: BoxStream<'static, Result<K, watcher::Error>>,
}

/// Watches all objects of a kind; fields that nothing here reads are not kept.
pub fn watch<K>(client: kube::Client) -> Watched<K>
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client), watcher::Config::default()).default_backoff().modify(prune);
    let (announcer, listed) = Listed::awaited();
    let stream = reflector::reflector(writer, events)
        .inspect_ok(move |event| {
            // The reflector has taken it in before it comes here.
            if matches!(event, watcher::Event::InitDone) {
                announcer.listed();
            }
        })
        .touched_objects()
        .predicate_filter(matters::<K>, PredicateConfig::default());
    Watched { store, listed, stream: stream.boxed() }
}

/// Most of an object's memory is what nothing here reads.
fn prune<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// Whether a change matters: another generation, finalizer, annotation or deletion; not our own status writes, but a
/// status that somebody took away.
#[allow(clippy::unnecessary_wraps, reason = "the shape of a predicate")]
fn matters<K: Resource + HasStatus>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    (&meta.uid, meta.generation, &meta.finalizers, &meta.annotations).hash(&mut hasher);
    (meta.deletion_timestamp.is_some(), object.status().is_some()).hash(&mut hasher);
    Some(hasher.finish())
}

/// What wakes the controllers besides their watches.
pub struct Wakes {
    /// Hypervisors of which a worker wants a fresh poll.
    pub hurried: UnboundedReceiver<Key>,
    /// Workers whose VM or hypervisor changed.
    pub changed: UnboundedReceiver<ObjectRef<Worker>>,
    /// Rings when this process becomes the leader: everything is looked at.
    pub led: BoxStream<'static, ()>,
}

/// Both controllers' objects.
pub struct Objects {
    /// The workers.
    pub workers: Watched<Worker>,
    /// The hypervisors.
    pub hypervisors: Watched<Hypervisor>,
}

/// Why a reconcile did not end well.
#[derive(Debug, Error)]
enum Failed {
    #[error(transparent)]
    Worker(#[from] worker::Error),
    #[error(transparent)]
    Hypervisor(#[from] hypervisor::Error),
    #[error("it panicked; this is a defect of the program")]
    Panicked,
}

/// One controller's share of the process: the context, and how often each object failed in a row.
struct Driver {
    context: Arc<Context>,
    name: &'static str,
    failures: Mutex<HashMap<(String, String), u32>>,
}

/// Runs both controllers until `shutdown` is requested and the reconciles that run have ended.
pub async fn run(context: Arc<Context>, objects: Objects, wakes: Wakes, shutdown: Shutdown) {
    let Wakes { hurried, changed, led } = wakes;
    let (led_workers, led_hypervisors) = fork(led);
    let workers = Controller::for_stream(objects.workers.stream, objects.workers.store)
        .with_config(Config::default().concurrency(WORKERS_AT_A_TIME))
        .reconcile_on(received(changed))
        .reconcile_all_on(led_workers)
        .graceful_shutdown_on(requested(shutdown.clone()))
        .run(one_worker, on_failure, Driver::new(&context, "worker"));
    let hurried = received(hurried).map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    let hypervisors = Controller::for_stream(objects.hypervisors.stream, objects.hypervisors.store)
        .with_config(Config::default().concurrency(HYPERVISORS_AT_A_TIME))
        .reconcile_on(hurried)
        .reconcile_all_on(led_hypervisors)
        .graceful_shutdown_on(requested(shutdown))
        .run(one_hypervisor, on_failure, Driver::new(&context, "hypervisor"));
    futures::join!(drain(workers), drain(hypervisors));
}

async fn drain<T, E: Debug>(outcomes: impl Stream<Item = Result<T, E>>) {
    outcomes
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(?error, "a controller's turn");
            }
        })
        .await;
}

async fn requested(shutdown: Shutdown) {
    shutdown.requested().await;
}

fn received<T: Send + 'static>(receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

/// Two streams that both give what one gives.
fn fork(stream: BoxStream<'static, ()>) -> (BoxStream<'static, ()>, BoxStream<'static, ()>) {
    let (one, first) = tokio::sync::mpsc::unbounded_channel();
    let (other, second) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(stream.for_each(move |()| {
        let _ = (one.send(()), other.send(()));
        std::future::ready(())
    }));
    (received(first).boxed(), received(second).boxed())
}

impl Driver {
    fn new(context: &Arc<Context>, name: &'static str) -> Arc<Self> {
        Arc::new(Self { context: Arc::clone(context), name, failures: Mutex::default() })
    }

    /// Runs one reconcile: contained, counted, and only as the leader.
    async fn guarded<K, E>(
        &self,
        object: &K,
        reconcile: impl Future<Output = Result<Option<Duration>, E>>,
    ) -> Result<Action, Failed>
    where
        K: Resource,
        Failed: From<E>,
    {
        if !self.context.gate.may_change(Duration::ZERO) {
            // The gate opens without a word when a late renewal or a CRD comes: what is due now must not be lost.
            return Ok(Action::requeue(GATE_CLOSED));
        }
        let begun = self.context.clock.boot();
        let outcome = AssertUnwindSafe(reconcile).catch_unwind().await;
        let took = self.context.clock.boot().since(begun);
        self.context.metrics.reconciled(self.name, result_of(&outcome), took);
        let after = outcome.map_err(|_| Failed::Panicked)??;
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(object));
        Ok(after.map_or_else(Action::await_change, Action::requeue))
    }

    /// How long to wait after one more failure of this object.
    fn delay<K: Resource>(&self, object: &K) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key(object)).or_insert(0);
        *count = count.saturating_add(1);
        let mut hasher = DefaultHasher::new();
        object.meta().uid.hash(&mut hasher);
        backoff::CALL.delay(*count, hasher.finish())
    }
}

fn result_of<E, P>(outcome: &Result<Result<Option<Duration>, E>, P>) -> Reconciled {
    match outcome {
        Ok(Ok(None)) => Reconciled::Success,
        Ok(Ok(Some(_))) => Reconciled::Requeued,
        Ok(Err(_)) => Reconciled::Failed,
        Err(_) => Reconciled::Panicked,
    }
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}

async fn one_worker(worker: Arc<Worker>, driver: Arc<Driver>) -> Result<Action, Failed> {
    let reconcile = worker::reconcile(Arc::clone(&worker), &driver.context);
    Box::pin(driver.guarded(worker.as_ref(), reconcile)).await
}

async fn one_hypervisor(hypervisor: Arc<Hypervisor>, driver: Arc<Driver>) -> Result<Action, Failed> {
    let reconcile =
        hypervisor::reconcile(Arc::clone(&hypervisor), Arc::clone(&driver.context)).map_ok(|outcome| outcome.requeue);
    Box::pin(driver.guarded(hypervisor.as_ref(), reconcile)).await
}

#[allow(clippy::needless_pass_by_value, reason = "the shape of an error policy")]
fn on_failure<K: Resource>(object: Arc<K>, error: &Failed, driver: Arc<Driver>) -> Action {
    let soon = match error {
        Failed::Worker(error) => Option::<Duration>::from(error),
        _ => None,
    };
    if let Some(soon) = soon {
        return Action::requeue(soon);
    }
    let after = driver.delay(object.as_ref());
    let (namespace, name) = key(object.as_ref());
    tracing::warn!(controller = driver.name, %namespace, %name, %error, retry_in = ?after, "reconcile failed");
    Action::requeue(after)
}

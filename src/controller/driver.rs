//! What all controllers share: triggers, a guard against panics, back-off, upkeep.
//!
//! A process that is not the leader runs all of it, so that its caches are warm, but reconciles nothing.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryFutureExt};
use kube::Resource;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;

use super::connection::Key;
use super::context::Context;
use super::index::{name_of, stored};
use super::watch::Watched;
use super::{hypervisor, scheduling, session, task, upkeep, worker};
use crate::api::{Hypervisor, Worker, WorkerSession, WorkerTask};
use crate::domain::backoff;
use crate::runtime::metrics::Reconciled;
use crate::runtime::shutdown::Shutdown;

/// Workers that are reconciled at a time.
const WORKERS_AT_A_TIME: u16 = 64;
/// Hypervisors that are reconciled at a time.
const HYPERVISORS_AT_A_TIME: u16 = 64;

/// Sessions that are reconciled at a time, and tasks.
const SESSIONS_AT_A_TIME: u16 = 16;

/// How soon an object is looked at again while this process may change nothing.
const GATE_CLOSED: Duration = Duration::from_secs(20);

/// What wakes the controllers besides their watches.
pub struct Wakes {
    /// Hypervisors of which a worker wants a fresh poll.
    pub hurried: UnboundedReceiver<Key>,
    /// Workers whose VM or hypervisor changed.
    pub changed: UnboundedReceiver<ObjectRef<Worker>>,
    /// Sessions whose tasks changed.
    pub changed_sessions: UnboundedReceiver<ObjectRef<WorkerSession>>,
    /// Tasks that are to be looked at.
    pub changed_tasks: UnboundedReceiver<ObjectRef<WorkerTask>>,
    /// Hypervisors whose tasks are to be given to workers anew.
    pub schedule: UnboundedReceiver<Key>,
    /// Rings when this process becomes the leader: everything is looked at.
    pub led: BoxStream<'static, ()>,
}

/// All controllers' objects.
pub struct Objects {
    /// The workers.
    pub workers: Watched<Worker>,
    /// The hypervisors.
    pub hypervisors: Watched<Hypervisor>,
    /// The sessions.
    pub sessions: Watched<WorkerSession>,
    /// The tasks.
    pub tasks: Watched<WorkerTask>,
}

/// Why a reconcile did not end well.
#[derive(Debug, Error)]
enum Failed {
    #[error(transparent)]
    Worker(#[from] worker::Error),
    #[error(transparent)]
    Hypervisor(#[from] hypervisor::Error),
    #[error(transparent)]
    Session(#[from] session::Error),
    #[error("it panicked; this is a defect of the program")]
    Panicked,
}

/// One controller's share of the process.
struct Driver {
    context: Arc<Context>,
    name: &'static str,
    failures: Failures,
}

/// How often each object failed in a row.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<Key, u32>>);

impl Failures {
    fn counts(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of this object; how many there were by now.
    fn add(&self, object: Key) -> u32 {
        let mut counts = self.counts();
        let count = counts.entry(object).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// This object did not fail.
    fn end(&self, object: &Key) {
        self.counts().remove(object);
    }

    /// Forgets those of objects that are not there any more.
    fn keep(&self, is_there: impl Fn(&Key) -> bool) {
        self.counts().retain(|object, _| is_there(object));
    }
}

/// Runs all controllers until `shutdown` is requested and the reconciles that run have ended.
pub async fn run(context: Arc<Context>, objects: Objects, wakes: Wakes, shutdown: Shutdown) {
    let drivers = Drivers::new(&context);
    let [led_workers, led_hypervisors, led_sessions, led_tasks, led_scheduling] = fork(wakes.led);
    let news = [&objects.workers.news, &objects.hypervisors.news, &objects.sessions.news, &objects.tasks.news];
    let upkeep = upkeep::run(Arc::clone(&context), news.map(Arc::clone), {
        let (drivers, context) = (drivers.clone(), Arc::clone(&context));
        move || drivers.keep(&context)
    });
    let stopped = || requested(shutdown.clone());
    let workers = Controller::for_stream(objects.workers.stream, objects.workers.store)
        .with_config(Config::default().concurrency(WORKERS_AT_A_TIME))
        .reconcile_on(received(wakes.changed))
        .reconcile_all_on(led_workers)
        .graceful_shutdown_on(stopped())
        .run(one_worker, on_failure, Arc::clone(&drivers.worker));
    let hurried = received(wakes.hurried).map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    let hypervisors = Controller::for_stream(objects.hypervisors.stream, objects.hypervisors.store)
        .with_config(Config::default().concurrency(HYPERVISORS_AT_A_TIME))
        .reconcile_on(hurried)
        .reconcile_all_on(led_hypervisors)
        .graceful_shutdown_on(stopped())
        .run(one_hypervisor, on_failure, Arc::clone(&drivers.hypervisor));
    let sessions = Controller::for_stream(objects.sessions.stream, objects.sessions.store)
        .with_config(Config::default().concurrency(SESSIONS_AT_A_TIME))
        .reconcile_on(received(wakes.changed_sessions))
        .reconcile_all_on(led_sessions)
        .graceful_shutdown_on(stopped())
        .run(one_session, on_failure, Arc::clone(&drivers.session));
    let tasks = Controller::for_stream(objects.tasks.stream, objects.tasks.store)
        .with_config(Config::default().concurrency(SESSIONS_AT_A_TIME))
        .reconcile_on(received(wakes.changed_tasks))
        .reconcile_all_on(led_tasks)
        .graceful_shutdown_on(stopped())
        .run(one_task, on_failure, Arc::clone(&drivers.task));
    let controllers = futures::future::join4(drain(workers), drain(hypervisors), drain(sessions), drain(tasks));
    tokio::select! {
        _ = controllers => {}
        () = upkeep => {}
        () = Box::pin(scheduling::run(&context, wakes.schedule, led_scheduling)) => {}
    }
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

/// Several streams that all give what one gives.
fn fork<const N: usize>(stream: BoxStream<'static, ()>) -> [BoxStream<'static, ()>; N] {
    let mut senders = Vec::with_capacity(N);
    let streams = std::array::from_fn(|_| {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        senders.push(sender);
        received(receiver).boxed()
    });
    tokio::spawn(stream.for_each(move |()| {
        for sender in &senders {
            let _ = sender.send(());
        }
        std::future::ready(())
    }));
    streams
}

/// The shares of all controllers.
#[derive(Clone)]
struct Drivers {
    worker: Arc<Driver>,
    hypervisor: Arc<Driver>,
    session: Arc<Driver>,
    task: Arc<Driver>,
}

impl Drivers {
    fn new(context: &Arc<Context>) -> Self {
        let driver = |name| Driver::new(context, name);
        Self {
            worker: driver("worker"),
            hypervisor: driver("hypervisor"),
            session: driver("session"),
            task: driver("task"),
        }
    }

    /// Forgets the failures of objects that are gone.
    fn keep(&self, context: &Context) {
        self.worker.failures.keep(|key| stored(&context.workers, key).is_some());
        self.hypervisor.failures.keep(|key| stored(&context.hypervisors, key).is_some());
        self.session.failures.keep(|key| stored(&context.sessions, key).is_some());
        self.task.failures.keep(|key| context.tasks.get(key).is_some());
        context.tasks.settle_written();
        context.workers.settle_written();
    }
}

impl Driver {
    fn new(context: &Arc<Context>, name: &'static str) -> Arc<Self> {
        Arc::new(Self { context: Arc::clone(context), name, failures: Failures::default() })
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
        self.failures.end(&name_of(object));
        Ok(after.map_or_else(Action::await_change, Action::requeue))
    }

    /// How long to wait after one more failure of this object.
    fn delay<K: Resource>(&self, object: &K) -> Duration {
        let count = self.failures.add(name_of(object));
        let mut hasher = DefaultHasher::new();
        object.meta().uid.hash(&mut hasher);
        backoff::CALL.delay(count, hasher.finish())
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

async fn one_worker(worker: Arc<Worker>, driver: Arc<Driver>) -> Result<Action, Failed> {
    let reconcile = async {
        scheduling::notice(&driver.context, &worker);
        worker::reconcile(Arc::clone(&worker), &driver.context).await
    };
    Box::pin(driver.guarded(worker.as_ref(), reconcile)).await
}

async fn one_hypervisor(hypervisor: Arc<Hypervisor>, driver: Arc<Driver>) -> Result<Action, Failed> {
    let reconcile =
        hypervisor::reconcile(Arc::clone(&hypervisor), Arc::clone(&driver.context)).map_ok(|outcome| outcome.requeue);
    Box::pin(driver.guarded(hypervisor.as_ref(), reconcile)).await
}

async fn one_session(session: Arc<WorkerSession>, driver: Arc<Driver>) -> Result<Action, Failed> {
    let reconcile = session::reconcile(Arc::clone(&session), &driver.context);
    Box::pin(driver.guarded(session.as_ref(), reconcile)).await
}

async fn one_task(task: Arc<WorkerTask>, driver: Arc<Driver>) -> Result<Action, Failed> {
    let reconcile = task::reconcile(Arc::clone(&task), &driver.context);
    Box::pin(driver.guarded(task.as_ref(), reconcile)).await
}

#[allow(clippy::needless_pass_by_value, reason = "the shape of an error policy")]
fn on_failure<K: Resource>(object: Arc<K>, error: &Failed, driver: Arc<Driver>) -> Action {
    let soon = match error {
        Failed::Worker(error) => Option::<Duration>::from(error),
        Failed::Session(error) => Option::<Duration>::from(error),
        _ => None,
    };
    if let Some(soon) = soon {
        return Action::requeue(soon);
    }
    let after = driver.delay(object.as_ref());
    let (namespace, name) = name_of(object.as_ref());
    tracing::warn!(controller = driver.name, %namespace, %name, %error, retry_in = ?after, "reconcile failed");
    Action::requeue(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_one_ends_well_or_the_object_is_gone() {
        let object = |name: &str| ("ns".to_owned(), name.to_owned());
        let failures = Failures::default();
        assert_eq!([failures.add(object("a")), failures.add(object("a")), failures.add(object("b"))], [1, 2, 1]);
        failures.end(&object("b"));
        failures.add(object("c"));
        failures.keep(|one| *one == object("a"));
        assert_eq!(failures.counts().keys().cloned().collect::<Vec<_>>(), [object("a")]);
    }
}

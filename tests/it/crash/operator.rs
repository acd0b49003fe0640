//! One life of the operator's process in front of a world, reconcile by reconcile.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use stevedore::api::{Hypervisor, Worker, WorkerSession, WorkerTask};
use stevedore::controller::connection::{Connections, Key};
use stevedore::controller::context::{Connect, Context, Gate, OpenGate, Patience};
use stevedore::controller::events::Events;
use stevedore::controller::tasks::Tasks;
use stevedore::controller::tracks::Tracks;
use stevedore::controller::unreadable::Unreadables;
use stevedore::controller::{hypervisor, scheduling, session, task, upkeep, worker};
use stevedore::runtime::fence::Permission;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use super::world::{INSTALLATION, InProcessConnector, NAMESPACE, World};

/// What is reconciled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Item {
    Hypervisor(String),
    Worker(String),
    Session(String),
    Task(String),
    /// The tasks of a Hypervisor are given to workers.
    Schedule(Key),
}

/// After a reconcile that failed.
const FAILED: Option<Duration> = Some(Duration::from_secs(2));

/// One life of the operator's process.
pub(crate) struct Operator {
    pub(crate) context: Arc<Context>,
    world: World,
    worker_writer: reflector::store::Writer<Worker>,
    hypervisor_writer: reflector::store::Writer<Hypervisor>,
    session_writer: reflector::store::Writer<WorkerSession>,
    task_writer: reflector::store::Writer<WorkerTask>,
    bells: Bells,
    due: HashMap<Item, Option<Instant>>,
    seen: HashMap<Item, u64>,
    /// The watches show workers, sessions and tasks this much late.
    stale: Duration,
    /// The watch of tasks shows nothing new.
    tasks_are_held: bool,
    /// The version of each kind that its watch showed last, and when it did.
    shown: HashMap<&'static str, (u64, Instant)>,
}

/// What wakes the reconciles besides the watches.
struct Bells {
    hurried: UnboundedReceiver<Key>,
    workers: UnboundedReceiver<ObjectRef<Worker>>,
    sessions: UnboundedReceiver<ObjectRef<WorkerSession>>,
    tasks: UnboundedReceiver<ObjectRef<WorkerTask>>,
    schedule: UnboundedReceiver<Key>,
}

impl Operator {
    pub(super) fn new(world: &World, number: u64) -> Self {
        Self::seated(world, number, Arc::new(OpenGate))
    }

    /// The same with a lead that it may lose.
    pub(super) fn seated(world: &World, number: u64, gate: Arc<dyn Gate>) -> Self {
        Self::made(world, number, gate, Arc::new(InProcessConnector(world.clone())))
    }

    /// One with another way to reach the hypervisor.
    pub(crate) fn connecting(world: &World, number: u64, connector: Arc<dyn Connect>) -> Self {
        Self::made(world, number, Arc::new(OpenGate), connector)
    }

    fn made(world: &World, number: u64, gate: Arc<dyn Gate>, connector: Arc<dyn Connect>) -> Self {
        let (bell, hurried) = unbounded_channel();
        let (worker_bell, changed_workers) = unbounded_channel();
        let (session_bell, changed_sessions) = unbounded_channel();
        let (task_bell, changed_tasks) = unbounded_channel();
        let (scheduler_bell, schedule) = unbounded_channel();
        let (workers, worker_writer) = reflector::store();
        let (hypervisors, hypervisor_writer) = reflector::store();
        let (sessions, session_writer) = reflector::store();
        let (tasks, task_writer) = reflector::store();
        let ids = AtomicU64::new(0);
        let seed = world.seed;
        let asked = Arc::clone(&gate);
        let context = Context {
            client: world.client(Permission::new(move |longest| asked.may_change(longest))),
            clock: world.clock.clone(),
            installation: INSTALLATION.to_owned(),
            connections: Connections::ringing(bell),
            connector,
            gate,
            workers: workers.into(),
            workers_listed: stevedore::controller::listed::Listed::already(),
            unreadable_workers: Unreadables::default(),
            unreadable_hypervisors: Unreadables::default(),
            hypervisors,
            tasks: Tasks::told(tasks),
            sessions,
            disks: stevedore::controller::scheduling::disks::Disks::default(),
            unreadable_sessions: Unreadables::default(),
            unreadable_tasks: Unreadables::default(),
            sessions_listed: stevedore::controller::listed::Listed::already(),
            runs: stevedore::controller::session::Runs::default(),
            changed_sessions: session_bell,
            changed_tasks: task_bell,
            schedule: scheduler_bell,
            tracks: Tracks::default(),
            events: Events::nowhere(),
            operation_ids: Arc::new(move || format!("op-{seed}-{number}-{}", ids.fetch_add(1, Ordering::Relaxed))),
            allowed: stevedore::domain::allowed::AllowedEndpoints::default(),
            patience: Patience { settle: Duration::from_secs(10), ..Patience::default() },
            changed: worker_bell,
            metrics: stevedore::runtime::metrics::Metrics::new(),
        };
        Self {
            context: Arc::new(context),
            world: world.clone(),
            worker_writer,
            hypervisor_writer,
            session_writer,
            task_writer,
            bells: Bells {
                hurried,
                workers: changed_workers,
                sessions: changed_sessions,
                tasks: changed_tasks,
                schedule,
            },
            due: HashMap::new(),
            seen: HashMap::new(),
            stale: Duration::ZERO,
            tasks_are_held: false,
            shown: HashMap::new(),
        }
    }

    /// The same with a watch that is late by up to this long.
    pub(crate) fn with_stale_cache(self, stale: Duration) -> Self {
        Self { stale, ..self }
    }

    /// From now on the watch of tasks shows nothing new.
    pub(crate) fn hold_tasks(&mut self) {
        self.tasks_are_held = true;
    }

    /// The same with bounds to what it may reach.
    pub(crate) fn allowing(mut self, endpoints: &[&str]) -> Self {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        let context = Arc::get_mut(&mut self.context).unwrap();
        context.allowed = stevedore::domain::allowed::AllowedEndpoints::parse(&endpoints).unwrap();
        self
    }

    /// Reconciles for this long.
    pub(crate) async fn pass(&mut self, time: Duration) {
        self.run(time, async |_| false).await;
    }

    /// Reconciles what is due until `done` or until `limit` has passed; the answer is whether it was done.
    pub(crate) async fn run(&mut self, limit: Duration, done: impl AsyncFn(&World) -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            self.observe();
            if done(&self.world).await {
                return true;
            }
            let mut ready: Vec<Item> = Vec::new();
            for (item, when) in &self.due {
                if when.is_some_and(|when| when <= Instant::now()) {
                    ready.push(item.clone());
                }
            }
            ready.sort();
            for item in &ready {
                let after = self.reconcile(item).await;
                self.due.insert(item.clone(), after.map(|after| Instant::now() + after));
            }
            if ready.is_empty() {
                let next = self.due.values().flatten().min().copied().unwrap_or(end);
                tokio::time::sleep_until(next.min(Instant::now() + Duration::from_secs(1))).await;
            }
        }
        false
    }

    /// What the watches would show by now.
    fn observe(&mut self) {
        if self.is_news("hypervisors", Duration::ZERO) {
            let hypervisors = self.world.all_hypervisors();
            self.look_at(&hypervisors, Item::Hypervisor, |one| one.status.is_some());
            fill(&mut self.hypervisor_writer, hypervisors, |_| {});
        }
        if self.is_news("workers", self.stale) {
            let workers = self.world.all_workers();
            self.look_at(&workers, Item::Worker, |one| one.status.is_some());
            fill(&mut self.worker_writer, workers, |_| {});
            upkeep::wake_bereaved(&self.context);
        }
        if self.is_news("workersessions", self.stale) {
            let sessions = self.world.all_sessions();
            self.look_at(&sessions, Item::Session, |one| one.status.is_some());
            fill(&mut self.session_writer, sessions, |_| {});
            upkeep::wake_bereaved(&self.context);
        }
        if !self.tasks_are_held && self.is_news("workertasks", self.stale) {
            let tasks = self.world.all_tasks();
            self.look_at(&tasks, Item::Task, |one| one.status.is_some());
            fill(&mut self.task_writer, tasks, |event| self.context.tasks.settle(event));
            self.context.tasks.settle_written();
        }
        self.listen();
    }

    /// Whether a watch would show something that it has not shown yet.
    fn is_news(&mut self, resource: &'static str, stale: Duration) -> bool {
        let version = self.world.version(resource);
        let is_known = |(seen, since): &(u64, Instant)| *seen == version || since.elapsed() < stale;
        if self.shown.get(resource).is_some_and(is_known) {
            return false;
        }
        self.shown.insert(resource, (version, Instant::now()));
        true
    }

    /// Everything that changed is due, and nothing that is gone.
    fn look_at<K: Resource>(&mut self, objects: &[K], item: fn(String) -> Item, has_status: impl Fn(&K) -> bool) {
        for object in objects {
            self.notice(item(object.name_any()), object, has_status(object));
        }
        let there: HashSet<Item> = objects.iter().map(|object| item(object.name_any())).collect();
        let kind = discriminant(&item(String::new()));
        self.due.retain(|one, _| discriminant(one) != kind || there.contains(one));
        self.seen.retain(|one, _| discriminant(one) != kind || there.contains(one));
    }

    /// What was rung for is due.
    fn listen(&mut self) {
        let mut rung = Vec::new();
        while let Ok((_, name)) = self.bells.hurried.try_recv() {
            rung.push(Item::Hypervisor(name));
        }
        while let Ok(worker) = self.bells.workers.try_recv() {
            rung.push(Item::Worker(worker.name));
        }
        while let Ok(session) = self.bells.sessions.try_recv() {
            rung.push(Item::Session(session.name));
        }
        while let Ok(task) = self.bells.tasks.try_recv() {
            rung.push(Item::Task(task.name));
        }
        while let Ok(key) = self.bells.schedule.try_recv() {
            rung.push(Item::Schedule(key));
        }
        self.due.extend(rung.into_iter().map(|item| (item, Some(Instant::now()))));
    }

    fn notice<K: Resource>(&mut self, item: Item, object: &K, has_status: bool) {
        let meta = object.meta();
        let mut hasher = DefaultHasher::new();
        (&meta.uid, meta.generation, &meta.finalizers, &meta.annotations, &meta.labels, has_status).hash(&mut hasher);
        meta.deletion_timestamp.is_some().hash(&mut hasher);
        let fingerprint = hasher.finish();
        if self.seen.insert(item.clone(), fingerprint) != Some(fingerprint) {
            self.due.insert(item, Some(Instant::now()));
        }
    }

    async fn reconcile(&self, item: &Item) -> Option<Duration> {
        let context = &self.context;
        match item {
            Item::Hypervisor(name) => {
                let found = context.hypervisors.find(|object| object.name_any() == *name)?;
                let outcome = hypervisor::reconcile(found, Arc::clone(context)).await;
                outcome.map_or(FAILED, |outcome| outcome.requeue)
            }
            Item::Worker(name) => {
                let found = context.workers.find(|object| object.name_any() == *name)?;
                scheduling::notice(context, &found);
                again(item, worker::reconcile(found, context).await)
            }
            Item::Session(name) => {
                let found = context.sessions.find(|object| object.name_any() == *name)?;
                again(item, session::reconcile(found, context).await)
            }
            Item::Task(name) => {
                let found = context.tasks.get(&(NAMESPACE.to_owned(), name.clone()))?;
                again(item, task::reconcile(found, context).await)
            }
            Item::Schedule(key) => again(item, scheduling::schedule(context, key).await),
        }
    }
}

/// When an item is due again.
fn again<E: Display>(item: &Item, outcome: Result<Option<Duration>, E>) -> Option<Duration> {
    outcome.unwrap_or_else(|error| {
        tracing::debug!(?item, %error, "reconcile failed");
        FAILED
    })
}

fn fill<K>(writer: &mut reflector::store::Writer<K>, objects: Vec<K>, tell: impl Fn(&Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let objects = objects.into_iter().map(Event::InitApply);
    for event in [Event::Init].into_iter().chain(objects).chain([Event::InitDone]) {
        writer.apply_watcher_event(&event);
        tell(&event);
    }
}

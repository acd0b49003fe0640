//! One life of the operator's process in front of a world, reconcile by reconcile.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use stevedore::api::{Hypervisor, Worker};
use stevedore::controller::connection::{Connections, Key};
use stevedore::controller::context::{Connect, Context, Gate, OpenGate, Patience};
use stevedore::controller::events::Events;
use stevedore::controller::tracks::Tracks;
use stevedore::controller::unreadable::Unreadables;
use stevedore::controller::{hypervisor, worker};
use stevedore::runtime::fence::Permission;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use super::world::{INSTALLATION, InProcessConnector, World};

/// What is reconciled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Item {
    Hypervisor(String),
    Worker(String),
}

/// One life of the operator's process.
pub(crate) struct Operator {
    pub(crate) context: Arc<Context>,
    world: World,
    worker_writer: reflector::store::Writer<Worker>,
    hypervisor_writer: reflector::store::Writer<Hypervisor>,
    hurried: UnboundedReceiver<Key>,
    changed: UnboundedReceiver<ObjectRef<Worker>>,
    due: HashMap<Item, Option<Instant>>,
    seen: HashMap<Item, u64>,
    /// The watch shows workers this much late.
    stale: Duration,
    /// The version of the world that the watches showed last.
    hypervisors_of: Option<u64>,
    workers_of: Option<(u64, Instant)>,
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
        let (changed_sender, changed) = unbounded_channel();
        let (workers, worker_writer) = reflector::store();
        let (hypervisors, hypervisor_writer) = reflector::store();
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
            tracks: Tracks::default(),
            events: Events::nowhere(),
            operation_ids: Arc::new(move || format!("op-{seed}-{number}-{}", ids.fetch_add(1, Ordering::Relaxed))),
            allowed: stevedore::domain::allowed::AllowedEndpoints::default(),
            patience: Patience { settle: Duration::from_secs(10), ..Patience::default() },
            changed: changed_sender,
            metrics: stevedore::runtime::metrics::Metrics::new(),
        };
        Self {
            context: Arc::new(context),
            world: world.clone(),
            worker_writer,
            hypervisor_writer,
            hurried,
            changed,
            due: HashMap::new(),
            seen: HashMap::new(),
            stale: Duration::ZERO,
            hypervisors_of: None,
            workers_of: None,
        }
    }

    /// The same with a watch that is late by up to this long.
    pub(crate) fn with_stale_cache(self, stale: Duration) -> Self {
        Self { stale, ..self }
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
        let version = self.world.version();
        if self.hypervisors_of.replace(version) != Some(version) {
            let (hypervisors, _) = self.world.objects();
            for hypervisor in &hypervisors {
                self.notice(Item::Hypervisor(hypervisor.name_any()), hypervisor, hypervisor.status.is_some());
            }
            fill(&mut self.hypervisor_writer, hypervisors);
        }
        let is_late = self.workers_of.is_some_and(|(_, since)| since.elapsed() < self.stale);
        if !is_late && self.workers_of.is_none_or(|(seen, _)| seen != version) {
            self.workers_of = Some((version, Instant::now()));
            self.observe_workers();
        }
        while let Ok((_, name)) = self.hurried.try_recv() {
            self.due.insert(Item::Hypervisor(name), Some(Instant::now()));
        }
        while let Ok(reference) = self.changed.try_recv() {
            self.due.insert(Item::Worker(reference.name), Some(Instant::now()));
        }
    }

    fn observe_workers(&mut self) {
        let (_, workers) = self.world.objects();
        for worker in &workers {
            self.notice(Item::Worker(worker.name_any()), worker, worker.status.is_some());
        }
        let names: Vec<Item> = workers.iter().map(|worker| Item::Worker(worker.name_any())).collect();
        self.due.retain(|item, _| matches!(item, Item::Hypervisor(_)) || names.contains(item));
        fill(&mut self.worker_writer, workers);
    }

    fn notice<K: Resource>(&mut self, item: Item, object: &K, has_status: bool) {
        let meta = object.meta();
        let mut hasher = DefaultHasher::new();
        (&meta.uid, meta.generation, &meta.finalizers, &meta.annotations, has_status).hash(&mut hasher);
        meta.deletion_timestamp.is_some().hash(&mut hasher);
        let fingerprint = hasher.finish();
        if self.seen.insert(item.clone(), fingerprint) != Some(fingerprint) {
            self.due.insert(item, Some(Instant::now()));
        }
    }

    async fn reconcile(&self, item: &Item) -> Option<Duration> {
        match item {
            Item::Hypervisor(name) => {
                let found = self.context.hypervisors.find(|object| object.name_any() == *name)?;
                let outcome = hypervisor::reconcile(found, Arc::clone(&self.context)).await;
                outcome.map_or(Some(Duration::from_secs(2)), |outcome| outcome.requeue)
            }
            Item::Worker(name) => {
                let found = self.context.workers.find(|object| object.name_any() == *name)?;
                match worker::reconcile(found, &self.context).await {
                    Ok(after) => after,
                    Err(error) => {
                        tracing::debug!(%name, %error, "reconcile failed");
                        Some(Duration::from_secs(2))
                    }
                }
            }
        }
    }
}

fn fill<K>(writer: &mut reflector::store::Writer<K>, objects: Vec<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
}

//! Objects come, go, and cannot be read, in front of the real watches and controllers: with the simulated hypervisor and
//! the Kubernetes API in memory, in virtual time.

mod gone;
mod sessions;
mod trimmed;
mod unreadable;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use stevedore::controller::connection::Connections;
use stevedore::controller::context::{Context, OpenGate, Patience};
use stevedore::controller::driver::{self, Objects, Wakes};
use stevedore::controller::events::Events;
use stevedore::controller::tracks::Tracks;
use stevedore::controller::watch::{watch, watch_tasks, watch_workers};
use stevedore::runtime::metrics::Metrics;
use stevedore::runtime::shutdown::Shutdown;
use stevedore::simulator::scenario::Scenario;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::crash::world::{INSTALLATION, InProcessConnector, NAMESPACE, World, seed, worker};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(3600);

/// A world, and a process in front of it that is driven as the real one is.
struct Stage {
    world: World,
    context: Arc<Context>,
    stop: Shutdown,
    running: JoinHandle<()>,
    /// Makes the process the leader.
    lead: UnboundedSender<()>,
}

impl Stage {
    async fn new() -> Self {
        Self::before(World::with(seed(), Scenario::default_demo(), json!({})).await)
    }

    /// A process that has just begun, and leads.
    fn before(world: World) -> Self {
        let stage = Self::standby(world);
        stage.lead.send(()).unwrap();
        stage
    }

    /// A process that has just begun, and gives nobody a task before it leads.
    fn standby(world: World) -> Self {
        let (lead, terms) = unbounded_channel();
        let terms =
            futures::stream::unfold(terms, |mut terms| async move { terms.recv().await.map(|rung| (rung, terms)) });
        let client = world.kube.client("stevedore");
        let (bell, hurried) = unbounded_channel();
        let (sender, changed) = unbounded_channel();
        let (session_bell, changed_sessions) = unbounded_channel();
        let (task_bell, changed_tasks) = unbounded_channel();
        let (scheduler_bell, schedule) = unbounded_channel();
        let (workers, roster) = watch_workers(client.clone());
        let (tasks, task_view) = watch_tasks(client.clone());
        let (hypervisors, sessions) = (watch(client.clone()), watch(client.clone()));
        let objects = Objects { workers, hypervisors, sessions, tasks };
        let ids = AtomicU64::new(0);
        let context = Arc::new(Context {
            client: client.clone(),
            clock: world.clock.clone(),
            installation: INSTALLATION.to_owned(),
            connections: Connections::ringing(bell),
            connector: Arc::new(InProcessConnector(world.clone())),
            gate: Arc::new(OpenGate),
            workers: roster,
            workers_listed: objects.workers.listed.clone(),
            unreadable_workers: objects.workers.unreadable.clone(),
            hypervisors: objects.hypervisors.store.clone(),
            unreadable_hypervisors: objects.hypervisors.unreadable.clone(),
            tasks: task_view,
            sessions: objects.sessions.store.clone(),
            disks: stevedore::controller::scheduling::disks::Disks::default(),
            unreadable_sessions: objects.sessions.unreadable.clone(),
            unreadable_tasks: objects.tasks.unreadable.clone(),
            sessions_listed: objects.sessions.listed.clone().and(objects.tasks.listed.clone()),
            runs: stevedore::controller::session::Runs::default(),
            changed_sessions: session_bell,
            changed_tasks: task_bell,
            schedule: scheduler_bell,
            tracks: Tracks::default(),
            events: Events::start(client, None),
            operation_ids: Arc::new(move || format!("op-{}", ids.fetch_add(1, Ordering::Relaxed))),
            allowed: stevedore::domain::allowed::AllowedEndpoints::default(),
            patience: Patience { settle: Duration::from_secs(10), ..Patience::default() },
            changed: sender,
            metrics: Metrics::new(),
        });
        let stop = Shutdown::new();
        let wakes = Wakes { hurried, changed, changed_sessions, changed_tasks, schedule, led: terms.boxed() };
        let running = tokio::spawn(driver::run(Arc::clone(&context), objects, wakes, stop.clone()));
        Self { world, context, stop, running, lead }
    }

    /// Ends the process and begins another one, which remembers nothing.
    async fn restarted(self) -> Self {
        self.stop.request();
        self.running.await.unwrap();
        Self::before(self.world)
    }

    async fn declare(&self, name: &str, patch: &Value) {
        self.world.create(worker(name, patch)).await;
    }

    /// The object as it is stored, whoever can read it.
    fn stored(&self, resource: &str, name: &str) -> Option<Value> {
        self.world.kube.object("stevedore.dev", resource, NAMESPACE, name)
    }

    /// The status, the reason and the message of a condition; empty if it is not there.
    fn condition(&self, resource: &str, name: &str, type_: &str) -> [String; 3] {
        let status = self.stored(resource, name).unwrap_or_default()["status"].take();
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
        ["status", "reason", "message"].map(|key| found[key].as_str().unwrap_or_default().to_owned())
    }

    fn says(&self, resource: &str, name: &str, type_: &str) -> String {
        let [status, reason, _] = self.condition(resource, name, type_);
        format!("{status}/{reason}")
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + LONG;
        while !is_so(self) {
            assert!(
                tokio::time::Instant::now() < end,
                "not {what}: {:#}\n{:#}",
                json!(self.world.kube.objects("stevedore.dev", "hypervisors")),
                json!(self.world.kube.objects("stevedore.dev", "workers"))
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until a worker passed the test of its present declaration and is off.
    async fn tested(&self, name: &str) {
        let is_so = |stage: &Self| {
            let object = stage.stored("workers", name).unwrap_or_default();
            let status = &object["status"];
            status["phase"] == "ShutDown"
                && status["operation"].is_null()
                && status["observedGeneration"] == object["metadata"]["generation"]
                && stage.says("workers", name, "Tested") == "True/TestPassed"
        };
        self.until(&format!("{name} is tested"), is_so).await;
    }

    async fn gone(&self, resource: &str, name: &str) {
        self.until(&format!("{name} is gone"), |stage| stage.stored(resource, name).is_none()).await;
    }

    /// A person's way to objects that need not fit any type.
    fn objects<K: kube::Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.world.kube.client("person"), NAMESPACE, &ApiResource::erase::<K>(&()))
    }

    async fn edit<K: kube::Resource<DynamicType = ()>>(&self, name: &str, patch: Value) {
        self.objects::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn delete<K: kube::Resource<DynamicType = ()>>(&self, name: &str) {
        self.objects::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The operator's writes that changed something in this time.
    async fn writes_in(&self, time: Duration) -> Vec<String> {
        self.world.kube.forget_writes();
        tokio::time::sleep(time).await;
        let writes = self.world.kube.writes().into_iter().filter(|write| write.call.user_agent == "stevedore");
        writes.map(|write| format!("{:?} {:?} {}", write.call.verb, write.call.target, write.call.body)).collect()
    }

    fn hypervisor(&self) -> Value {
        self.stored("hypervisors", "lab").unwrap()
    }

    fn events(&self, reason: &str) -> Vec<Value> {
        let all = self.world.kube.objects("events.k8s.io", "events").into_iter();
        all.filter(|event| event["reason"] == reason).collect()
    }
}

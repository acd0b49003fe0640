//! A Kubernetes API in memory, a simulated Proxmox VE, and operators that come and go in front of them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use kube::api::{Api, PostParams};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stevedore::api::{Hypervisor, Worker, crdgen};
use stevedore::app::connector;
use stevedore::clock::{SharedClock, TimerClock};
use stevedore::controller::connection::{Connections, Key};
use stevedore::controller::context::{Connect, ConnectionSettings, Context, OpenGate, Patience};
use stevedore::controller::events::Events;
use stevedore::controller::tracks::Tracks;
use stevedore::controller::{hypervisor, worker};
use stevedore::domain::fault::Fault;
use stevedore::hypervisor::SharedHypervisor;
use stevedore::hypervisor::transport::{Exchange, ExchangeError, Unobserved};
use stevedore::runtime::metrics::Metrics;
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::kubernetes::KubeApi;
use stevedore::simulator::proxmox::{Outcome, Simulator};
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Scenario};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

pub(crate) const NAMESPACE: &str = "backup";
const INSTALLATION: &str = "6a0f3f8e-8a86-4bd2-8f0a-2d9d64f7a001";

/// Everything that outlives an operator.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) kube: KubeApi,
    pub(crate) pve: Simulator,
    pub(crate) clock: SharedClock,
    seed: u64,
    operators: Arc<AtomicU64>,
}

/// Hands requests to the simulator without a socket.
#[derive(Debug, Clone)]
struct InProcess(Simulator);

#[async_trait]
impl Exchange for InProcess {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        match self.0.call(request).await {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Dropped => Err(ExchangeError::Lost("the connection broke (simulated)".to_owned())),
        }
    }
}

#[derive(Debug)]
struct InProcessConnector {
    pve: Simulator,
    clock: SharedClock,
}

impl Connect for InProcessConnector {
    fn connect(&self, settings: &ConnectionSettings) -> Result<SharedHypervisor, Fault> {
        let exchange = Arc::new(InProcess(self.pve.clone()));
        let deadline = Patience::default().call;
        connector::proxmox(settings, exchange, deadline, self.clock.clone(), Arc::new(Unobserved))
    }
}

impl World {
    /// A world with one Hypervisor and no worker.
    pub(crate) async fn new(seed: u64, scenario: Scenario) -> Self {
        let clock: SharedClock = Arc::new(TimerClock::starting_at("2026-11-01T00:00:00Z".parse().unwrap()));
        let kube = KubeApi::new(clock.clone());
        kube.add_namespace(NAMESPACE);
        for crd in crdgen::all() {
            kube.install(&crd);
        }
        let scenario = Scenario { seed, ..scenario };
        let pve = Simulator::with_guests(scenario, clock.clone(), Arc::new(CannedGuest::default()));
        let world = Self { kube, pve, clock, seed, operators: Arc::default() };
        world
            .create(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pve-token", "namespace": NAMESPACE},
                "stringData": {"tokenId": DEMO_TOKEN, "tokenSecret": DEMO_SECRET},
                "data": {"tokenId": base64(DEMO_TOKEN), "tokenSecret": base64(DEMO_SECRET)},
            }))
            .await;
        world
            .create(json!({
                "apiVersion": "stevedore.dev/v1alpha1", "kind": "Hypervisor",
                "metadata": {"name": "lab", "namespace": NAMESPACE},
                "spec": {
                    "provider": "Proxmox", "endpoints": ["https://pve1:8006"],
                    "credentialsSecretRef": {"name": "pve-token"}, "tls": {"insecureSkipVerify": true},
                    "proxmox": {"vmIdRange": {"min": 5000, "max": 5099}},
                    "limits": {"parallelLaunches": 4, "deletionsPerHour": 100},
                },
            }))
            .await;
        world
    }

    pub(crate) async fn create(&self, object: Value) {
        let client = self.kube.client("person");
        let kind = object["kind"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "Secret" => post::<k8s_openapi::api::core::v1::Secret>(client, object).await,
            "Hypervisor" => post::<Hypervisor>(client, object).await,
            "Worker" => post::<Worker>(client, object).await,
            other => panic!("no such kind here: {other}"),
        }
    }

    pub(crate) fn workers(&self) -> Api<Worker> {
        Api::namespaced(self.kube.client("person"), NAMESPACE)
    }

    pub(crate) async fn worker(&self, name: &str) -> Option<Worker> {
        self.workers().get_opt(name).await.unwrap()
    }

    /// An operator that has just been started: it remembers nothing.
    pub(crate) fn operator(&self) -> Operator {
        let number = self.operators.fetch_add(1, Ordering::Relaxed);
        let (bell, hurried) = unbounded_channel();
        let (changed_sender, changed) = unbounded_channel();
        let (workers, worker_writer) = reflector::store();
        let (hypervisors, hypervisor_writer) = reflector::store();
        let ids = AtomicU64::new(0);
        let seed = self.seed;
        let context = Context {
            client: self.kube.client("stevedore"),
            clock: self.clock.clone(),
            installation: INSTALLATION.to_owned(),
            connections: Connections::ringing(bell),
            connector: Arc::new(InProcessConnector { pve: self.pve.clone(), clock: self.clock.clone() }),
            gate: Arc::new(OpenGate),
            workers,
            hypervisors,
            tracks: Tracks::default(),
            events: Events::nowhere(),
            operation_ids: Arc::new(move || format!("op-{seed}-{number}-{}", ids.fetch_add(1, Ordering::Relaxed))),
            patience: Patience { settle: Duration::from_secs(10), ..Patience::default() },
            changed: changed_sender,
            metrics: Metrics::new(),
        };
        Operator {
            context: Arc::new(context),
            world: self.clone(),
            worker_writer,
            hypervisor_writer,
            hurried,
            changed,
            due: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    /// Every VM that is not a worker's: name, configuration, power. It must never change.
    pub(crate) fn strangers(&self) -> BTreeMap<u32, String> {
        self.vms().into_iter().filter(|(id, _)| !(5000..=5099).contains(id)).collect()
    }

    /// The VMs in the workers' range.
    pub(crate) fn ours(&self) -> BTreeMap<u32, String> {
        self.vms().into_iter().filter(|(id, _)| (5000..=5099).contains(id)).collect()
    }

    fn vms(&self) -> BTreeMap<u32, String> {
        self.pve.world(|world| {
            let of = |vmid| (world.settings(vmid), world.is_running(vmid));
            world.machines().into_iter().map(|(vmid, node)| (vmid, format!("{node} {:?}", of(vmid)))).collect()
        })
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

async fn post<K>(client: kube::Client, object: Value)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + serde::Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    Api::<K>::namespaced(client, NAMESPACE).create(&PostParams::default(), &object).await.unwrap();
}

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
}

impl Operator {
    /// Reconciles what is due until `done` or until `limit` has passed; the answer is whether it was done.
    pub(crate) async fn run(&mut self, limit: Duration, done: impl AsyncFn(&World) -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            self.observe().await;
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
    async fn observe(&mut self) {
        let client = self.world.kube.client("watch");
        let hypervisors: Vec<Hypervisor> = list(client.clone()).await;
        let workers: Vec<Worker> = list(client).await;
        for hypervisor in &hypervisors {
            self.notice(Item::Hypervisor(hypervisor.name_any()), hypervisor, hypervisor.status.is_some());
        }
        for worker in &workers {
            self.notice(Item::Worker(worker.name_any()), worker, worker.status.is_some());
        }
        let names: Vec<Item> = workers.iter().map(|worker| Item::Worker(worker.name_any())).collect();
        self.due.retain(|item, _| matches!(item, Item::Hypervisor(_)) || names.contains(item));
        fill(&mut self.hypervisor_writer, hypervisors);
        fill(&mut self.worker_writer, workers);
        while let Ok((_, name)) = self.hurried.try_recv() {
            self.due.insert(Item::Hypervisor(name), Some(Instant::now()));
        }
        while let Ok(reference) = self.changed.try_recv() {
            self.due.insert(Item::Worker(reference.name), Some(Instant::now()));
        }
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

async fn list<K>(client: kube::Client) -> Vec<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug,
{
    Api::<K>::all(client).list(&kube::api::ListParams::default()).await.unwrap().items
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

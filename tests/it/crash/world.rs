//! A Kubernetes API in memory, a simulated Proxmox VE, and operators that come and go in front of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stevedore::api::{Hypervisor, Worker, WorkerSession, WorkerTask, crdgen};
use stevedore::app::connector;
use stevedore::clock::{SharedClock, TimerClock};
use stevedore::controller::context::{Connect, ConnectionSettings, Patience};
use stevedore::domain::fault::Fault;
use stevedore::hypervisor::SharedHypervisor;
use stevedore::hypervisor::transport::{Exchange, ExchangeError, Unobserved};
use stevedore::runtime::client;
use stevedore::runtime::fence::{self, Permission};
use stevedore::runtime::metrics::Metrics;
use stevedore::simulator::fault::LoggedCall;
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::kubernetes::KubeApi;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{DEMO_IMAGE, DEMO_SECRET, DEMO_TOKEN, Scenario};
use stevedore::simulator::world as pve;
use tokio::sync::Notify;

use super::operator::Operator;
pub(crate) use crate::support::seed::seed;

pub(crate) const NAMESPACE: &str = "backup";
pub(crate) const INSTALLATION: &str = "6a0f3f8e-8a86-4bd2-8f0a-2d9d64f7a001";

/// Everything that outlives an operator.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) kube: KubeApi,
    pub(crate) pve: Simulator,
    pub(crate) guests: Arc<CannedGuest>,
    pub(crate) clock: SharedClock,
    pub(super) seed: u64,
    operators: Arc<AtomicU64>,
    /// Move on with every write to Kubernetes.
    versions: Arc<Versions>,
    /// The objects as they were read last.
    shelves: Arc<Shelves>,
    /// Counts the operators' requests.
    pub(super) requests: Arc<Requests>,
}

/// Counts the requests of all operators to both APIs, reads too, and rings at one of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    count: AtomicU64,
    ring_at: AtomicU64,
    pub(super) bell: Notify,
}

impl Requests {
    fn one_more(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.ring_at.load(Ordering::Relaxed) {
            self.bell.notify_one();
        }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Has the bell ring at the request with this number, counted from 1.
    pub(super) fn ring_at(&self, number: u64) {
        self.ring_at.store(number, Ordering::Relaxed);
    }
}

/// Counts the changes of each kind, by the name of its resource.
#[derive(Debug, Default)]
struct Versions(Mutex<HashMap<String, u64>>);

impl Versions {
    fn one_more(&self, resource: &str) {
        *self.0.lock().unwrap().entry(resource.to_owned()).or_default() += 1;
    }

    fn of(&self, resource: &str) -> u64 {
        self.0.lock().unwrap().get(resource).copied().unwrap_or(0)
    }
}

/// The objects of each kind.
#[derive(Debug, Default)]
struct Shelves {
    hypervisors: Shelf<Hypervisor>,
    workers: Shelf<Worker>,
    sessions: Shelf<WorkerSession>,
    tasks: Shelf<WorkerTask>,
}

/// The objects of one kind as of a version: what has not changed since is not read again.
#[derive(Debug)]
struct Shelf<K>(Mutex<(Option<u64>, Vec<K>)>);

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self(Mutex::new((None, Vec::new())))
    }
}

impl<K: Resource + DeserializeOwned + Clone> Shelf<K> {
    fn read(&self, world: &World, resource: &str) -> Vec<K> {
        let mut kept = self.0.lock().unwrap();
        let version = world.version(resource);
        if kept.0.replace(version) != Some(version) {
            let mut known: HashMap<_, _> = kept.1.drain(..).map(|one| (one.resource_version(), one)).collect();
            let objects = world.kube.objects("stevedore.dev", resource).into_iter();
            let newest = objects.map(|object| {
                let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                known.remove(&version).unwrap_or_else(|| serde_json::from_value(object).unwrap())
            });
            kept.1 = newest.collect();
        }
        kept.1.clone()
    }
}

/// Hands requests to the simulator without a socket.
#[derive(Debug, Clone)]
struct InProcess {
    pve: Simulator,
    requests: Arc<Requests>,
}

#[async_trait]
impl Exchange for InProcess {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        self.requests.one_more();
        self.pve.send(request).await
    }
}

#[derive(Debug)]
pub(crate) struct InProcessConnector(pub(crate) World);

impl Connect for InProcessConnector {
    fn connect(&self, settings: &ConnectionSettings) -> Result<SharedHypervisor, Fault> {
        let World { pve, requests, clock, .. } = self.0.clone();
        let deadline = Patience::default().call;
        connector::proxmox(settings, Arc::new(InProcess { pve, requests }), deadline, clock, Arc::new(Unobserved))
    }
}

impl World {
    /// A world with one Hypervisor, into which `patch` is merged, and no worker.
    pub(crate) async fn with(seed: u64, scenario: Scenario, patch: Value) -> Self {
        let world = Self::bare(seed, scenario);
        world.create(secret(DEMO_TOKEN, DEMO_SECRET)).await;
        world.create(merged(hypervisor(), &patch)).await;
        world
    }

    /// A world without any object.
    pub(crate) fn bare(seed: u64, scenario: Scenario) -> Self {
        let clock: SharedClock = Arc::new(TimerClock::starting_at("2026-11-01T00:00:00Z".parse().unwrap()));
        let kube = KubeApi::new(clock.clone());
        kube.add_namespace(NAMESPACE);
        for crd in crdgen::all() {
            kube.install(&crd);
        }
        let scenario = Scenario { seed, ..scenario };
        let guests = Arc::new(CannedGuest::default());
        let pve = Simulator::with_guests(scenario, clock.clone(), guests.clone());
        let versions = Arc::<Versions>::default();
        let moves = Arc::clone(&versions);
        kube.observe(move |write| moves.one_more(&write.call.target.resource));
        let requests = Arc::default();
        Self { kube, pve, guests, clock, seed, operators: Arc::default(), versions, shelves: Arc::default(), requests }
    }

    /// The way of an operator to the Kubernetes API, as it is in production: with deadlines, and writing with
    /// permission only.
    pub(super) fn client(&self, permission: Permission) -> kube::Client {
        let requests = Arc::clone(&self.requests);
        let counting = tower::layer::layer_fn(move |inner| {
            let requests = Arc::clone(&requests);
            tower::util::MapRequest::new(inner, move |request: Request<kube::client::Body>| {
                requests.one_more();
                request
            })
        });
        let deadlines = client::layer(client::Deadlines::default(), Metrics::new(), "memory".to_owned());
        kube::client::ClientBuilder::new(self.kube.service("stevedore"), "default")
            .with_layer(&counting)
            .with_layer(&fence::layer(permission, Duration::ZERO))
            .with_layer(&deadlines)
            .build()
    }

    pub(crate) async fn create(&self, object: Value) {
        let client = self.kube.client("person");
        let kind = object["kind"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "Secret" => post::<k8s_openapi::api::core::v1::Secret>(client, object).await,
            "Hypervisor" => post::<Hypervisor>(client, object).await,
            "Worker" => post::<Worker>(client, object).await,
            "WorkerSession" => post::<WorkerSession>(client, object).await,
            "WorkerTask" => post::<WorkerTask>(client, object).await,
            other => panic!("no such kind here: {other}"),
        }
    }

    pub(crate) fn workers(&self) -> Api<Worker> {
        Api::namespaced(self.kube.client("person"), NAMESPACE)
    }

    pub(crate) async fn worker(&self, name: &str) -> Option<Worker> {
        self.workers().get_opt(name).await.unwrap()
    }

    pub(crate) fn sessions(&self) -> Api<WorkerSession> {
        Api::namespaced(self.kube.client("person"), NAMESPACE)
    }

    pub(crate) async fn session(&self, name: &str) -> Option<WorkerSession> {
        self.sessions().get_opt(name).await.unwrap()
    }

    pub(crate) fn tasks(&self) -> Api<WorkerTask> {
        Api::namespaced(self.kube.client("person"), NAMESPACE)
    }

    pub(crate) async fn task(&self, name: &str) -> Option<WorkerTask> {
        self.tasks().get_opt(name).await.unwrap()
    }

    /// All Hypervisors.
    pub(super) fn all_hypervisors(&self) -> Vec<Hypervisor> {
        self.shelves.hypervisors.read(self, "hypervisors")
    }

    /// All workers.
    pub(crate) fn all_workers(&self) -> Vec<Worker> {
        self.shelves.workers.read(self, "workers")
    }

    /// All sessions.
    pub(crate) fn all_sessions(&self) -> Vec<WorkerSession> {
        self.shelves.sessions.read(self, "workersessions")
    }

    /// All tasks.
    pub(crate) fn all_tasks(&self) -> Vec<WorkerTask> {
        self.shelves.tasks.read(self, "workertasks")
    }

    /// Moves on with every write of objects of this kind.
    pub(super) fn version(&self, resource: &str) -> u64 {
        self.versions.of(resource)
    }

    /// Runs the garbage collector and the namespace controller.
    pub(crate) fn collect(&self) {
        self.kube.run_controllers();
        for resource in ["hypervisors", "workers", "workersessions", "workertasks"] {
            self.versions.one_more(resource);
        }
    }

    pub(super) fn hypervisors(&self) -> Api<Hypervisor> {
        Api::namespaced(self.kube.client("person"), NAMESPACE)
    }

    pub(crate) async fn hypervisor(&self, name: &str) -> Option<Hypervisor> {
        self.hypervisors().get_opt(name).await.unwrap()
    }

    /// A person edits a Worker.
    pub(crate) async fn edit(&self, name: &str, patch: Value) {
        self.workers().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A person edits a session.
    pub(crate) async fn edit_session(&self, name: &str, patch: Value) {
        self.sessions().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A person edits the Hypervisor.
    pub(crate) async fn edit_hypervisor(&self, patch: Value) {
        self.hypervisors().patch("lab", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A person changes the Secret.
    pub(crate) async fn edit_secret(&self, patch: Value) {
        let api: Api<Secret> = Api::namespaced(self.kube.client("person"), NAMESPACE);
        api.patch("pve-token", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// An operator that has just been started: it remembers nothing.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(self, self.operators.fetch_add(1, Ordering::Relaxed))
    }

    /// The calls so far that changed something, or were to change something, at the hypervisor. Running a script in a
    /// guest changes nothing there.
    pub(crate) fn effects(&self) -> Vec<LoggedCall> {
        self.pve.faults().changes().into_iter().filter(is_effect).collect()
    }

    /// Every VM that is not a worker's: name, configuration, power. It must never change.
    pub(crate) fn strangers(&self) -> BTreeMap<u32, String> {
        self.vms().into_iter().filter(|(id, _)| !(5000..=5099).contains(id)).collect()
    }

    /// The VMs in the workers' range.
    pub(crate) fn ours(&self) -> BTreeMap<u32, String> {
        self.vms().into_iter().filter(|(id, _)| (5000..=5099).contains(id)).collect()
    }

    /// How many downloads were begun.
    pub(crate) fn downloads(&self) -> usize {
        self.effects().iter().filter(|call| call.path.ends_with("/download-url")).count()
    }

    /// How many of the workers' VMs are powered on.
    pub(crate) fn running(&self) -> usize {
        self.pve.world(|world| our_ids(world).filter(|id| world.is_running(*id) == Ok(true)).count())
    }

    /// How many of the workers' VMs are being made or powered on.
    pub(crate) fn busy(&self) -> usize {
        let is_busy = |world: &pve::World, id| world.is_running(id) == Ok(true) || world.option(id, "lock").is_some();
        self.pve.world(|world| our_ids(world).filter(|id| is_busy(world, *id)).count())
    }

    /// An option of the first of the workers' VMs.
    pub(crate) fn option_of_ours(&self, key: &str) -> Option<String> {
        self.pve.world(|world| our_ids(world).next().and_then(|id| world.option(id, key)))
    }

    /// All VMs: place, configuration, power.
    pub(crate) fn vms(&self) -> BTreeMap<u32, String> {
        self.pve.world(|world| {
            let of = |vmid| (world.settings(vmid), world.is_running(vmid));
            world.machines().into_iter().map(|(vmid, node)| (vmid, format!("{node} {:?}", of(vmid)))).collect()
        })
    }
}

fn our_ids(world: &pve::World) -> impl Iterator<Item = u32> + use<> {
    world.machines().into_iter().map(|(id, _)| id).filter(|id| (5000..=5099).contains(id))
}

/// Scripts that change something in a guest.
const CHANGING_SCRIPTS: [&str; 6] = ["task_stage", "task_start", "task_stop", "task_forget", "update", "update_reboot"];

/// Whether a call changes something at the hypervisor, or in a guest.
pub(crate) fn is_effect(call: &LoggedCall) -> bool {
    let runs = |script: &&str| {
        let says_so = format!("record script {script} ");
        call.params.iter().any(|(_, value)| value.contains(&says_so))
    };
    let in_guest = call.path.contains("/agent/");
    call.method != "GET" && (!in_guest || CHANGING_SCRIPTS.iter().any(runs))
}

/// A Hypervisor as people declare it.
pub(crate) fn hypervisor() -> Value {
    json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "Hypervisor",
        "metadata": {"name": "lab", "namespace": NAMESPACE},
        "spec": {
            "provider": "Proxmox", "endpoints": ["https://pve1:8006"],
            "credentialsSecretRef": {"name": "pve-token"}, "tls": {"insecureSkipVerify": true},
            "proxmox": {"vmIdRange": {"min": 5000, "max": 5099}},
            "limits": {"parallelLaunches": 4, "deletionsPerHour": 100},
        },
    })
}

/// A Worker that is tested whenever it changes; `patch` is merged into it.
pub(crate) fn worker(name: &str, patch: &Value) -> Value {
    let plain = json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "Worker",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "hypervisorRef": {"name": "lab"}, "proxmox": {"host": "pve1", "storage": "local-lvm"},
            "image": {"template": "debian-worker"}, "networks": [{"name": "lan", "bridge": "vmbr0"}],
            "test": {"policy": "OnChange"},
        },
    });
    merged(plain, patch)
}

pub(crate) fn secret(id: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pve-token", "namespace": NAMESPACE},
        "data": {"tokenId": base64(id), "tokenSecret": base64(secret)},
    })
}

pub(crate) fn merged(mut object: Value, patch: &Value) -> Value {
    json_patch::merge(&mut object, patch);
    object
}

/// Whether a worker is at rest, off, and its present declaration passed its test.
pub(crate) fn is_tested(worker: &Worker) -> bool {
    let status = worker.status.clone().unwrap_or_default();
    let tested = |condition: &&stevedore::api::conditions::Condition| condition.type_ == "Tested";
    status.phase.as_deref() == Some("ShutDown")
        && status.operation.is_none()
        && status.observed_generation == worker.metadata.generation
        && status.conditions.iter().find(tested).is_some_and(|condition| condition.status == "True")
}

/// What makes a worker one by URL, with its image on `storage`.
pub(crate) fn by_url(storage: &str) -> Value {
    let checksum = Scenario::default_demo().checksum_of(DEMO_IMAGE, "sha256").unwrap();
    json!({"spec": {
        "proxmox": {"imageStorage": storage},
        "image": {"template": null, "url": DEMO_IMAGE, "checksum": checksum},
    }})
}

/// Runs a world in virtual time.
pub(crate) fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work)
}

pub(crate) fn base64(text: &str) -> String {
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

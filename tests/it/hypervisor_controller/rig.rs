//! The controller, the Kubernetes API in memory, and caches that are fed by hand.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stevedore::api::conditions::find;
use stevedore::api::{Hypervisor, HypervisorStatus, Worker, crdgen};
use stevedore::clock::{BootTime, Clock, TimerClock};
use stevedore::controller::connection::{Connection, Connections, State};
use stevedore::controller::context::{Context, OpenGate, Patience};
use stevedore::controller::events::Events;
use stevedore::controller::hypervisor::{Outcome, reconcile};
use stevedore::controller::tracks::Tracks;
use stevedore::controller::unreadable::Unreadables;
use stevedore::runtime::metrics::Metrics;
use stevedore::simulator::kubernetes::KubeApi;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::world::{INSTALLATION, World};

pub(crate) const NAMESPACE: &str = "backup";

/// Virtual time whose wall clock can be set.
#[derive(Debug)]
pub(crate) struct SetClock {
    timer: TimerClock,
    ahead: Mutex<SignedDuration>,
}

impl SetClock {
    /// Sets the wall clock forward, or back.
    pub(crate) fn set_by(&self, by: SignedDuration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for SetClock {
    fn wall(&self) -> Timestamp {
        self.timer.wall() + *self.ahead.lock().unwrap()
    }

    fn boot(&self) -> BootTime {
        self.timer.boot()
    }
}

pub(crate) struct Rig {
    pub(crate) clock: Arc<SetClock>,
    pub(crate) api: KubeApi,
    pub(crate) client: kube::Client,
    pub(crate) world: World,
    pub(crate) context: Arc<Context>,
    changed: UnboundedReceiver<ObjectRef<Worker>>,
    workers: Writer<Worker>,
    hypervisors: Writer<Hypervisor>,
}

impl Rig {
    /// An API with the namespace and the CRDs, and nothing else.
    pub(crate) fn empty() -> Self {
        let timer = TimerClock::starting_at("2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap());
        let clock = Arc::new(SetClock { timer, ahead: Mutex::default() });
        let api = KubeApi::new(clock.clone());
        api.add_namespace(NAMESPACE);
        for crd in crdgen::all() {
            api.install(&crd);
        }
        let client = api.client("stevedore/test");
        let (worker_store, workers) = reflector::store();
        let (hypervisor_store, hypervisors) = reflector::store();
        let (sender, changed) = unbounded_channel();
        let world = World::new();
        let context = Arc::new(Context {
            client: client.clone(),
            clock: clock.clone(),
            installation: INSTALLATION.into(),
            connections: Connections::default(),
            connector: Arc::new(world.clone()),
            gate: Arc::new(OpenGate),
            workers: worker_store.into(),
            workers_listed: stevedore::controller::listed::Listed::already(),
            unreadable_workers: Unreadables::default(),
            unreadable_hypervisors: Unreadables::default(),
            hypervisors: hypervisor_store,
            tasks: reflector::store().0.into(),
            sessions: reflector::store().0,
            disks: stevedore::controller::scheduling::disks::Disks::default(),
            unreadable_sessions: Unreadables::default(),
            unreadable_tasks: Unreadables::default(),
            sessions_listed: stevedore::controller::listed::Listed::already(),
            runs: stevedore::controller::session::Runs::default(),
            changed_sessions: unbounded_channel().0,
            changed_tasks: unbounded_channel().0,
            schedule: unbounded_channel().0,
            changed: sender,
            tracks: Tracks::default(),
            events: Events::start(client.clone(), None),
            metrics: Metrics::new(),
            operation_ids: Arc::new(|| "op".to_owned()),
            allowed: stevedore::domain::allowed::AllowedEndpoints::default(),
            patience: Patience::default(),
        });
        Self { clock, api, client, world, context, changed, workers, hypervisors }
    }

    /// With a Secret and a Hypervisor.
    pub(crate) async fn new() -> Self {
        let rig = Self::empty();
        rig.add_secret("pve", "s3cret").await;
        rig.add_hypervisor("pve", json!({})).await;
        rig
    }

    pub(crate) fn of<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn add_secret(&self, name: &str, token: &str) {
        let data = [("tokenId", "stevedore@pve!operator"), ("tokenSecret", token)]
            .map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
        let mut secret = Secret { data: Some(data.into()), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        self.of::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    }

    pub(crate) async fn add_map(&self, name: &str, key: &str, text: &str) {
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}, "data": {key: text}})).unwrap();
        self.of::<ConfigMap>().create(&PostParams::default(), &map).await.unwrap();
    }

    /// A Hypervisor whose spec has `extra` on top.
    pub(crate) async fn add_hypervisor(&self, name: &str, extra: Value) {
        let mut spec = json!({
            "provider": "Proxmox",
            "endpoints": ["https://pve1.example.org:8006"],
            "credentialsSecretRef": {"name": "pve"},
            "proxmox": {"vmIdRange": {"min": 5000, "max": 5999}},
        });
        json_patch::merge(&mut spec, &extra);
        let object = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        self.of::<Hypervisor>().create(&PostParams::default(), &object).await.unwrap();
    }

    /// A Worker of the Hypervisor `pve`; its UID.
    pub(crate) async fn add_worker(&self, name: &str) -> String {
        let object = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "hypervisorRef": {"name": "pve"},
                "proxmox": {"host": "pve1", "storage": "local-lvm"},
                "image": {"template": "debian"},
                "networks": [{"name": "lan", "bridge": "vmbr0"}],
                "access": {"user": "stevedore"},
            },
        }))
        .unwrap();
        let worker = self.of::<Worker>().create(&PostParams::default(), &object).await.unwrap();
        worker.metadata.uid.unwrap()
    }

    pub(crate) async fn edit<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.of::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.of::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Brings the caches up to date.
    pub(crate) fn sync(&mut self) {
        feed(&mut self.workers, self.api.objects("stevedore.dev", "workers"));
        feed(&mut self.hypervisors, self.api.objects("stevedore.dev", "hypervisors"));
    }

    /// Brings the caches up to date and reconciles `pve`, as the driver would.
    pub(crate) async fn reconcile(&mut self) -> Outcome {
        self.sync();
        self.reconcile_cached("pve").await
    }

    pub(crate) async fn reconcile_cached(&self, name: &str) -> Outcome {
        let cached = self.context.hypervisors.get(&ObjectRef::new(name).within(NAMESPACE)).unwrap();
        reconcile(cached, self.context.clone()).await.unwrap()
    }

    /// Reconciles as the driver would for this long: again whenever the outcome says so. How often that was.
    pub(crate) async fn run_for(&mut self, time: Duration) -> usize {
        let end = tokio::time::Instant::now() + time;
        let mut times = 0;
        while self.api.object("stevedore.dev", "hypervisors", NAMESPACE, "pve").is_some() {
            let outcome = self.reconcile().await;
            times += 1;
            let wait = outcome.requeue.unwrap_or(time);
            if tokio::time::Instant::now() + wait > end {
                tokio::time::sleep_until(end).await;
                break;
            }
            tokio::time::sleep(wait).await;
        }
        times
    }

    pub(crate) fn hypervisor(&self, name: &str) -> Hypervisor {
        let object = self.api.object("stevedore.dev", "hypervisors", NAMESPACE, name).unwrap();
        serde_json::from_value(object).unwrap()
    }

    pub(crate) fn status(&self) -> HypervisorStatus {
        self.hypervisor("pve").status.unwrap_or_default()
    }

    /// `status/reason` of a condition.
    pub(crate) fn condition(&self, type_: &str) -> String {
        let status = self.status();
        let condition = find(&status.conditions, type_).unwrap_or_else(|| panic!("no condition {type_}"));
        format!("{}/{}", condition.status, condition.reason)
    }

    pub(crate) fn message(&self, type_: &str) -> String {
        find(&self.status().conditions, type_).unwrap().message.clone()
    }

    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.context.connections.get(&(NAMESPACE.to_owned(), "pve".to_owned())).unwrap()
    }

    pub(crate) fn state(&self) -> State {
        self.connection().state()
    }

    /// The names of the workers that were woken since.
    pub(crate) fn woken(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Ok(worker) = self.changed.try_recv() {
            names.push(worker.name);
        }
        names.sort();
        names
    }

    /// The finalizers of a Secret or `ConfigMap`; `None` if it is gone.
    pub(crate) fn finalizers(&self, resource: &str, name: &str) -> Option<Vec<String>> {
        let object = self.api.object("", resource, NAMESPACE, name)?;
        let list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        Some(list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
    }
}

fn feed<K>(writer: &mut Writer<K>, objects: Vec<Value>)
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
}

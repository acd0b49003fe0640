//! What these tests stand on: control plane, installed chart, simulated cluster, operator processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::Value;
use stevedore::api::{Hypervisor, Worker};
use stevedore::clock::SystemClock;
use stevedore::controlplane::{AuditEvent, ControlPlane, Installed, Options, Replica};
use stevedore::simulator::declared::{self, Cluster};
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{Scenario, Seconds, Timings};
use stevedore::simulator::server::Server;
use tokio::time::Instant;

pub(crate) use stevedore::simulator::declared::is_tested;

/// Where the operator is installed.
pub(super) const SYSTEM: &str = "stevedore-system";
/// Where workers live.
pub(crate) const NAMESPACE: &str = "backup";
const HYPERVISOR: &str = "pve";
/// Much longer than anything takes in a quick world: only a test that hangs gets there.
const PATIENCE: Duration = Duration::from_secs(240);

/// A control plane with the chart installed, and a simulated cluster.
pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) pve: Simulator,
    pub(super) server: Server,
    pub(super) installed: Installed,
    patience: Duration,
}

/// A lease as short as it can be while calls may take 2 s. Who is not given the processor for as long loses it.
const SHORT_LEASE: &str = "lease.duration=3s,lease.renewInterval=700ms";

/// A world that does in a blink what takes seconds elsewhere.
pub(crate) fn quick() -> Scenario {
    let timings = Timings {
        download: Seconds(0.3),
        import: Seconds(0.4),
        full_clone: Seconds(0.4),
        start: Seconds(0.1),
        boot: Seconds(0.3),
        shutdown: Seconds(0.2),
        resize: Seconds(0.05),
        destroy: Seconds(0.1),
        allocate: Seconds(0.05),
        publish: Seconds(1.0),
        restart_latch: Seconds(0.0),
        ..Timings::default()
    };
    Scenario { timings, ..Scenario::default_demo() }
}

/// The folder of the project's chart.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/stevedore")
}

impl Stage {
    /// Sets the stage; no operator runs yet.
    pub(crate) async fn set(scenario: Scenario) -> Self {
        Self::with(scenario, &chart(), "lease.duration=4s,lease.renewInterval=1s").await
    }

    /// The same with a lease of 3 s.
    pub(super) async fn with_short_lease(scenario: Scenario) -> Self {
        Self::with(scenario, &chart(), SHORT_LEASE).await
    }

    /// The same with another chart.
    pub(super) async fn with(scenario: Scenario, chart: &Path, lease: &str) -> Self {
        Self::of_guests(scenario, Arc::default(), chart, lease).await
    }

    /// The same with a lease of 3 s, and with guests that can be asked what they did.
    pub(super) async fn with_guests(scenario: Scenario, guests: Arc<CannedGuest>) -> Self {
        Self::of_guests(scenario, guests, &chart(), SHORT_LEASE).await
    }

    async fn of_guests(scenario: Scenario, guests: Arc<CannedGuest>, chart: &Path, lease: &str) -> Self {
        let pve = Simulator::with_guests(scenario, Arc::new(SystemClock), guests);
        let flags = "extraArgs={--settle-time=1s,--guest-timeout=20s,--call-deadline=2s}";
        Self::before(pve, chart, &[flags, lease], PATIENCE).await
    }

    /// In front of a cluster that is there already, with these values of the chart and this patience.
    pub(crate) async fn before(pve: Simulator, chart: &Path, values: &[&str], patience: Duration) -> Self {
        let plane = ControlPlane::start(Options { audit: true, ..Options::default() }).await.unwrap();
        let server = Server::start(&pve, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let installed = Installed::from_chart(&plane, chart, "stevedore", SYSTEM, values).await.unwrap();
        Self { plane, pve, server, installed, patience }
    }

    /// Starts replica number `replica` of the installed Deployment.
    pub(crate) async fn operator(&self, replica: u32) -> Replica {
        let program = Path::new(env!("CARGO_BIN_EXE_stevedore"));
        self.installed.start(&self.plane, program, replica).await.unwrap()
    }

    /// Applies manifests as a person does.
    pub(crate) async fn apply(&self, manifests: &str) {
        self.plane.kubectl_with_input(&["apply", "-f", "-"], manifests).await.unwrap().success().unwrap();
    }

    pub(crate) async fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(args).await.unwrap().success().unwrap()
    }

    /// Applies namespace, credential, CA and Hypervisor.
    pub(crate) async fn apply_hypervisor(&self, limits: &str) {
        let endpoints = [&[self.server.addr], &self.server.inside[..]].concat();
        let cluster = Cluster {
            namespace: NAMESPACE,
            name: HYPERVISOR,
            endpoints: &endpoints,
            ca_pem: &self.server.ca_pem,
            vm_ids: (5000, 5999),
            limits,
            poll: "{idle: 10s, busy: 1s}",
        };
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n");
        self.apply(&(namespace + &cluster.manifests())).await;
    }

    /// People change all Workers in the same way.
    pub(crate) async fn edit_all(&self, patch: &Value) {
        let api = Api::<Worker>::namespaced(self.plane.client().await.unwrap(), NAMESPACE);
        for worker in self.workers().await {
            api.patch(&worker.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    }

    pub(crate) async fn workers(&self) -> Vec<Worker> {
        let client = self.plane.client().await.unwrap();
        Api::<Worker>::namespaced(client, NAMESPACE).list(&kube::api::ListParams::default()).await.unwrap().items
    }

    pub(crate) async fn hypervisor(&self) -> Option<Hypervisor> {
        let client = self.plane.client().await.unwrap();
        Api::<Hypervisor>::namespaced(client, NAMESPACE).get_opt("pve").await.unwrap()
    }

    /// Waits until `done` says so of the workers; prints what they are if it never does.
    pub(crate) async fn until(&self, what: &str, done: impl Fn(&[Worker]) -> bool) {
        let end = Instant::now() + self.patience;
        loop {
            let workers = self.workers().await;
            if done(&workers) {
                return;
            }
            if Instant::now() > end {
                let table = self.kubectl(&["-n", NAMESPACE, "get", "workers,hypervisors", "-o", "wide"]).await;
                panic!("never: {what}\n{table}\n{workers:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// VMs in the workers' range: their names by VMID.
    pub(crate) fn ours(&self) -> BTreeMap<u32, String> {
        self.pve.world(|world| {
            let ids = world.machines().into_iter().map(|(vmid, _)| vmid).filter(|vmid| (5000..6000).contains(vmid));
            ids.map(|vmid| (vmid, world.option(vmid, "name").unwrap_or_default())).collect()
        })
    }

    /// Everybody else's VMs, with all that is set on them and whether they run.
    pub(super) fn strangers(&self) -> BTreeMap<u32, String> {
        self.pve.world(|world| {
            let ids = world.machines().into_iter().filter(|(vmid, _)| !(5000..6000).contains(vmid));
            ids.map(|(vmid, node)| (vmid, format!("{node} {:?} {:?}", world.settings(vmid), world.is_running(vmid))))
                .collect()
        })
    }

    pub(crate) fn running(&self) -> Vec<u32> {
        let ours: Vec<u32> = self.ours().into_keys().collect();
        self.pve.world(|world| ours.into_iter().filter(|vmid| world.is_running(*vmid).unwrap_or(false)).collect())
    }

    /// What the operator asked the API server to change, the Lease and events left out.
    pub(super) fn changes(&self) -> Vec<AuditEvent> {
        let mut events = self.installed.requests(&self.plane).unwrap();
        events.retain(|event| event.is_change() && event.resource != "leases" && event.resource != "events");
        events
    }

    /// Requests of the operator that the API server refused for want of rights.
    pub(super) fn forbidden(&self) -> Vec<AuditEvent> {
        let mut events = self.installed.requests(&self.plane).unwrap();
        events.retain(|event| event.code == Some(403));
        events
    }
}

/// A worker of the demo world.
pub(crate) fn worker(name: &str, host: &str, policy: &str) -> String {
    declared::worker(NAMESPACE, HYPERVISOR, name, host, policy)
}

pub(super) fn all_tested(workers: &[Worker], count: usize) -> bool {
    workers.len() == count && workers.iter().all(is_tested)
}

pub(super) fn named<'a>(workers: &'a [Worker], name: &str) -> Option<&'a Worker> {
    workers.iter().find(|worker| worker.name_any() == name)
}

/// Whether a worker's VM has this much memory and passed its test with it.
pub(super) fn is_tested_with(worker: &Worker, memory: &str) -> bool {
    let applied = worker.status.as_ref().and_then(|status| status.applied.as_ref());
    let amount = applied.and_then(|applied| applied.summary.get("resources.memory"));
    is_tested(worker) && amount.map(String::as_str) == Some(memory)
}

/// Whether an operation is open.
pub(crate) fn is_worked_on(worker: &Worker) -> bool {
    worker.status.as_ref().is_some_and(|status| status.operation.is_some())
}

/// That a process leads, by its own words.
pub(crate) fn leads(status: u16, answer: &str) -> bool {
    status == 200 && answer.contains("this process leads")
}

/// That a process knows another that leads, by its own words.
pub(super) fn stands_by(status: u16, answer: &str) -> bool {
    status == 200 && answer.contains("leads, this process stands by")
}

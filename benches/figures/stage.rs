//! What all measurements stand on: a control plane with the chart installed, simulated clusters that are served.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use stevedore::api::{Hypervisor, Worker};
use stevedore::clock::SystemClock;
use stevedore::controlplane::{AuditEvent, ControlPlane, Installed, Options, Replica};
use stevedore::simulator::declared::Cluster;
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{Scenario, Seconds, StorageKind, Timings};
use stevedore::simulator::server::Server;
use tokio::time::{Instant, sleep, timeout};

/// What is measured, or why it could not be.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Where the operator is installed.
const SYSTEM: &str = "stevedore-system";
/// Where workers live.
pub(crate) const NAMESPACE: &str = "backup";
/// The nodes of every simulated cluster.
pub(crate) const HOSTS: [&str; 3] = ["pve1", "pve2", "pve3"];

/// A control plane with the chart installed.
pub(crate) struct Stage {
    plane: ControlPlane,
    installed: Installed,
    /// The administrator.
    pub(crate) client: Client,
}

impl Stage {
    /// Sets the stage; no operator runs yet.
    pub(crate) async fn set() -> Outcome<Self> {
        let plane = ControlPlane::start(Options { audit: true, ..Options::default() }).await?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/stevedore");
        let installed = Installed::from_chart(&plane, &chart, "stevedore", SYSTEM, &[]).await?;
        let client = plane.client().await?;
        let stage = Self { plane, installed, client };
        stage.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n")).await?;
        Ok(stage)
    }

    /// Starts the operator.
    pub(crate) async fn operator(&self) -> Outcome<Replica> {
        Ok(self.installed.start(&self.plane, Path::new(env!("CARGO_BIN_EXE_stevedore")), 0).await?)
    }

    /// Applies manifests.
    pub(crate) async fn apply(&self, manifests: &str) -> Outcome<()> {
        self.plane.kubectl_with_input(&["create", "-f", "-"], manifests).await?.success()?;
        Ok(())
    }

    /// The workers' part of the API.
    pub(crate) fn workers(&self) -> Api<Worker> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The hypervisors' part of the API.
    pub(crate) fn hypervisors(&self) -> Api<Hypervisor> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// What the operator asked the API server to change so far, the Lease left out.
    pub(crate) fn changes(&self) -> Outcome<Vec<AuditEvent>> {
        let mut requests = self.installed.requests(&self.plane)?;
        requests.retain(|request| request.is_change() && request.resource != "leases");
        Ok(requests)
    }

    /// Ends everything.
    pub(crate) async fn clear(self) {
        self.plane.stop().await;
    }
}

/// Ends an operator as the kubelet does.
pub(crate) async fn end(mut operator: Replica) -> Outcome<()> {
    operator.process.terminate();
    let ended = timeout(Duration::from_secs(60), operator.process.wait()).await?;
    if ended.success() { Ok(()) } else { Err(format!("the operator ended badly: {ended}").into()) }
}

/// A simulated cluster that is served.
pub(crate) struct Lab {
    /// The name of its Hypervisor.
    pub(crate) name: String,
    /// The cluster.
    pub(crate) simulator: Simulator,
    server: Server,
}

impl Lab {
    /// Serves cluster number `number`, which takes `timings` for what it does.
    pub(crate) async fn serve(number: usize, timings: Timings) -> Outcome<Self> {
        let mut scenario = Scenario {
            cluster: Some(format!("lab-{number}")),
            seed: u64::try_from(number)? + 1,
            timings,
            ..Scenario::default_demo()
        };
        for storage in scenario.storages.iter_mut().filter(|storage| storage.kind == StorageKind::LvmThin) {
            // Room for as many workers as there are.
            storage.size_gib = 1_000_000;
        }
        let simulator = Simulator::with_guests(scenario, Arc::new(SystemClock), Arc::new(CannedGuest::default()));
        let server = Server::start(&simulator, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        Ok(Self { name: format!("pve-{number}"), simulator, server })
    }

    /// How it is declared, with these `limits` and this `poll`.
    pub(crate) fn cluster<'a>(&'a self, limits: &'a str, poll: &'a str) -> Cluster<'a> {
        Cluster {
            namespace: NAMESPACE,
            name: &self.name,
            endpoints: std::slice::from_ref(&self.server.addr),
            ca_pem: &self.server.ca_pem,
            vm_ids: (5000, 9000),
            limits,
            poll,
        }
    }

    /// How often it was polled, of what the log of calls still has.
    pub(crate) fn polls(&self) -> usize {
        self.simulator.faults().log().iter().filter(|call| call.path == "/cluster/resources").count()
    }

    /// How many VMs' configurations were read, of what the log of calls still has.
    pub(crate) fn reads(&self) -> usize {
        let log = self.simulator.faults().log();
        log.iter().filter(|call| call.path.ends_with("/config") && call.status == Some(200)).count()
    }

    /// Waits until it was polled so often that the absence of a VM can be proven at once.
    pub(crate) async fn until_known(&self) -> Outcome<()> {
        until("the hypervisor was polled", Duration::from_secs(180), || async { Ok(self.polls() >= 3) }).await
    }
}

/// Tasks and guests that take no time.
pub(crate) fn no_time() -> Timings {
    let none = Seconds(0.0);
    Timings {
        api_latency: none,
        fork: none,
        allocate: none,
        import: none,
        full_clone: none,
        linked_clone: none,
        start: none,
        boot: none,
        shutdown: none,
        stop: none,
        resize: none,
        destroy: none,
        restart_latch: none,
        publish: none,
        ..Timings::default()
    }
}

/// Asks again and again.
pub(crate) async fn until<F>(what: &str, patience: Duration, is_so: impl Fn() -> F) -> Outcome<()>
where
    F: Future<Output = Outcome<bool>>,
{
    let end = Instant::now() + patience;
    while !is_so().await? {
        if Instant::now() > end {
            return Err(format!("it did not come to that in {} s: {what}", patience.as_secs()).into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Watches until `count` workers are as wanted.
pub(crate) async fn watched(
    stage: &Stage,
    count: usize,
    patience: Duration,
    is_wanted: impl Fn(&Worker) -> bool,
) -> Outcome<()> {
    let mut wanted = BTreeSet::new();
    let mut objects = watcher(stage.workers(), watcher::Config::default()).applied_objects().boxed();
    let watching = async {
        while let Some(worker) = objects.try_next().await? {
            if is_wanted(&worker) {
                wanted.insert(worker.name_any());
            } else {
                wanted.remove(&worker.name_any());
            }
            if wanted.len() >= count {
                return Outcome::Ok(());
            }
        }
        Err("the watch ended".into())
    };
    match timeout(patience, watching).await {
        Ok(watched) => watched,
        Err(_) => Err(format!("{} of {count} workers were there after {} s", wanted.len(), patience.as_secs()).into()),
    }
}

//! What these tests stand on: control plane, installed chart, simulated cluster, operator processes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};
use stevedore::api::{Hypervisor, Worker};
use stevedore::clock::SystemClock;
use stevedore::controlplane::{AuditEvent, ControlPlane, OperatorProcess, Options, deployment};
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Scenario, Seconds, Timings};
use stevedore::simulator::server::Server;
use tokio::time::Instant;

/// Where the operator is installed.
pub(super) const SYSTEM: &str = "stevedore-system";
/// Where workers live.
pub(super) const NAMESPACE: &str = "backup";
/// Much longer than anything takes here: only a test that hangs gets there.
const PATIENCE: Duration = Duration::from_secs(240);

/// A control plane with the chart installed, and a simulated cluster.
pub(super) struct Stage {
    pub(super) plane: ControlPlane,
    pub(super) pve: Simulator,
    pub(super) server: Server,
}

/// An operator's process, and where it is asked how it is.
pub(super) struct Running {
    pub(super) process: OperatorProcess,
    pub(super) admin: SocketAddr,
}

/// A world that does in a blink what takes seconds elsewhere.
pub(super) fn quick() -> Scenario {
    let timings = Timings {
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

impl Stage {
    /// Sets the stage; no operator runs yet.
    pub(super) async fn set(scenario: Scenario) -> Self {
        let plane = ControlPlane::start(Options { audit: true, ..Options::default() }).await.unwrap();
        let pve = Simulator::with_guests(scenario, Arc::new(SystemClock), Arc::new(CannedGuest::default()));
        let server = Server::start(&pve, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/stevedore").display().to_string();
        let flags = "extraArgs={--settle-time=1s,--guest-timeout=20s,--call-deadline=2s}";
        let lease = "lease.duration=4s,lease.renewInterval=1s";
        let args = [
            "install",
            "stevedore",
            &chart,
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--set",
            flags,
            "--set",
            lease,
        ];
        plane.helm(&args).await.unwrap().success().unwrap();
        Self { plane, pve, server }
    }

    /// Starts replica number `replica` of the installed Deployment.
    pub(super) async fn operator(&self, replica: u32) -> Running {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = self.plane.client().await.unwrap();
        let spec = deployment::read(&client, SYSTEM, "stevedore", replica).await.unwrap();
        let spec = spec.with_arg("--admin-address", &admin.to_string());
        let program = Path::new(env!("CARGO_BIN_EXE_stevedore"));
        Running { process: OperatorProcess::start(&self.plane, program, &spec).await.unwrap(), admin }
    }

    /// Applies manifests as a person does.
    pub(super) async fn apply(&self, manifests: &str) {
        self.plane.kubectl_with_input(&["apply", "-f", "-"], manifests).await.unwrap().success().unwrap();
    }

    pub(super) async fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(args).await.unwrap().success().unwrap()
    }

    /// Applies namespace, credential, CA and Hypervisor.
    pub(super) async fn apply_hypervisor(&self, limits: &str) {
        let ca = format!("    {}\n", self.server.ca_pem.trim_end().replace('\n', "\n    "));
        let endpoint = self.server.addr;
        self.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: pve, namespace: {NAMESPACE}}}\n\
             stringData: {{tokenId: {DEMO_TOKEN:?}, tokenSecret: {DEMO_SECRET:?}}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: pve-ca, namespace: {NAMESPACE}}}\ndata:\n  ca.crt: |\n{ca}---\n\
             apiVersion: stevedore.dev/v1alpha1\nkind: Hypervisor\nmetadata: {{name: pve, namespace: {NAMESPACE}}}\n\
             spec:\n  provider: Proxmox\n  endpoints: [\"https://{endpoint}\"]\n  credentialsSecretRef: {{name: pve}}\n\
             \x20 tls: {{caRef: {{kind: ConfigMap, name: pve-ca}}}}\n  proxmox: {{vmIdRange: {{min: 5000, max: 5999}}}}\n\
             \x20 limits: {limits}\n  poll: {{idle: 10s, busy: 1s}}\n"
        ))
        .await;
    }

    pub(super) async fn workers(&self) -> Vec<Worker> {
        let client = self.plane.client().await.unwrap();
        Api::<Worker>::namespaced(client, NAMESPACE).list(&kube::api::ListParams::default()).await.unwrap().items
    }

    pub(super) async fn hypervisor(&self) -> Option<Hypervisor> {
        let client = self.plane.client().await.unwrap();
        Api::<Hypervisor>::namespaced(client, NAMESPACE).get_opt("pve").await.unwrap()
    }

    /// Waits until `done` says so of the workers; prints what they are if it never does.
    pub(super) async fn until(&self, what: &str, done: impl Fn(&[Worker]) -> bool) {
        let end = Instant::now() + PATIENCE;
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
    pub(super) fn ours(&self) -> BTreeMap<u32, String> {
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

    pub(super) fn running(&self) -> Vec<u32> {
        let ours: Vec<u32> = self.ours().into_keys().collect();
        self.pve.world(|world| ours.into_iter().filter(|vmid| world.is_running(*vmid).unwrap_or(false)).collect())
    }

    /// What the operator asked the API server to change, the Lease and events left out.
    pub(super) fn changes(&self) -> Vec<AuditEvent> {
        let user = format!("system:serviceaccount:{SYSTEM}:stevedore");
        let events = self.plane.audit_events().unwrap().into_iter();
        events
            .filter(|event| event.user == user && event.is_change())
            .filter(|event| event.resource != "leases" && event.resource != "events")
            .collect()
    }

    /// Requests of the operator that the API server refused for want of rights.
    pub(super) fn forbidden(&self) -> Vec<AuditEvent> {
        let user = format!("system:serviceaccount:{SYSTEM}:stevedore");
        self.plane
            .audit_events()
            .unwrap()
            .into_iter()
            .filter(|event| event.user == user && event.code == Some(403))
            .collect()
    }
}

impl Running {
    /// What `/readyz` answers: status and body.
    pub(super) async fn ready(&self) -> Option<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    /// Waits until `/readyz` answers what is wanted.
    pub(super) async fn until_ready(&self, wanted: impl Fn(u16, &str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ready().await;
            if answer.as_ref().is_some_and(|(status, body)| wanted(*status, body)) {
                return;
            }
            assert!(Instant::now() < end, "never ready as wanted: {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A worker of the demo world.
pub(super) fn worker(name: &str, host: &str, policy: &str) -> String {
    format!(
        "apiVersion: stevedore.dev/v1alpha1\nkind: Worker\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n\
         \x20 hypervisorRef: {{name: pve}}\n  proxmox: {{host: {host}, storage: local-lvm}}\n\
         \x20 image: {{template: debian-worker}}\n  networks: [{{name: lan, bridge: vmbr0}}]\n  test: {{policy: {policy}}}\n---\n"
    )
}

/// Whether a worker's test of its present declaration passed and its VM is off.
pub(super) fn is_tested(worker: &Worker) -> bool {
    let status = worker.status.clone().unwrap_or_default();
    status.phase.as_deref() == Some("ShutDown")
        && status.operation.is_none()
        && status.last_test.is_some_and(|test| test.result == "Passed")
}

pub(super) fn all_tested(workers: &[Worker], count: usize) -> bool {
    workers.len() == count && workers.iter().all(is_tested)
}

pub(super) fn named<'a>(workers: &'a [Worker], name: &str) -> Option<&'a Worker> {
    workers.iter().find(|worker| worker.name_any() == name)
}

/// `STEVEDORE_SEED` replays a run.
pub(super) fn seed() -> u64 {
    std::env::var("STEVEDORE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

//! The operator on a real control plane, in front of a cluster whose machines are real.

use std::time::{Duration, Instant};

use serde_json::Value;
use stevedore::api::Worker;
use stevedore::controlplane::Replica;
use stevedore::simulator::fault::LoggedCall;
use stevedore::simulator::image_server::ImageServer;
use stevedore::simulator::qemu::ImageInfo;
use stevedore::simulator::scenario::Scenario;
use tokio::time::sleep;

use super::stage::{Stage as Machines, image};
use crate::installed::stage::{NAMESPACE, Stage, chart, leads, worker};

/// The patience that a guest in software emulation on a busy machine needs.
const FLAGS: &str = "extraArgs={--guest-timeout=15m,--settle-time=5m,--call-deadline=10s}";
/// As short as calls of 10 s allow: the next operator shall find what the killed one left.
const LEASE: &str = "lease.duration=16s,lease.renewInterval=2s";
/// Longer than a boot with all its checks.
pub(super) const PATIENCE: Duration = Duration::from_secs(1500);

/// The operator's site.
pub(super) struct Site {
    pub(super) stage: Stage,
    pub(super) machines: Machines,
    images: ImageServer,
}

impl Site {
    /// With so many machines running at a time, and neither a worker nor an operator yet.
    pub(super) async fn open(scenario: Scenario, running: u32) -> Self {
        let images = ImageServer::start(&image()).await.unwrap();
        let machines = Machines::with(scenario, running).await;
        let cluster = machines.probe.simulator.clone();
        let stage = Stage::before(cluster, &chart(), &[FLAGS, LEASE], PATIENCE).await;
        stage.apply_hypervisor("{}").await;
        Self { stage, machines, images }
    }

    /// A worker: small, of an image by URL, patient with its guest, and not updated; `more` of its spec as lines of YAML.
    pub(super) fn worker(&self, name: &str, host: &str, policy: &str, more: &str) -> String {
        let (url, checksum) = (self.images.url(), ImageInfo::of(&image()).unwrap().checksum);
        let spec = format!(
            "resources: {{cpus: 1, memory: 1Gi, disk: 10Gi}}\n  updates: {{policy: Never}}\n  {more}\n  networks:"
        );
        worker(name, host, policy)
            .replace("networks:", &spec)
            .replace("storage: local-lvm", "storage: local-lvm, imageStorage: local")
            .replace("template: debian-worker", &format!("url: {url:?}, checksum: {checksum:?}"))
    }

    /// Starts an operator and waits until it leads.
    pub(super) async fn operator(&self) -> Replica {
        let operator = self.stage.operator(0).await;
        operator.until_ready(leads).await.unwrap();
        operator
    }

    /// The changing calls that were sent to a path with this end.
    pub(super) fn calls(&self, method: &str, end: &str) -> Vec<LoggedCall> {
        let mut calls = self.stage.pve.faults().changes();
        calls.retain(|call| call.method == method && call.path.ends_with(end));
        calls
    }

    /// Waits until so many of these calls were answered.
    pub(super) async fn until_answered(&self, method: &str, end: &str, count: usize) {
        let answered = |call: &LoggedCall| call.status == Some(200);
        self.until(end, async || self.calls(method, end).into_iter().filter(answered).count() >= count).await;
    }

    /// Waits until `fits` says so; shows what there is if it never does.
    pub(super) async fn until(&self, what: &str, mut fits: impl AsyncFnMut() -> bool) {
        let begun = Instant::now();
        while !fits().await {
            if begun.elapsed() > PATIENCE {
                let kinds = "workertasks,workersessions,workers,hypervisors";
                let table = self.stage.kubectl(&["-n", NAMESPACE, "get", kinds, "-o", "yaml"]).await;
                panic!("never: {what}\n{table}");
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// The tasks of this kind on a host that concern a VM, oldest first.
    pub(super) async fn tasks(&self, host: &str, vmid: u32, kind: &str) -> Vec<Value> {
        let (path, vmid) = (format!("/nodes/{host}/tasks"), vmid.to_string());
        let wanted = [("vmid", vmid.as_str()), ("typefilter", kind), ("source", "all")];
        let listed = self.machines.probe.send("GET", &path, &wanted).await.ok();
        let mut tasks = listed.as_array().unwrap().clone();
        tasks.sort_by_key(|task| task["starttime"].as_i64());
        tasks
    }

    /// The worker of this name.
    pub(super) async fn named(&self, name: &str) -> Worker {
        let mut workers = self.stage.workers().await.into_iter();
        workers.find(|worker| worker.metadata.name.as_deref() == Some(name)).expect("the worker is gone")
    }
}

//! A cluster with many VMs to protect, the workers for them, and an operator.

use std::collections::BTreeMap;

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use stevedore::api::{WorkerSession, WorkerTask, WorkerTaskStatus};
use stevedore::controlplane::Replica;
use stevedore::simulator::scenario::{MachineSpec, Scenario, StorageKind, StorageSpec};
use tokio::time::{Duration, Instant, sleep};

use super::super::stage::{NAMESPACE, Stage, is_worked_on, quick, worker};

/// Much longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(180);

/// The shared storages that the disks of the VMs are on: those of `a1` to `a5` on the first, of `b1` to `b5` on the second.
pub(super) const STORAGES: [&str; 2] = ["ceph-a", "ceph-b"];

/// The stage of these tests.
pub(super) struct Lot {
    pub(super) stage: Stage,
    operator: Replica,
    strangers: BTreeMap<u32, String>,
}

/// Five VMs on `pve1` whose disks are on the first storage, five on `pve2` with theirs on the second, `c1` on `pve3` with
/// none.
fn world() -> Scenario {
    let mut world = quick();
    let images = vec!["images".to_owned()];
    world.storages.extend(STORAGES.map(|name| StorageSpec {
        name: name.to_owned(),
        kind: StorageKind::Rbd,
        shared: true,
        content: images.clone(),
        ..StorageSpec::default()
    }));
    for number in 1..=5u32 {
        world.machines.push(machine(200 + number, "pve1", &format!("a{number}"), Some(STORAGES[0])));
        world.machines.push(machine(210 + number, "pve2", &format!("b{number}"), Some(STORAGES[1])));
    }
    world.machines.push(machine(221, "pve3", "c1", None));
    world
}

fn machine(vmid: u32, node: &str, name: &str, storage: Option<&str>) -> MachineSpec {
    let mut config = BTreeMap::from([("name".to_owned(), name.to_owned()), ("memory".to_owned(), "512".to_owned())]);
    config.extend(storage.map(|storage| ("scsi0".to_owned(), format!("{storage}:vm-{vmid}-disk-0,size=4G"))));
    MachineSpec { vmid, node: node.to_owned(), running: storage.is_some(), config }
}

impl Lot {
    /// Opens it with an operator and three workers, one on each host, for which no VM is made yet.
    pub(super) async fn open() -> Self {
        let stage = Stage::set(world()).await;
        let strangers = stage.strangers();
        let operator = stage.operator(0).await;
        operator.until_ready(|status, _| status == 200).await.unwrap();
        stage.apply_hypervisor("{parallelLaunches: 8, deletionsPerHour: 100, tasksPerStorage: 4}").await;
        let workers = [("worker-1", "pve1"), ("worker-2", "pve2"), ("worker-3", "pve3")];
        stage.apply(&workers.map(|(name, host)| worker(name, host, "Manual")).concat()).await;
        let lot = Self { stage, operator, strangers };
        lot.label(&["worker-1", "worker-2", "worker-3"], "group=all").await;
        lot
    }

    /// Nothing that is not ours was touched, nothing was refused, and all goes when its declaration does.
    pub(super) async fn close(mut self) {
        let stage = &self.stage;
        stage.kubectl(&["-n", NAMESPACE, "delete", "workersessions", "--all", "--timeout=120s"]).await;
        self.rest().await;
        stage.kubectl(&["-n", NAMESPACE, "delete", "workers", "--all", "--timeout=120s"]).await;
        assert!(stage.ours().is_empty(), "{:?}", stage.ours());
        assert_eq!(stage.strangers(), self.strangers);
        assert_eq!(stage.forbidden(), [], "the chart grants what the operator needs");
        self.operator.process.terminate();
        let ended = tokio::time::timeout(Duration::from_secs(60), self.operator.process.wait()).await.unwrap();
        assert!(ended.success(), "an orderly end: {ended}");
        self.stage.plane.stop().await;
    }

    pub(super) async fn label(&self, workers: &[&str], label: &str) {
        self.stage.kubectl(&[&["-n", NAMESPACE, "label", "worker"], workers, &[label]].concat()).await;
    }

    /// Patches an object as a person does.
    pub(super) async fn patch(&self, object: &str, patch: &Value) {
        let patch = patch.to_string();
        self.stage.kubectl(&["-n", NAMESPACE, "patch", object, "--type=merge", "--patch", &patch]).await;
    }

    /// The client of a lease reports that a task is done.
    pub(super) async fn report(&self, task: &str) {
        let object = format!("workertask/{task}");
        self.patch(&object, &json!({"spec": {"result": {"outcome": "Succeeded", "message": "saved"}}})).await;
    }

    pub(super) async fn session(&self, name: &str) -> WorkerSession {
        let client = self.stage.plane.client().await.unwrap();
        Api::<WorkerSession>::namespaced(client, NAMESPACE).get(name).await.unwrap()
    }

    /// All tasks with what their statuses say, by their names.
    pub(super) async fn tasks(&self) -> BTreeMap<String, WorkerTaskStatus> {
        let client = self.stage.plane.client().await.unwrap();
        let tasks = Api::<WorkerTask>::namespaced(client, NAMESPACE).list(&ListParams::default()).await.unwrap();
        tasks.items.into_iter().map(|task| (task.name_any(), task.status.unwrap_or_default())).collect()
    }

    /// Waits until the tasks are so; prints what they are if that never happens.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&BTreeMap<String, WorkerTaskStatus>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(&self.tasks().await) {
            if Instant::now() > end {
                let kinds = "workersessions,workertasks,workers,hypervisors";
                let table = self.stage.kubectl(&["-n", NAMESPACE, "get", kinds, "-o", "wide"]).await;
                panic!("never: {what}\n{table}");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until no worker is on its way down from earlier work: such a one takes no tasks for a moment.
    pub(super) async fn rest(&self) {
        self.stage
            .until("all workers are off and have nothing to do", |workers| {
                self.stage.running().is_empty() && !workers.iter().any(is_worked_on)
            })
            .await;
    }

    /// Waits until the session itself is in this phase.
    pub(super) async fn phase(&self, session: &str, phase: &str) {
        let (what, path) = (format!("workersession/{session}"), format!("--for=jsonpath={{.status.phase}}={phase}"));
        let args = ["-n", NAMESPACE, "wait", &path, &what, "--timeout=120s"];
        let output = self.stage.plane.kubectl(&args).await.unwrap();
        if output.code != Some(0) {
            let is_so = self.stage.kubectl(&["-n", NAMESPACE, "get", "wsn,wtk,wk", "-o", "wide"]).await;
            panic!("{session} is never {phase}: {output:?}\n{is_so}");
        }
    }
}

/// A lease on workers of this group, for these VMs by their names; `more` are further lines of the spec, as YAML in braces.
pub(super) fn lease(name: &str, group: &str, vms: &[&str], more: &str) -> String {
    let vms: Vec<String> = vms.iter().map(|vm| format!("{{name: {vm}}}")).collect();
    let more = if more.is_empty() { String::new() } else { format!("  {more}\n") };
    let kind = if more.contains("type:") { "" } else { "  type: Backup\n" };
    format!(
        "apiVersion: stevedore.dev/v1alpha1\nkind: WorkerSession\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n{kind}  hypervisorRef: {{name: pve}}\n\
         \x20 virtualMachines: [{}]\n  workerSelector: {{matchLabels: {{group: {group}}}}}\n{more}---\n",
        vms.join(", ")
    )
}

/// The phase and the reason of a task.
pub(super) fn said(tasks: &BTreeMap<String, WorkerTaskStatus>, task: &str) -> (String, String) {
    let status = tasks.get(task).cloned().unwrap_or_default();
    (status.phase.unwrap_or_default(), status.reason.unwrap_or_default())
}

/// Whether a task runs, which it does with a worker that is ready.
pub(super) fn runs(tasks: &BTreeMap<String, WorkerTaskStatus>, task: &str) -> bool {
    said(tasks, task) == ("Running".to_owned(), "Running".to_owned())
}

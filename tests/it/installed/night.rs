//! The operator is killed at seeded moments while the tasks of a session run on three workers, and started again each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use stevedore::api::{WorkerSession, WorkerTask};
use stevedore::guest::tasks::AttemptId;
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::scenario::{MachineSpec, Scenario};
use tokio::time::Instant;

use super::stage::{NAMESPACE, Stage, leads, quick, worker};
use crate::support::seed::{Dice, seed, tell};

/// How often it is killed.
const KILLS: u32 = 8;
/// The VMs to protect.
const VMS: u32 = 12;
const HOSTS: [&str; 3] = ["pve1", "pve2", "pve3"];
const SLOTS: usize = 2;
const PER_STORAGE: usize = 3;
/// Only a session that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// The commands that ran at one time, with the machine of each.
type Moment = BTreeMap<AttemptId, String>;

/// The quick world with VMs to protect on one storage of each host.
fn scenario() -> Scenario {
    let mut scenario = quick();
    let plain = scenario.machines.iter().find(|machine| machine.vmid == 101).unwrap().clone();
    let vm = |number: u32| {
        let (vmid, mut config) = (200 + number, plain.config.clone());
        config.insert("name".into(), format!("vm-{number}"));
        config.insert("scsi0".into(), format!("local-lvm:vm-{vmid}-disk-0,size=32G"));
        MachineSpec { vmid, node: host_of(vmid).to_owned(), config, ..plain.clone() }
    };
    scenario.machines.extend((0..VMS).map(vm));
    scenario
}

fn host_of(vmid: u32) -> &'static str {
    HOSTS[vmid as usize % HOSTS.len()]
}

async fn declare(stage: &Stage) {
    stage.apply_hypervisor(&format!("{{parallelLaunches: 10, tasksPerStorage: {PER_STORAGE}}}")).await;
    let workers = HOSTS.map(|host| {
        let slots = format!("  maxConcurrentTasks: {SLOTS}\n---\n");
        worker(&format!("w-{host}"), host, "Manual").replace("---\n", &slots)
    });
    let vms: Vec<String> = (0..VMS).map(|number| format!("{{id: \"{}\"}}", 200 + number)).collect();
    let session = format!(
        "apiVersion: stevedore.dev/v1alpha1\nkind: WorkerSession\nmetadata: {{name: night, namespace: {NAMESPACE}}}\n\
         spec:\n  type: Backup\n  hypervisorRef: {{name: pve}}\n  run: {{command: [sleep, \"8\"]}}\n\
         \x20 virtualMachines: [{}]\n",
        vms.join(", ")
    );
    stage.apply(&(workers.concat() + &session)).await;
}

async fn tasks(stage: &Stage) -> Vec<WorkerTask> {
    let api = Api::<WorkerTask>::namespaced(stage.plane.client().await.unwrap(), NAMESPACE);
    api.list(&ListParams::default()).await.unwrap().items
}

/// Waits until the session is over; the answer is its phase.
async fn ended(stage: &Stage) -> String {
    let api = Api::<WorkerSession>::namespaced(stage.plane.client().await.unwrap(), NAMESPACE);
    let end = Instant::now() + PATIENCE;
    loop {
        let status = api.get("night").await.unwrap().status.unwrap_or_default();
        if status.finished_at.is_some() {
            return status.phase.unwrap_or_default();
        }
        assert!(Instant::now() < end, "{status:?}\n{:?}", tasks(stage).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Notes what runs in the guests, for ever.
async fn look_on(guests: Arc<CannedGuest>, moments: Arc<Mutex<Vec<Moment>>>) {
    loop {
        let now = guests.running(Timestamp::now());
        moments.lock().unwrap().push(now);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The largest number of commands of one kind at one time.
fn most(moments: &[Moment], kind: impl Fn(&AttemptId, &str) -> String) -> usize {
    let counts = moments.iter().flat_map(|moment| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (id, life) in moment {
            *counts.entry(kind(id, life)).or_default() += 1;
        }
        counts.into_values()
    });
    counts.max().unwrap_or(0)
}

/// Kills one operator after the other, the first as soon as a command runs; how often commands ran at that.
async fn kill(stage: &Stage, guests: &CannedGuest) -> u32 {
    let (mut dice, mut at_work) = (Dice::new(seed()), 0);
    for _ in 0..KILLS {
        let mut operator = stage.operator(0).await;
        // The term of the one before must end first.
        operator.until_ready(leads).await.unwrap();
        let end = Instant::now() + PATIENCE;
        while guests.starts().is_empty() {
            assert!(Instant::now() < end, "no command ever ran: {:?}", tasks(stage).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.below(3000))).await;
        operator.process.kill9();
        at_work += u32::from(!guests.running(Timestamp::now()).is_empty());
    }
    at_work
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_kills_in_a_session_begin_each_task_once() {
    let guests = Arc::new(CannedGuest::default());
    let stage = Stage::with_guests(scenario(), Arc::clone(&guests)).await;
    let strangers = stage.strangers();
    let moments = Arc::default();
    let looking = tokio::spawn(look_on(Arc::clone(&guests), Arc::clone(&moments)));
    declare(&stage).await;
    let at_work = kill(&stage, &guests).await;
    let _operator = stage.operator(0).await;
    let phase = ended(&stage).await;
    let is_off = |worker: &stevedore::api::Worker| {
        let status = worker.status.clone().unwrap_or_default();
        status.phase.as_deref() == Some("ShutDown") && status.operation.is_none() && status.assignments.is_empty()
    };
    stage.until("all workers are off", |workers| workers.len() == HOSTS.len() && workers.iter().all(is_off)).await;
    looking.abort();
    let tasks = tasks(&stage).await;
    let vms: BTreeMap<String, u32> = tasks
        .iter()
        .map(|task| (task.uid().unwrap(), task.spec.virtual_machine.id.as_ref().unwrap().parse().unwrap()))
        .collect();
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    let in_machine = most(&moments, |_, life| life.to_owned());
    let of_vm = most(&moments, |id, _| id.task.clone());
    let on_storage = most(&moments, |id, _| host_of(vms[&id.task]).to_owned());
    tell(&format!(
        "killed {KILLS} times, {at_work} times at work: {} tasks, at most {in_machine} in a worker and {on_storage} on a \
         storage at a time",
        tasks.len()
    ));
    let starts = guests.starts();
    assert!(starts.values().all(|times| *times == 1), "seed {}: {starts:?}", seed());
    let begun: BTreeSet<&String> = starts.keys().map(|id| &id.task).collect();
    assert_eq!((starts.len(), begun.len(), phase.as_str()), (VMS as usize, VMS as usize, "Succeeded"), "{starts:?}");
    assert!(in_machine <= SLOTS && of_vm == 1 && on_storage <= PER_STORAGE, "seed {}", seed());
    assert!(at_work > 0, "seed {}: no kill met a task", seed());
    assert_eq!((stage.running(), stage.strangers()), (Vec::new(), strangers));
    stage.plane.stop().await;
}

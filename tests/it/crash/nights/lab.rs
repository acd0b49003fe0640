//! A cluster with VMs to protect on three hosts and on two kinds of storage, its workers, and the operators of one night.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::ResourceExt;
use serde_json::{Value, json};
use stevedore::api::{Worker, WorkerTask};
use stevedore::simulator::scenario::{MachineSpec, Scenario};

use super::rules::Rules;
use crate::crash::lives::LONG;
use crate::crash::mishaps::{Arranged, Mishap, arrange_each};
use crate::crash::world::{NAMESPACE, World, merged, worker};
use crate::support::seed::Dice;

const HOSTS: [&str; 3] = ["pve1", "pve2", "pve3"];
/// The VMs to protect.
pub(super) const VMS: u32 = 20;
/// Slots of each worker.
pub(super) const SLOTS: usize = 2;
/// Tasks on one storage at a time, at most.
pub(super) const PER_STORAGE: usize = 3;

/// A VM to protect.
pub(super) struct Vm {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) host: &'static str,
    /// What its tasks are counted under.
    pub(super) storage: String,
}

/// The VMs of a night. Their ids are even numbers from 110; the names of some are exit codes.
pub(super) fn vms() -> Vec<Vm> {
    let vm = |number: u32| {
        let host = HOSTS[number as usize % HOSTS.len()];
        let storage = if number.is_multiple_of(5) { "nfs1".to_owned() } else { format!("{host}/local-lvm") };
        let name = if number % 7 == 3 { number.to_string() } else { format!("vm-{number}") };
        Vm { id: 110 + 2 * number, name, host, storage }
    };
    (0..VMS).map(vm).collect()
}

fn machine(vm: &Vm, plain: &MachineSpec) -> MachineSpec {
    let (id, mut config) = (vm.id, plain.config.clone());
    let disk = match vm.storage.as_str() {
        "nfs1" => format!("nfs1:{id}/vm-{id}-disk-0.qcow2,size=32G"),
        _ => format!("local-lvm:vm-{id}-disk-0,size=32G"),
    };
    config.extend([("name".to_owned(), vm.name.clone()), ("scsi0".to_owned(), disk)]);
    MachineSpec { vmid: id, node: vm.host.to_owned(), config, ..plain.clone() }
}

/// The demo world with the VMs of a night, and these workers by name and host. They are tested when they are needed.
pub(super) async fn world(seed: u64, workers: &[(&str, &str)], patch: &Value) -> World {
    let mut scenario = Scenario::default_demo();
    let plain = scenario.machines.iter().find(|machine| machine.vmid == 101).unwrap().clone();
    scenario.machines.extend(vms().iter().map(|vm| machine(vm, &plain)));
    let limits = json!({"spec": {"limits": {"tasksPerStorage": PER_STORAGE}}});
    let world = World::with(seed, scenario, limits).await;
    for (name, host) in workers {
        let plain = json!({"spec": {
            "proxmox": {"host": host}, "maxConcurrentTasks": SLOTS, "test": {"policy": "Manual"},
            "updates": {"policy": "Never"},
        }});
        world.create(worker(name, &merged(plain, patch))).await;
    }
    world
}

/// A session of these VMs; `patch` is merged into it.
pub(super) fn session(name: &str, vms: &[u32], patch: &Value) -> Value {
    let vms: Vec<Value> = vms.iter().map(|id| json!({"id": id.to_string()})).collect();
    let plain = json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": vms},
    });
    merged(plain, patch)
}

/// Kills operators, each at a moment that the dice say.
pub(super) struct Kills {
    dice: Mutex<Dice>,
    left: AtomicU64,
    /// The operator that works now is killed at the n-th change from here; 0: never.
    due: AtomicU64,
    /// It is killed within so many changes.
    within: u64,
}

/// How an operator may be killed at a change.
const WAYS: [Mishap; 3] = [Mishap::KilledBefore, Mishap::KilledAfter, Mishap::KilledOnTheWay];

impl Kills {
    /// So many kills, each within so many changes of an operator's start.
    pub(super) fn new(seed: u64, times: u64, within: u64) -> Arc<Self> {
        let (dice, left) = (Mutex::new(Dice::new(seed)), AtomicU64::new(times));
        Arc::new(Self { dice, left, due: AtomicU64::new(0), within })
    }

    fn draw(&self, end: u64) -> u64 {
        self.dice.lock().unwrap().below(end)
    }

    /// An operator begins to work.
    pub(super) fn arm(&self) {
        let due = if self.left.load(Ordering::Relaxed) > 0 { 1 + self.draw(self.within) } else { 0 };
        self.due.store(due, Ordering::Relaxed);
    }

    fn strike(&self) -> Option<Mishap> {
        let due = self.due.load(Ordering::Relaxed);
        self.due.store(due.saturating_sub(1), Ordering::Relaxed);
        (due == 1).then(|| {
            self.left.fetch_sub(1, Ordering::Relaxed);
            WAYS[usize::try_from(self.draw(WAYS.len() as u64)).unwrap()]
        })
    }

    /// Has the operators of this world killed.
    pub(super) fn arrange(self: &Arc<Self>, world: &World) -> Arc<Arranged> {
        let kills = Arc::clone(self);
        arrange_each(world, move || kills.strike())
    }
}

/// Operators work one after the other, each until it is killed, until `done`, which may also do what people and accidents
/// do; how many were killed.
pub(super) async fn work(
    world: &World,
    rules: &Rules,
    kills: &Arc<Kills>,
    done: impl AsyncFn(&World) -> bool,
) -> Result<u32, String> {
    let arranged = kills.arrange(world);
    shifts(world, rules, (&arranged, &|| kills.arm()), done).await
}

/// The same with kills that were arranged otherwise, and with what is done before each operator begins.
pub(super) async fn shifts(
    world: &World,
    rules: &Rules,
    (arranged, begin): (&Arranged, &dyn Fn()),
    done: impl AsyncFn(&World) -> bool,
) -> Result<u32, String> {
    let broken = RefCell::new(None);
    let watch = async |world: &World| {
        if let Err(text) = rules.hold(world) {
            broken.borrow_mut().get_or_insert(text);
            return true;
        }
        done(world).await
    };
    for killed in 0.. {
        begin();
        let mut operator = world.operator();
        let finished = tokio::select! {
            finished = operator.run(LONG, &watch) => finished,
            () = arranged.kill.notified() => continue,
        };
        return match broken.take() {
            Some(text) => Err(text),
            None if finished => rules.hold_at_the_end(world).map(|()| killed),
            None => Err(format!("it never ended: {}", told(world))),
        };
    }
    Err("killed for ever".to_owned())
}

/// What the objects say, for people.
fn told(world: &World) -> String {
    let workers: Vec<_> = world.all_workers().into_iter().map(|worker| (worker.name_any(), worker.status)).collect();
    let tasks: Vec<_> = world.all_tasks().into_iter().map(|task| (task.name_any(), task.status)).collect();
    format!("{workers:?}\n{tasks:?}\n{:?}", world.ours())
}

/// Whether all sessions are over, and all workers at rest and off.
pub(super) fn is_over(world: &World) -> bool {
    let is_over = |session: &stevedore::api::WorkerSession| {
        session.status.as_ref().is_some_and(|status| status.finished_at.is_some())
    };
    let is_off = |worker: &Worker| {
        worker.status.as_ref().is_some_and(|status| {
            status.phase.as_deref() == Some("ShutDown") && status.operation.is_none() && status.assignments.is_empty()
        })
    };
    let sessions = world.all_sessions();
    // A worker that nobody needed has no VM.
    let is_bare =
        |worker: &Worker| worker.status.as_ref().is_some_and(|one| one.phase.as_deref() == Some("Configured"));
    !sessions.is_empty()
        && sessions.iter().all(is_over)
        && world.all_workers().iter().all(|worker| is_off(worker) || is_bare(worker))
        && world.running() == 0
}

/// Phase, reason and last attempt of each task, by the id of its VM.
pub(super) fn ends(world: &World) -> BTreeMap<u32, (String, String, i32)> {
    let end = |task: &WorkerTask| {
        let status = task.status.clone().unwrap_or_default();
        (status.phase.unwrap_or_default(), status.reason.unwrap_or_default(), status.attempt.unwrap_or(0))
    };
    world.all_tasks().iter().map(|task| (vm_of(task), end(task))).collect()
}

/// The VM of a task.
pub(super) fn vm_of(task: &WorkerTask) -> u32 {
    task.spec.virtual_machine.id.as_deref().and_then(|id| id.parse().ok()).unwrap_or(0)
}

/// How many attempts at each task were begun in a guest, by the id of its VM.
pub(super) fn begun(world: &World) -> BTreeMap<u32, usize> {
    let starts = world.guests.starts();
    let count = |task: &WorkerTask| starts.keys().filter(|id| Some(&id.task) == task.metadata.uid.as_ref()).count();
    world.all_tasks().iter().map(|task| (vm_of(task), count(task))).collect()
}

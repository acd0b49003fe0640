//! What must hold at every moment of a night.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use kube::ResourceExt;
use stevedore::api::{Worker, WorkerTask};
use stevedore::guest::tasks::AttemptId;

use super::lab::{PER_STORAGE, SLOTS, vm_of, vms};
use crate::crash::world::World;

/// What must hold.
pub(super) struct Rules {
    /// The storage of each VM.
    storages: BTreeMap<u32, String>,
    strangers: BTreeMap<u32, BTreeMap<String, String>>,
    /// Moves on with all that could break a rule, as it was when they were looked at last.
    looked: Mutex<[u64; 3]>,
    /// The attempts that have been seen to be begun.
    seen: Mutex<BTreeSet<AttemptId>>,
    /// The most tasks at a time that were seen in one place, and on one storage.
    most: Mutex<(usize, usize)>,
}

impl Rules {
    pub(super) fn of(world: &World) -> Self {
        let storages = vms().into_iter().map(|vm| (vm.id, vm.storage)).collect();
        let (looked, seen, most) = Default::default();
        Self { storages, strangers: strangers(world), looked, seen, most }
    }

    /// The most tasks at a time that were seen in one machine or with one worker, and on one storage.
    pub(super) fn most(&self) -> (usize, usize) {
        *self.most.lock().unwrap()
    }

    /// Whether all holds now; the text says what does not.
    pub(super) fn hold(&self, world: &World) -> Result<(), String> {
        let starts = world.guests.starts();
        let times: u64 = starts.values().map(|times| u64::from(*times)).sum();
        let now = [world.version("workertasks"), world.version("workers"), times];
        if std::mem::replace(&mut *self.looked.lock().unwrap(), now) == now {
            return Ok(());
        }
        if let Some((id, times)) = starts.iter().find(|(_, times)| **times > 1) {
            return Err(format!("attempt {id} was begun {times} times"));
        }
        let tasks: BTreeMap<String, WorkerTask> =
            world.all_tasks().into_iter().filter_map(|task| Some((task.uid()?, task))).collect();
        self.only_fit_workers(world, &starts.into_keys().collect(), &tasks)?;
        self.limits(world, &tasks)?;
        claims_fit(world)
    }

    /// Whether nobody else's VM was changed. Accidents may have powered it off.
    pub(super) fn hold_at_the_end(&self, world: &World) -> Result<(), String> {
        if strangers(world) == self.strangers { Ok(()) } else { Err("a VM of somebody else was changed".to_owned()) }
    }

    /// What has just begun has begun on a worker that passed its last test.
    fn only_fit_workers(
        &self,
        world: &World,
        starts: &BTreeSet<AttemptId>,
        tasks: &BTreeMap<String, WorkerTask>,
    ) -> Result<(), String> {
        let mut seen = self.seen.lock().unwrap();
        for id in starts.difference(&seen.clone()) {
            seen.insert(id.clone());
            let with = tasks.get(&id.task).and_then(|task| task.status.as_ref()?.worker.clone());
            let workers = world.all_workers();
            let Some(worker) = workers.iter().find(|worker| Some(worker.name_any()) == with) else { continue };
            let passed = |worker: &Worker| Some(worker.status.as_ref()?.last_test.as_ref()?.result == "Passed");
            if passed(worker) != Some(true) {
                return Err(format!("{id} was begun on {}, which passed no test", worker.name_any()));
            }
        }
        Ok(())
    }

    /// What runs in the guests is within every limit. Where a worker is leased, its task's word counts.
    fn limits(&self, world: &World, tasks: &BTreeMap<String, WorkerTask>) -> Result<(), String> {
        let (mut by_place, mut by_vm, mut by_storage) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut count = |place: String, task: &WorkerTask, most: usize| {
            let vm = vm_of(task);
            let one_more = |what: String, most: usize, all: &mut BTreeMap<String, usize>| {
                let count = all.entry(what.clone()).or_insert(0_usize);
                *count += 1;
                if *count > most { Err(format!("{count} tasks at a time: {what}")) } else { Ok(()) }
            };
            one_more(format!("in {place}"), most, &mut by_place)?;
            one_more(format!("of VM {vm}"), 1, &mut by_vm)?;
            let storage = self.storages.get(&vm).cloned().unwrap_or_default();
            one_more(format!("on storage {storage}"), PER_STORAGE, &mut by_storage)
        };
        for (id, life) in world.guests.running(world.clock.wall()) {
            if let Some(task) = tasks.get(&id.task) {
                count(format!("machine {life}"), task, SLOTS)?;
            }
        }
        let is_leased = |task: &&WorkerTask| {
            let phase = task.status.as_ref().and_then(|status| status.phase.as_deref());
            task.spec.mode == stevedore::api::task::TaskMode::Lease && phase == Some("Running")
        };
        for task in tasks.values().filter(is_leased) {
            let worker = task.status.as_ref().and_then(|status| status.worker.clone()).unwrap_or_default();
            count(format!("worker {worker}"), task, SLOTS)?;
        }
        let most = |counts: &BTreeMap<String, usize>| counts.values().copied().max().unwrap_or(0);
        let mut seen = self.most.lock().unwrap();
        *seen = (seen.0.max(most(&by_place)), seen.1.max(most(&by_storage)));
        Ok(())
    }
}

/// All options of every VM that is not a worker's.
fn strangers(world: &World) -> BTreeMap<u32, BTreeMap<String, String>> {
    let ids: Vec<u32> = world.strangers().into_keys().collect();
    world.pve.world(|world| ids.into_iter().map(|id| (id, world.settings(id))).collect())
}

fn claims_fit(world: &World) -> Result<(), String> {
    for worker in world.all_workers() {
        let held = worker.status.as_ref().map_or(0, |status| status.assignments.len());
        if held > SLOTS {
            return Err(format!("{} holds {held} tasks", worker.name_any()));
        }
    }
    Ok(())
}

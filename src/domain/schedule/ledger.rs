//! What is taken and what is held back: slots, storages, VMs.

use std::collections::BTreeMap;

use super::limit::{Limit, whose};
use super::roll::{Member, Roll};
use super::world::TaskState;

/// What is taken and what is held back, at some point of the walk through the tasks.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    tasks_per_storage: usize,
    /// Claims of each worker, by its place in the roll.
    claims: Vec<usize>,
    /// Running tasks of each session, by its place in the roll.
    running: Vec<usize>,
    storages: BTreeMap<&'a str, Storage<'a>>,
    vms: BTreeMap<&'a str, Vm<'a>>,
}

/// A storage: how many tasks it has, and the first task that waits and needs it.
#[derive(Debug, Default)]
struct Storage<'a> {
    running: usize,
    held_for: Option<Member<'a>>,
}

/// A VM that no further task may have.
#[derive(Debug, Clone, Copy)]
enum Vm<'a> {
    Processed(Member<'a>),
    Awaited(Member<'a>),
}

impl<'a> Ledger<'a> {
    /// What is taken before anybody's turn.
    pub(super) fn of(roll: &Roll<'a>) -> Self {
        let mut ledger = Self {
            tasks_per_storage: roll.tasks_per_storage,
            claims: roll.workers.iter().map(|worker| worker.foreign_claims).collect(),
            running: vec![0; roll.sessions.len()],
            storages: BTreeMap::new(),
            vms: BTreeMap::new(),
        };
        for member in roll.members() {
            if let TaskState::Holding { worker } = &member.task.state {
                ledger.take(member, roll.place(worker));
            }
        }
        ledger
    }

    /// The claims of a worker.
    pub(super) fn claims(&self, worker: usize) -> usize {
        self.claims[worker]
    }

    /// A task takes a slot of a worker; one of a worker that is not known any more uses its storages all the same.
    pub(super) fn take(&mut self, member: Member<'a>, worker: Option<usize>) {
        if let Some(worker) = worker {
            self.claims[worker] += 1;
        }
        self.running[member.at] += 1;
        for storage in &member.task.storages {
            self.storages.entry(storage).or_default().running += 1;
        }
        if let Some(vm) = &member.task.vm {
            self.vms.entry(vm).or_insert(Vm::Processed(member));
        }
    }

    /// A task that has to wait keeps what it needs from those that come later, as far as nobody keeps it already.
    pub(super) fn hold(&mut self, member: Member<'a>) {
        for storage in &member.task.storages {
            self.storages.entry(storage).or_default().held_for.get_or_insert(member);
        }
        if let Some(vm) = &member.task.vm {
            self.vms.entry(vm).or_insert(Vm::Awaited(member));
        }
    }

    /// What holds a task back; the parallelism of its session comes first.
    pub(super) fn limits(&self, member: Member<'a>) -> impl Iterator<Item = Limit> {
        let storages = member.task.storages.iter().filter_map(move |storage| self.of_storage(member, storage));
        self.of_session(member).into_iter().chain(self.of_vm(member)).chain(storages)
    }

    fn of_session(&self, member: Member<'a>) -> Option<Limit> {
        let running = self.running[member.at];
        let most = member.session.parallelism.filter(|most| running >= *most)?;
        Some(Limit::Parallelism { running, most })
    }

    fn of_vm(&self, member: Member<'a>) -> Option<Limit> {
        Some(match *self.vms.get(member.task.vm.as_deref()?)? {
            Vm::Processed(other) => Limit::VmProcessed { by: whose(other, member) },
            Vm::Awaited(other) => Limit::VmAwaited { by: whose(other, member) },
        })
    }

    fn of_storage(&self, member: Member<'a>, name: &str) -> Option<Limit> {
        let (storage, running, most) = (name.to_owned(), self.running_on(name), self.tasks_per_storage);
        if running >= most {
            return Some(Limit::StorageFull { storage, running, most });
        }
        let holder = self.storages.get(name)?.held_for.filter(|_| running + 1 >= most)?;
        Some(Limit::StorageHeld { storage, running, most, by: whose(holder, member) })
    }

    fn running_on(&self, storage: &str) -> usize {
        self.storages.get(storage).map_or(0, |storage| storage.running)
    }
}

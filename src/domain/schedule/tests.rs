//! Small worlds, and what is decided for them.

mod counted;
mod examples;
mod explained;
mod properties;
mod starvation;
mod waiting;
mod worlds;

use jiff::Timestamp;

use crate::api::reasons::TaskReason;
use crate::domain::availability::{Availability, Unavailable};

use super::*;

/// Why a worker may take no tasks.
const UNFIT: &[TaskReason] = &[
    TaskReason::Disabled,
    TaskReason::Paused,
    TaskReason::TestFailed,
    TaskReason::Draining,
    TaskReason::ShuttingDown,
    TaskReason::Deleting,
    TaskReason::Stalled,
    TaskReason::HostUnschedulable,
    TaskReason::HostOffline,
    TaskReason::HypervisorNotReady,
    TaskReason::Unavailable,
];

/// Why a task may wait, besides.
const WAITS: &[TaskReason] = &[
    TaskReason::Busy,
    TaskReason::StorageLimit,
    TaskReason::VmBusy,
    TaskReason::Parallelism,
    TaskReason::NoWorker,
    TaskReason::NoWorkerOnHost,
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A world with four tasks for each storage.
fn world(workers: Vec<Worker>, sessions: Vec<Session>) -> World {
    World { sessions, workers, tasks_per_storage: 4 }
}

/// A worker that is launched, on this host.
fn worker(name: &str, host: &str, slots: usize) -> Worker {
    Worker { name: name.into(), host: Some(host.into()), slots, foreign_claims: 0, availability: Availability::Running }
}

impl Worker {
    fn is(self, availability: Availability) -> Self {
        Self { availability, ..self }
    }

    fn isnt(self, reason: TaskReason, message: &str) -> Self {
        self.is(Availability::Not(Unavailable { reason, message: message.into() }))
    }

    fn with_claims(self, foreign_claims: usize) -> Self {
        Self { foreign_claims, ..self }
    }
}

/// A backup with all workers whose names are given; its name is its UID.
fn backup(uid: &str, created: i64, workers: &[&str], tasks: Vec<Task>) -> Session {
    Session {
        uid: uid.into(),
        namespace: "backup".into(),
        name: uid.into(),
        created: at(created),
        kind: Kind::Backup,
        placement: Placement::PreferSameHost,
        parallelism: None,
        workers: workers.iter().map(|name| (*name).to_owned()).collect(),
        tasks,
    }
}

impl Session {
    fn restores(self) -> Self {
        Self { kind: Kind::Restore, ..self }
    }

    fn requires_host(self) -> Self {
        Self { placement: Placement::RequireSameHost, ..self }
    }

    fn of_namespace(self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    fn at_most(self, parallelism: usize) -> Self {
        Self { parallelism: Some(parallelism), ..self }
    }
}

/// A task that waits, of a VM on host `h1`; its name is its UID, and its VM has that id.
fn task(uid: &str, storages: &[&str]) -> Task {
    Task {
        uid: uid.into(),
        name: uid.into(),
        vm: Some(uid.into()),
        host: Some("h1".into()),
        storages: storages.iter().map(|name| (*name).to_owned()).collect(),
        state: TaskState::Waiting { avoid: BTreeSet::new() },
    }
}

impl Task {
    fn of_vm(self, id: &str) -> Self {
        Self { vm: Some(id.into()), ..self }
    }

    fn on(self, host: &str) -> Self {
        Self { host: Some(host.into()), ..self }
    }

    fn nowhere(self) -> Self {
        Self { host: None, ..self }
    }

    fn avoids(self, workers: &[&str]) -> Self {
        let avoid = workers.iter().map(|name| (*name).to_owned()).collect();
        Self { state: TaskState::Waiting { avoid }, ..self }
    }

    fn holds(self, worker: &str) -> Self {
        Self { state: TaskState::Holding { worker: worker.into() }, ..self }
    }
}

impl Plan {
    /// Pairs of task and worker, for short.
    fn pairs(&self) -> Vec<(&str, &str)> {
        self.assignments.iter().map(|one| (one.task.as_str(), one.worker.as_str())).collect()
    }

    fn wait(&self, task: &str) -> &Waiting {
        self.waiting.iter().find(|one| one.task == task).unwrap_or_else(|| panic!("{task} does not wait: {self:?}"))
    }

    fn says(&self, task: &str) -> (TaskReason, &str) {
        let wait = self.wait(task);
        (wait.reason, &wait.message)
    }
}

/// The world after a plan was carried out.
fn carried_out(world: &World, plan: &Plan) -> World {
    let mut world = world.clone();
    for task in world.sessions.iter_mut().flat_map(|session| &mut session.tasks) {
        if let Some(assigned) = plan.assignments.iter().find(|one| one.task == task.uid) {
            task.state = TaskState::Holding { worker: assigned.worker.clone() };
        }
    }
    world
}

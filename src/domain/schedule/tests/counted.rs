//! What there is in a world, and who could have what: told without the code that decides.

use std::collections::BTreeMap;

use super::*;

/// Sessions with their tasks, in the order of the turns.
pub(super) fn in_order(world: &World) -> Vec<(&Session, &Task)> {
    let mut sessions: Vec<&Session> = world.sessions.iter().collect();
    sessions.sort_by_key(|session| (session.kind == Kind::Backup, session.created, &session.uid));
    sessions.into_iter().flat_map(|session| session.tasks.iter().map(move |task| (session, task))).collect()
}

/// How often each key is in use by tasks that hold a slot.
fn in_use<'a, K: Ord, I: IntoIterator<Item = K>>(
    world: &'a World,
    keys: impl Fn(&'a Session, &'a Task) -> I,
) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for (session, task) in in_order(world) {
        let is_holding = matches!(task.state, TaskState::Holding { .. });
        for key in keys(session, task).into_iter().filter(|_| is_holding) {
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

pub(super) fn storages(world: &World) -> BTreeMap<&str, usize> {
    in_use(world, |_, task| task.storages.iter().map(String::as_str))
}

pub(super) fn vms(world: &World) -> BTreeMap<&str, usize> {
    in_use(world, |_, task| task.vm.as_deref())
}

pub(super) fn sessions(world: &World) -> BTreeMap<&str, usize> {
    in_use(world, |session, _| [session.uid.as_str()])
}

pub(super) fn claims(world: &World) -> BTreeMap<&str, usize> {
    let mut counts = in_use(world, |_, task| match &task.state {
        TaskState::Holding { worker } => Some(worker.as_str()),
        TaskState::Waiting { .. } => None,
    });
    for worker in &world.workers {
        *counts.entry(&worker.name).or_default() += worker.foreign_claims;
    }
    counts
}

/// What is in use more than it was, and more than it may be.
pub(super) fn exceeded<'a>(
    before: &BTreeMap<&str, usize>,
    after: &BTreeMap<&'a str, usize>,
    most: impl Fn(&str) -> usize,
) -> Vec<&'a str> {
    let grown = after.iter().filter(|(key, count)| before.get(*key).is_none_or(|before| before < count));
    grown.filter(|(key, count)| **count > most(key)).map(|(key, _)| *key).collect()
}

fn avoided(task: &Task) -> &BTreeSet<String> {
    match &task.state {
        TaskState::Waiting { avoid } => avoid,
        TaskState::Holding { .. } => panic!("{} does not wait", task.uid),
    }
}

/// The workers that could ever take a task, while they take tasks at all or do so again soon.
pub(super) fn open<'a>(world: &'a World, session: &Session, task: &Task) -> Vec<&'a Worker> {
    let is_near = |worker: &Worker| {
        session.placement == Placement::PreferSameHost || task.host.is_some() && task.host == worker.host
    };
    let is_there = |worker: &Worker| match &worker.availability {
        Availability::Not(unavailable) => {
            matches!(unavailable.reason, TaskReason::ShuttingDown | TaskReason::Unavailable)
        }
        _ => true,
    };
    let fits = |worker: &&Worker| {
        session.workers.contains(&worker.name) && is_near(worker) && is_there(worker) && worker.slots > 0
    };
    let all: Vec<&Worker> = world.workers.iter().filter(fits).collect();
    let others: Vec<&Worker> = all.iter().copied().filter(|worker| !avoided(task).contains(&worker.name)).collect();
    if others.is_empty() { all } else { others }
}

pub(super) fn is_taking(worker: &Worker) -> bool {
    !matches!(worker.availability, Availability::Not(_))
}

//! The world in its order: workers by name, sessions and their tasks as their turns come.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Kind, Session, Task, TaskState, Worker, World};

/// A world in its order.
#[derive(Debug)]
pub(super) struct Roll<'a> {
    /// The most tasks of a storage at once.
    pub(super) tasks_per_storage: usize,
    /// By name.
    pub(super) workers: Vec<&'a Worker>,
    /// In the order of their turns.
    pub(super) sessions: Vec<Enrolled<'a>>,
}

/// A session with the places of its workers in the roll.
#[derive(Debug)]
pub(super) struct Enrolled<'a> {
    pub(super) session: &'a Session,
    pub(super) selected: Vec<usize>,
}

/// A task, and the session that it is part of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    /// The place of the session in the roll.
    pub(super) at: usize,
    pub(super) session: &'a Session,
    pub(super) task: &'a Task,
}

/// A task that waits for a worker, when its turn has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) member: Member<'a>,
    pub(super) avoid: &'a BTreeSet<String>,
}

impl<'a> Roll<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let mut workers: Vec<&Worker> = world.workers.iter().collect();
        workers.sort_by(|one, other| one.name.cmp(&other.name));
        let places = workers.iter().enumerate().map(|(place, worker)| (worker.name.as_str(), place)).collect();
        let mut sessions: Vec<&Session> = world.sessions.iter().collect();
        sessions.sort_by(|one, other| rank(one).cmp(&rank(other)));
        let sessions = sessions.into_iter().map(|session| Enrolled::of(session, &places)).collect();
        Self { tasks_per_storage: world.tasks_per_storage, workers, sessions }
    }

    /// All tasks, in the order of their turns.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'a>> {
        let of_one = |(at, enrolled): (usize, &Enrolled<'a>)| {
            let session = enrolled.session;
            session.tasks.iter().map(move |task| Member { at, session, task })
        };
        self.sessions.iter().enumerate().flat_map(of_one)
    }

    /// The tasks that wait for a worker, in the order of their turns.
    pub(super) fn turns(&self) -> impl Iterator<Item = Turn<'a>> {
        self.members().filter_map(|member| match &member.task.state {
            TaskState::Waiting { avoid } => Some(Turn { member, avoid }),
            TaskState::Holding { .. } => None,
        })
    }

    /// The place of a worker.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.workers.binary_search_by(|worker| worker.name.as_str().cmp(name)).ok()
    }
}

impl<'a> Enrolled<'a> {
    fn of(session: &'a Session, places: &BTreeMap<&str, usize>) -> Self {
        let selected = session.workers.iter().filter_map(|name| places.get(name.as_str()).copied()).collect();
        Self { session, selected }
    }
}

/// Restores before backups, then first come, first served.
fn rank(session: &Session) -> (Kind, jiff::Timestamp, &str) {
    (session.kind, session.created, &session.uid)
}

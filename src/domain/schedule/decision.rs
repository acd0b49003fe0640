//! What a schedule says: who gets a worker, who waits and why, which workers are worth another test.

use std::collections::BTreeSet;

use crate::api::reasons::TaskReason;

/// What is decided for a world, in the order in which the tasks had their turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The tasks that get a worker.
    pub assignments: Vec<Assignment>,
    /// The tasks that go on waiting.
    pub waiting: Vec<Waiting>,
    /// The workers that failed their tests and that a task without a worker could use otherwise.
    pub retest: BTreeSet<String>,
}

/// A task gets a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// UID of the task.
    pub task: String,
    /// UID of its session.
    pub session: String,
    /// Name of the worker.
    pub worker: String,
    /// Whether the worker is on the host of the task's VM.
    pub local: bool,
}

/// A task waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// UID of the task.
    pub task: String,
    /// UID of its session.
    pub session: String,
    /// Why, in one word.
    pub reason: TaskReason,
    /// Why, for people.
    pub message: String,
}

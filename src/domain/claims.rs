//! The slots of a worker that tasks hold, and what is known of these tasks.

use jiff::Timestamp;

use super::attempt::AttemptId;
use crate::api::WorkerTask;
use crate::api::reasons::TaskReason;
use crate::api::task::TaskPhase;

/// The entry in `Worker.status.assignments` by which a task holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name of the task.
    pub task: String,
    /// Its UID.
    pub uid: String,
    /// The name of its session.
    pub session: String,
    /// Which attempt at it the slot is for.
    pub attempt: u32,
}

impl Claim {
    /// The claim of a task at its present attempt.
    pub fn of(task: &WorkerTask) -> Self {
        let attempt = task.status.as_ref().and_then(|status| status.attempt);
        Self {
            task: task.metadata.name.clone().unwrap_or_default(),
            uid: task.metadata.uid.clone().unwrap_or_default(),
            session: task.spec.session_ref.name.clone(),
            attempt: attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0),
        }
    }

    /// The attempt, as the guest knows it.
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { task: self.uid.clone(), attempt: self.attempt }
    }
}

/// A slot that is held, or that a task's own status says is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The claim.
    pub claim: Claim,
    /// Whether it stands in the worker's status. A task that says that it runs here holds its slot all the same.
    pub listed: bool,
    /// What is known of the task.
    pub task: TaskSight,
}

/// What is known of the task that a claim names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskSight {
    /// It is not in the cache, which may be behind.
    Missing,
    /// There is none: it was asked for.
    Gone,
    /// It is over, or at another attempt, or with another worker.
    Over,
    /// It is at this very attempt.
    Open(OpenTask),
}

/// A task that is not over.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they come in every combination")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTask {
    /// Whether its status says that it runs: its command may have run ever since. A claim whose task does not say so has
    /// not begun, as far as its status tells.
    pub begun: bool,
    /// Whether it has a command to run in the guest; else somebody outside works with the worker.
    pub command: bool,
    /// Why it is to end, if it is.
    pub ending: Option<Ending>,
    /// Whether a failed attempt is followed by another one.
    pub retries_left: bool,
    /// Whether an attempt was lost with its worker before: that is made good once.
    pub was_lost: bool,
}

/// Why a task ends although its command has not, and what it ends as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What it ends as.
    pub phase: TaskPhase,
    /// Why.
    pub reason: TaskReason,
    /// Why, for people.
    pub message: String,
    /// A result from before this moment counts all the same.
    pub deadline: Option<Timestamp>,
}

impl Held {
    /// Whether the task's command may have begun, or somebody may be working with the worker.
    pub fn has_begun(&self) -> bool {
        !matches!(&self.task, TaskSight::Open(OpenTask { begun: false, .. }))
    }
}

//! Why a task is to end although nothing in its worker's guest has ended it.

use jiff::{SignedDuration, Timestamp};

use super::claims::Ending;
use crate::api::reasons::TaskReason;
use crate::api::session::SessionState;
use crate::api::task::{TaskMode, TaskOutcome, TaskPhase};
use crate::api::{WorkerSession, WorkerTask};

/// Why a task is to end, if it is. `session`: its session; `None` if there is none any more.
pub fn ending(task: &WorkerTask, session: Option<&WorkerSession>, now: Timestamp) -> Option<Ending> {
    if task.metadata.deletion_timestamp.is_some() {
        return Some(cancelled(TaskReason::TaskDeleted, "the task was deleted"));
    }
    let Some(session) = session.filter(|session| session.metadata.deletion_timestamp.is_none()) else {
        return Some(cancelled(TaskReason::SessionDeleted, "its session was deleted"));
    };
    if let Some(ending) = reported(task) {
        return Some(ending);
    }
    match session.spec.state {
        SessionState::Cancelled => return Some(cancelled(TaskReason::SessionCancelled, "its session was cancelled")),
        SessionState::Completed if has_begun(task) => {
            let text = "its session was completed before a result was reported for it";
            return Some(ended(TaskPhase::Failed, TaskReason::NoResult, text));
        }
        SessionState::Completed => {
            return Some(cancelled(TaskReason::SessionCompleted, "its session was completed before it began"));
        }
        SessionState::Active => {}
    }
    deadline(session).filter(|deadline| now > *deadline).map(|deadline| {
        let text = format!("its session was to be over by {deadline} (activeDeadline)");
        Ending { deadline: Some(deadline), ..ended(TaskPhase::Failed, TaskReason::DeadlineExceeded, text) }
    })
}

/// When a session must be over; `None` if its times cannot be told.
pub fn deadline(session: &WorkerSession) -> Option<Timestamp> {
    after_creation(session, session.spec.active_deadline.duration()?)
}

/// By when the first task of a session must have begun; `None` if its times cannot be told.
pub fn start_deadline(session: &WorkerSession) -> Option<Timestamp> {
    after_creation(session, session.spec.start_deadline.duration()?)
}

fn after_creation(session: &WorkerSession, after: std::time::Duration) -> Option<Timestamp> {
    let created = session.metadata.creation_timestamp.as_ref()?.0;
    created.checked_add(SignedDuration::try_from(after).ok()?).ok()
}

/// What the client of a lease has reported.
fn reported(task: &WorkerTask) -> Option<Ending> {
    let result = task.spec.result.as_ref().filter(|_| task.spec.mode == TaskMode::Lease)?;
    let (phase, text) = match result.outcome {
        TaskOutcome::Succeeded => (TaskPhase::Succeeded, "its end was reported"),
        TaskOutcome::Failed => (TaskPhase::Failed, "its failure was reported"),
    };
    Some(ended(phase, TaskReason::ResultReported, result.message.clone().unwrap_or_else(|| text.to_owned())))
}

/// Whether its command, or the work of whom it is leased to, may have begun.
pub fn has_begun(task: &WorkerTask) -> bool {
    phase(task) == TaskPhase::Running
}

/// The phase of a task; one that a later version wrote is taken for running, for that is touched least.
pub fn phase(task: &WorkerTask) -> TaskPhase {
    match task.status.as_ref().and_then(|status| status.phase.as_deref()) {
        None => TaskPhase::Pending,
        Some(text) => TaskPhase::parse(text).unwrap_or(TaskPhase::Running),
    }
}

fn cancelled(reason: TaskReason, message: &str) -> Ending {
    ended(TaskPhase::Cancelled, reason, message)
}

fn ended(phase: TaskPhase, reason: TaskReason, message: impl Into<String>) -> Ending {
    Ending { phase, reason, message: message.into(), deadline: None }
}

//! Why a task is to end although nothing in its worker's guest has ended it.

use jiff::{SignedDuration, Timestamp};

use super::claims::Ending;
use crate::api::reasons::{SessionReason, TaskReason};
use crate::api::session::SessionState;
use crate::api::task::{TaskMode, TaskOutcome, TaskPhase};
use crate::api::{WorkerSession, WorkerTask, conditions};

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
    late(session, now)
}

/// A deadline of its session has passed.
fn late(session: &WorkerSession, now: Timestamp) -> Option<Ending> {
    if has_missed_its_start(session) {
        let text = "no task of its session had started when startDeadline had passed";
        return Some(ended(TaskPhase::Failed, TaskReason::DeadlineExceeded, text));
    }
    deadline(session).filter(|deadline| now > *deadline).map(|deadline| {
        let text = format!("its session was to be over by {deadline} (activeDeadline)");
        Ending { deadline: Some(deadline), ..ended(TaskPhase::Failed, TaskReason::DeadlineExceeded, text) }
    })
}

/// Whether a session is over because a deadline of its own has passed.
pub fn is_late(session: &WorkerSession, now: Timestamp) -> bool {
    late(session, now).is_some()
}

/// Whether a session's status says that none of its tasks had begun when `startDeadline` had passed. That is said once,
/// by whoever sees all tasks, and stays so.
pub fn has_missed_its_start(session: &WorkerSession) -> bool {
    let conditions = session.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let ready = conditions::find(conditions, conditions::READY);
    ready.is_some_and(|ready| ready.reason == SessionReason::StartDeadlineExceeded.as_str())
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(patch: &Value) -> WorkerSession {
        let mut session = json!({
            "metadata": {"name": "night", "uid": "u1", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": [{"id": "101"}]},
        });
        json_patch::merge(&mut session, patch);
        serde_json::from_value(session).unwrap()
    }

    fn task(patch: &Value) -> WorkerTask {
        let mut task = json!({
            "metadata": {"name": "night-0", "uid": "t1"},
            "spec": {
                "sessionRef": {"name": "night", "uid": "u1"}, "index": 0, "mode": "Lease", "virtualMachine": {"id": "101"},
            },
        });
        json_patch::merge(&mut task, patch);
        serde_json::from_value(task).unwrap()
    }

    fn ends(task_patch: &Value, session_patch: &Value, hours: i64) -> Option<(TaskPhase, TaskReason)> {
        let created: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let now = created + SignedDuration::from_hours(hours);
        ending(&task(task_patch), Some(&session(session_patch)), now).map(|ending| (ending.phase, ending.reason))
    }

    #[test]
    fn a_task_ends_with_its_session() {
        use TaskPhase::{Cancelled, Failed, Succeeded};
        let (plain, running) = (json!({}), json!({"status": {"phase": "Running"}}));
        let reported = json!({"spec": {"result": {"outcome": "Succeeded"}}});
        let state = |state: &str| json!({"spec": {"state": state}});
        let missed = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "",
            "reason": "StartDeadlineExceeded", "lastTransitionTime": "2026-11-01T00:00:00Z"}]}});
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-11-01T00:00:00Z"}});
        let cases = [
            (&plain, &plain, 1, None),
            (&deleted, &plain, 1, Some((Cancelled, TaskReason::TaskDeleted))),
            (&plain, &deleted, 1, Some((Cancelled, TaskReason::SessionDeleted))),
            (&running, &state("Cancelled"), 1, Some((Cancelled, TaskReason::SessionCancelled))),
            (&running, &state("Completed"), 1, Some((Failed, TaskReason::NoResult))),
            (&plain, &state("Completed"), 1, Some((Cancelled, TaskReason::SessionCompleted))),
            (&reported, &state("Completed"), 1, Some((Succeeded, TaskReason::ResultReported))),
            (&reported, &missed, 25, Some((Succeeded, TaskReason::ResultReported))),
            (&plain, &missed, 1, Some((Failed, TaskReason::DeadlineExceeded))),
            (&plain, &plain, 24, None),
            (&plain, &plain, 25, Some((Failed, TaskReason::DeadlineExceeded))),
        ];
        for (task, session, hours, expected) in cases {
            assert_eq!(ends(task, session, hours), expected, "{task} {session} after {hours} h");
        }
        assert!(ending(&task(&plain), None, Timestamp::UNIX_EPOCH).is_some(), "its session is gone");
    }
}

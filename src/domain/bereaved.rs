//! What becomes of a task whose Worker is gone: nobody is left who would end it.
//!
//! A Worker waits for its tasks before it goes. It goes under one that runs only if its owner abandons it, or takes our
//! finalizer away: then its VM is left behind as it is, and what runs in it goes on.

use jiff::Timestamp;

use super::attend::{Act, Finish, Requeue};
use super::availability::Unavailable;
use super::ending::{ending, has_begun};
use crate::api::reasons::TaskReason;
use crate::api::task::TaskPhase;
use crate::api::{WorkerSession, WorkerTask};

/// What a task needs that is with a Worker which does not exist any more. What has begun is not done again: the VM that it
/// began in may still run.
pub fn act(task: &WorkerTask, session: Option<&WorkerSession>, now: Timestamp) -> Act {
    match (ending(task, session, now), has_begun(task)) {
        (Some(ending), lost) => Act::Finish(Finish { lost, ..Finish::from(&ending) }),
        (None, true) => Act::Finish(Finish {
            phase: TaskPhase::Failed,
            reason: TaskReason::WorkerLost,
            message:
                "its Worker was deleted under it, and its VM left behind: what it began there may still go on, so that \
                      it is not begun a second time"
                    .to_owned(),
            end: None,
            lost: true,
        }),
        (None, false) => {
            let why = Unavailable::new(TaskReason::Unavailable, "it was deleted");
            Act::Requeue(Requeue::GivenBack(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> WorkerSession {
        serde_json::from_value(json!({
            "metadata": {"name": "night", "uid": "u1", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": [{"id": "101"}]},
        }))
        .unwrap()
    }

    fn task(mode: &str, phase: &str, lost: i32) -> WorkerTask {
        serde_json::from_value(json!({
            "metadata": {"name": "night-0", "uid": "t1"},
            "spec": {
                "sessionRef": {"name": "night", "uid": "u1"}, "index": 0, "mode": mode, "virtualMachine": {"id": "101"},
            },
            "status": {"phase": phase, "worker": "w1", "workerUid": "gone", "attempt": 1, "lostAttempts": lost},
        }))
        .unwrap()
    }

    fn acts(task: &WorkerTask) -> Act {
        act(task, Some(&session()), "2026-11-01T00:10:00Z".parse().unwrap())
    }

    #[test]
    fn what_has_begun_fails_and_what_has_not_waits_for_another_worker() {
        for mode in ["Command", "Lease"] {
            let Act::Finish(finish) = acts(&task(mode, "Running", 0)) else { panic!("{mode}") };
            assert_eq!((finish.phase, finish.reason, finish.lost), (TaskPhase::Failed, TaskReason::WorkerLost, true));
            assert!(matches!(acts(&task(mode, "Starting", 0)), Act::Requeue(Requeue::GivenBack(_))), "{mode}");
        }
    }

    #[test]
    fn a_task_that_is_to_end_ends() {
        for (mode, phase) in
            [("Command", "Starting"), ("Command", "Running"), ("Lease", "Starting"), ("Lease", "Running")]
        {
            let Act::Finish(finish) = act(&task(mode, phase, 0), None, "2026-11-01T00:10:00Z".parse().unwrap()) else {
                panic!("{mode} {phase}")
            };
            assert_eq!((finish.phase, finish.reason), (TaskPhase::Cancelled, TaskReason::SessionDeleted));
        }
    }
}

//! What becomes of a task whose Worker is gone: its VM is gone with it, and nobody is left who would end the task.

use jiff::Timestamp;

use super::attend::{self, Act, Place};
use super::availability::Unavailable;
use super::claims::{Claim, Held, OpenTask, TaskSight};
use super::ending::{ending, has_begun};
use crate::api::reasons::TaskReason;
use crate::api::task::TaskMode;
use crate::api::{WorkerSession, WorkerTask};

/// What a task needs that is with a Worker which does not exist any more. A command may have begun before anybody could
/// write that down; a lease has not.
pub fn act(task: &WorkerTask, session: Option<&WorkerSession>, now: Timestamp) -> Act {
    let status = task.status.clone().unwrap_or_default();
    let command = task.spec.mode == TaskMode::Command;
    let open = OpenTask {
        begun: command || has_begun(task),
        command,
        ending: ending(task, session, now),
        // An attempt that was lost has not failed.
        retries_left: false,
        was_lost: status.lost_attempts.unwrap_or(0) > 0,
    };
    let held = Held { claim: Claim::of(task), listed: true, task: TaskSight::Open(open) };
    let gone = Unavailable::new(TaskReason::Unavailable, "the worker that it was to go to was deleted");
    let steps = attend::steps(&[held], Place::Off, Some(&gone), now);
    steps.into_iter().next().map_or(Act::Release, |step| step.act)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::task::TaskPhase;
    use crate::domain::attend::Requeue;

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
    fn a_command_is_done_again_once() {
        for phase in ["Starting", "Running"] {
            assert!(matches!(acts(&task("Command", phase, 0)), Act::Requeue(Requeue::Lost(_))), "{phase}");
            let Act::Finish(finish) = acts(&task("Command", phase, 1)) else { panic!("{phase}") };
            assert_eq!((finish.phase, finish.reason), (TaskPhase::Failed, TaskReason::WorkerLost));
        }
    }

    #[test]
    fn a_lease_fails_if_somebody_worked_with_the_worker_and_waits_if_not() {
        let Act::Finish(finish) = acts(&task("Lease", "Running", 0)) else { panic!("it ends") };
        assert_eq!((finish.phase, finish.reason), (TaskPhase::Failed, TaskReason::WorkerLost));
        assert!(matches!(acts(&task("Lease", "Starting", 0)), Act::Requeue(Requeue::GivenBack(_))));
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

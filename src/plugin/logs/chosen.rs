//! Which attempt is meant, and which workers may have it.

use kube::ResourceExt as _;

use super::Args;
use crate::api::WorkerTask;
use crate::api::task::{TaskMode, TaskPhase};
use crate::domain::ending::phase;

/// An attempt, and where it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) attempt: u32,
    /// The workers that it can have been made on, the most likely one first.
    pub(super) workers: Vec<Candidate>,
    /// What the task says while the command of this attempt may not have begun yet.
    pub(super) not_begun: Option<String>,
}

/// A worker that may have an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    /// Its UID, if the task tells it.
    pub(super) uid: Option<String>,
}

impl Chosen {
    /// Else the reason why there is no output.
    pub(super) fn of(task: &WorkerTask, args: &Args) -> Result<Self, String> {
        let (name, status) = (task.name_any(), task.status.clone().unwrap_or_default());
        if task.spec.mode == TaskMode::Lease {
            return Err(format!(
                "task {name} is leased to a program outside, which does its work: there is no command, and no output"
            ));
        }
        let message = status.message.clone().unwrap_or_default();
        let latest = status.attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0);
        if latest == 0 {
            let why = match status.reason {
                Some(reason) => format!(" ({reason}: {message})"),
                None => String::new(),
            };
            let session = &task.spec.session_ref.name;
            let advice = format!("`kubectl stevedore explain {session}` tells more");
            return Err(if phase(task).has_ended() {
                format!("task {name} ended before its command was started, so that there is no output{why}")
            } else {
                format!("task {name} waits for a worker, and its command has not been started{why}; {advice}")
            });
        }
        let attempt = match (args.attempt, args.previous) {
            (Some(attempt), _) if attempt > latest => {
                return Err(format!(
                    "task {name} has had no attempt {attempt} yet: the latest one is attempt {latest}"
                ));
            }
            (Some(attempt), _) => attempt,
            (None, true) if latest == 1 => return Err(format!("task {name} has had one attempt only")),
            (None, true) => latest - 1,
            (None, false) => latest,
        };
        let is_latest = attempt == latest;
        let not_begun = (is_latest && phase(task) == TaskPhase::Starting).then_some(message);
        Ok(Self { attempt, workers: workers(task, is_latest), not_begun })
    }
}

/// Where an attempt can have been made: the latest where the task is, others where it was and failed; it may have been the
/// same worker each time.
fn workers(task: &WorkerTask, is_latest: bool) -> Vec<Candidate> {
    let status = task.status.clone().unwrap_or_default();
    let present = status.worker.map(|name| Candidate { name, uid: status.worker_uid });
    let mut workers = Vec::new();
    if is_latest && present.is_some() {
        workers.extend(present);
        return workers;
    }
    let former = status.avoid.into_iter().rev().map(|name| Candidate { name, uid: None });
    for candidate in former.chain(present) {
        if workers.iter().all(|known: &Candidate| known.name != candidate.name) {
            workers.push(candidate);
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chosen(mode: &str, status: &Value, args: &Args) -> Result<Chosen, String> {
        let task = json!({
            "metadata": {"name": "night-0", "uid": "t"},
            "spec": {
                "sessionRef": {"name": "night", "uid": "u"}, "index": 0, "mode": mode, "virtualMachine": {"id": "101"},
            },
            "status": status,
        });
        Chosen::of(&serde_json::from_value(task).unwrap(), args)
    }

    fn args(attempt: Option<u32>, previous: bool) -> Args {
        Args { task: "night-0".into(), attempt, previous, follow: false }
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.workers.iter().map(|worker| worker.name.as_str()).collect()
    }

    #[test]
    fn what_has_no_output_says_why() {
        let cases = [
            ("Lease", json!({"phase": "Running", "attempt": 1}), args(None, false), "leased to a program outside"),
            (
                "Command",
                json!(null),
                args(None, false),
                "waits for a worker, and its command has not been started; `kubectl",
            ),
            (
                "Command",
                json!({"phase": "Pending", "reason": "Busy", "message": "full"}),
                args(None, false),
                "(Busy: full)",
            ),
            (
                "Command",
                json!({"phase": "Failed", "reason": "NotFound", "message": "x"}),
                args(None, false),
                "ended before",
            ),
            ("Command", json!({"phase": "Running", "attempt": 2}), args(Some(3), false), "no attempt 3 yet"),
            ("Command", json!({"phase": "Running", "attempt": 1}), args(None, true), "one attempt only"),
        ];
        for (mode, status, args, text) in cases {
            let why = chosen(mode, &status, &args).unwrap_err();
            assert!(why.contains(text), "{why}");
        }
    }

    #[test]
    fn the_latest_attempt_is_where_the_task_is_and_others_where_it_failed() {
        let status = json!({"phase": "Starting", "message": "m", "attempt": 3, "worker": "w3", "workerUid": "u3", "avoid": ["w1", "w2", "w3"]});
        let latest = chosen("Command", &status, &args(None, false)).unwrap();
        assert_eq!((latest.attempt, names(&latest), latest.not_begun.as_deref()), (3, vec!["w3"], Some("m")));
        assert_eq!(latest.workers[0].uid.as_deref(), Some("u3"));
        let before = chosen("Command", &status, &args(None, true)).unwrap();
        assert_eq!((before.attempt, names(&before), &before.not_begun), (2, vec!["w3", "w2", "w1"], &None));
        let waits = json!({"phase": "Pending", "attempt": 1, "avoid": ["w1"]});
        assert_eq!(names(&chosen("Command", &waits, &args(None, false)).unwrap()), ["w1"]);
    }
}

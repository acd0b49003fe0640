use serde_json::{Value, json};

use super::*;
use crate::api::conditions::Condition;
use crate::api::session_status::TaskCounts;
use crate::domain::outcome::outcome;

fn session(patch: &Value) -> WorkerSession {
    let mut session = json!({
        "metadata": {"name": "night", "uid": "u1", "generation": 3, "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": [{"id": "101"}, {"id": "102"}]},
    });
    json_patch::merge(&mut session, patch);
    serde_json::from_value(session).unwrap()
}

fn tally(pending: i32, running: i32, succeeded: i32, failed: i32) -> Tally {
    let total = pending + running + succeeded + failed;
    let counts = TaskCounts { total, pending, running, succeeded, failed, ..TaskCounts::default() };
    Tally { counts, ready: running, ..Tally::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond(1_793_491_200_000 + second * 1000 + 7).unwrap()
}

fn rendered(session: &WorkerSession, tally: &Tally, second: i64) -> WorkerSessionStatus {
    let outcome = outcome(session, tally, None, at(second));
    render(session, tally, &outcome, true, at(second))
}

/// Each condition with its answer and its reason.
fn said(status: &WorkerSessionStatus) -> Vec<String> {
    let say = |one: &Condition| format!("{}={}/{}", one.type_, one.status, one.reason);
    assert!(status.conditions.iter().all(|one| one.observed_generation == status.observed_generation));
    status.conditions.iter().map(say).collect()
}

#[test]
fn tools_that_wait_for_a_session_see_every_end() {
    let plain = session(&json!({}));
    let going = rendered(&plain, &tally(1, 1, 0, 0), 60);
    let expected = [
        "Ready=False/Running",
        "WorkersAvailable=True/WorkerReady",
        "Finished=False/Running",
        "Reconciling=True/Running",
    ];
    assert_eq!(said(&going), expected);
    let mut later = plain.clone();
    later.status = Some(going);
    let failed = rendered(&later, &tally(0, 0, 1, 1), 90);
    let expected = [
        "Ready=False/TasksFailed",
        "WorkersAvailable=False/NoWorkerReady",
        "Finished=True/TasksFailed",
        "Stalled=True/TasksFailed",
    ];
    assert_eq!(said(&failed), expected);
    let succeeded = rendered(&later, &tally(0, 0, 2, 0), 90);
    let expected = ["Ready=True/Succeeded", "WorkersAvailable=False/NoWorkerReady", "Finished=True/Succeeded"];
    assert_eq!(said(&succeeded), expected);
    assert_eq!((succeeded.done.as_deref(), succeeded.phase.as_deref()), (Some("2/2"), Some("Succeeded")));
}

#[test]
fn the_same_is_the_same_later() {
    let mut one = session(&json!({}));
    let begun = Tally { started: Some(at(5)), ..tally(1, 1, 0, 0) };
    one.status = Some(rendered(&one, &begun, 60));
    assert_eq!(one.status.as_ref(), Some(&rendered(&one, &begun, 61)));
    let second_began = Tally { started: Some(at(2)), ..begun };
    assert_eq!(one.status.as_ref(), Some(&rendered(&one, &second_began, 62)), "when it began was said before");
}

#[test]
fn what_has_ended_changes_no_more_but_speaks_of_the_latest_generation() {
    let mut one = session(&json!({}));
    let status = rendered(&one, &tally(0, 0, 2, 0), 60);
    one.status = Some(status.clone());
    assert_eq!(kept(&one, at(61)), status);
    one.metadata.generation = Some(4);
    let edited = kept(&one, at(62));
    assert_eq!((edited.observed_generation, edited.finished_at.clone()), (Some(4), status.finished_at));
    let ready = conditions::find(&edited.conditions, conditions::READY).unwrap();
    assert_eq!(ready.observed_generation, Some(4));
}

#[test]
fn no_more_workers_are_named_than_a_status_holds() {
    let workers = (0..300).map(|number| format!("w{number}")).collect();
    let status = rendered(&session(&json!({})), &Tally { workers, ..tally(1, 1, 0, 0) }, 60);
    assert_eq!((status.workers.len(), status.workers_in_use), (MAX_WORKERS, Some(300)));
}

#[test]
fn a_session_that_is_being_deleted_says_what_it_waits_for() {
    let mut one = session(&json!({}));
    one.status = Some(rendered(&one, &tally(0, 0, 1, 1), 60));
    let leaving = leaving(&one, "7 of its tasks are still there", at(90));
    let ready = conditions::find(&leaving.conditions, conditions::READY).unwrap();
    assert!(ready.message.contains("7 of its tasks"), "{}", ready.message);
    let stalled = conditions::find(&leaving.conditions, conditions::STALLED);
    assert!(stalled.is_none() && conditions::is_true(&leaving.conditions, conditions::RECONCILING));
    assert_eq!(leaving.tasks, one.status.unwrap().tasks);
}

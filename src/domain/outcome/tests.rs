use serde_json::{Value, json};

use super::*;
use crate::api::session_status::TaskCounts;

const CREATED: &str = "2026-11-01T00:00:00Z";

fn session(patch: &Value) -> WorkerSession {
    let mut session = json!({
        "metadata": {"name": "night", "uid": "u1", "creationTimestamp": CREATED},
        "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": [{"id": "101"}]},
        "status": {"tasksCreated": true},
    });
    json_patch::merge(&mut session, patch);
    serde_json::from_value(session).unwrap()
}

/// So many tasks in each phase: pending, starting, running, succeeded, failed, cancelled.
fn tally([pending, starting, running, succeeded, failed, cancelled]: [i32; 6]) -> Tally {
    let total = pending + starting + running + succeeded + failed + cancelled;
    let counts = TaskCounts { total, pending, starting, running, succeeded, failed, cancelled };
    let names = (0..failed).map(|index| format!("night-{index}")).collect();
    Tally { counts, failed: names, ..Tally::default() }
}

fn after(minutes: i64) -> Timestamp {
    let created: Timestamp = CREATED.parse().unwrap();
    created + jiff::SignedDuration::from_mins(minutes)
}

fn at(session: &WorkerSession, tally: &Tally) -> (SessionPhase, SessionReason) {
    let found = outcome(session, tally, None, after(10));
    assert!(!found.message.is_empty() && found.message.len() < 1000);
    (found.phase, found.reason)
}

#[test]
fn a_session_goes_from_pending_to_running() {
    use SessionPhase::{Pending, Running, Starting};
    let plain = session(&json!({}));
    let young = session(&json!({"status": {"tasksCreated": null}}));
    assert_eq!(at(&young, &tally([2, 0, 0, 0, 0, 0])), (Pending, SessionReason::Preparing));
    assert_eq!(at(&plain, &tally([2, 0, 0, 0, 0, 0])), (Pending, SessionReason::WaitingForWorkers));
    assert_eq!(at(&plain, &tally([2, 1, 0, 0, 0, 0])), (Starting, SessionReason::Starting));
    assert_eq!(at(&plain, &tally([2, 1, 1, 0, 0, 0])), (Running, SessionReason::Running));
    let begun = session(&json!({"status": {"startedAt": "2026-11-01T00:01:00Z"}}));
    assert_eq!(at(&begun, &tally([2, 0, 0, 0, 1, 0])), (Running, SessionReason::Running), "it has run");
}

#[test]
fn a_session_ends_when_all_its_tasks_have() {
    use SessionPhase::{Cancelled, Failed, Succeeded};
    let cases = [
        ("Active", [0, 0, 0, 3, 0, 0], Succeeded, SessionReason::Succeeded),
        ("Active", [0, 0, 0, 2, 1, 0], Failed, SessionReason::TasksFailed),
        ("Active", [0, 0, 0, 2, 0, 1], Succeeded, SessionReason::Succeeded),
        ("Active", [0, 0, 0, 0, 0, 2], Cancelled, SessionReason::Cancelled),
        ("Cancelled", [0, 0, 0, 1, 0, 1], Cancelled, SessionReason::Cancelled),
        ("Cancelled", [0, 0, 0, 2, 0, 0], Succeeded, SessionReason::Succeeded),
        ("Cancelled", [0, 0, 0, 1, 1, 1], Failed, SessionReason::TasksFailed),
        ("Completed", [0, 0, 0, 1, 0, 1], Succeeded, SessionReason::Succeeded),
        ("Completed", [0, 0, 0, 1, 1, 1], Failed, SessionReason::TasksFailed),
        ("Completed", [0, 0, 0, 0, 0, 2], Cancelled, SessionReason::Cancelled),
    ];
    for (state, counts, phase, reason) in cases {
        let found = at(&session(&json!({"spec": {"state": state}})), &tally(counts));
        assert_eq!(found, (phase, reason), "{state} {counts:?}");
    }
}

#[test]
fn a_failure_names_tasks_and_a_deadline_that_passed() {
    let failed = tally([0, 0, 0, 1, 5, 0]);
    let message = outcome(&session(&json!({})), &failed, None, after(10)).message;
    let words = "of 6 tasks 1 succeeded, 5 failed, 0 were cancelled (failed: night-0, night-1, night-2, …)";
    assert_eq!(message, words);
    let late = Tally { late: true, ..failed };
    let found = outcome(&session(&json!({})), &late, None, after(10));
    assert_eq!((found.phase, found.reason), (SessionPhase::Failed, SessionReason::DeadlineExceeded));
    assert!(found.message.starts_with("activeDeadline (24h) passed; of 6"), "{}", found.message);
}

#[test]
fn the_first_task_must_begin_in_time() {
    let (plain, waiting) = (session(&json!({})), tally([1, 1, 0, 0, 0, 0]));
    let reason = |session: &WorkerSession, tally: &Tally, now| outcome(session, tally, None, now).reason;
    assert_eq!(reason(&plain, &waiting, after(60)), SessionReason::Starting, "it has not passed yet");
    assert_eq!(reason(&plain, &waiting, after(61)), SessionReason::StartDeadlineExceeded);
    let begun = Tally { started: Some(after(2)), ..waiting.clone() };
    assert_eq!(reason(&plain, &begun, after(61)), SessionReason::Running);
    let begun_before = session(&json!({"status": {"startedAt": "2026-11-01T00:01:00Z"}}));
    assert_eq!(reason(&begun_before, &waiting, after(61)), SessionReason::Running);
    let cancelled = session(&json!({"spec": {"state": "Cancelled"}}));
    assert_eq!(reason(&cancelled, &waiting, after(61)), SessionReason::Starting, "it ends all the same");
    let ready = json!({"type": "Ready", "status": "False", "reason": "StartDeadlineExceeded", "message": "",
        "lastTransitionTime": CREATED});
    let missed = session(&json!({"status": {"conditions": [ready]}}));
    assert_eq!(reason(&missed, &begun, after(62)), SessionReason::StartDeadlineExceeded, "what was said stays");
    let found = outcome(&missed, &tally([0, 0, 0, 0, 2, 0]), None, after(62));
    assert_eq!((found.phase, found.reason), (SessionPhase::Failed, SessionReason::StartDeadlineExceeded));
}

#[test]
fn what_keeps_it_is_said_until_tasks_have_workers() {
    let trouble = Trouble { reason: SessionReason::HypervisorPaused, message: "paused".into() };
    let reason = |counts| outcome(&session(&json!({})), &tally(counts), Some(&trouble), after(10)).reason;
    assert_eq!(reason([1, 0, 0, 0, 0, 0]), SessionReason::HypervisorPaused);
    assert_eq!(reason([1, 0, 1, 0, 0, 0]), SessionReason::Running);
    assert_eq!(reason([0, 0, 0, 1, 0, 0]), SessionReason::Succeeded);
}

#[test]
fn a_session_that_is_being_deleted_has_no_other_end() {
    let leaving = session(&json!({"metadata": {"deletionTimestamp": CREATED}}));
    assert_eq!(at(&leaving, &tally([0, 0, 0, 1, 0, 0])).1, SessionReason::Deleting);
}

#[test]
fn no_task_is_made_for_a_session_that_is_over() {
    let over = |patch: &Value, minutes| is_over(&session(patch), after(minutes));
    assert!(!over(&json!({}), 10) && !over(&json!({}), 24 * 60));
    assert!(over(&json!({}), 24 * 60 + 1));
    for patch in [
        json!({"spec": {"state": "Cancelled"}}),
        json!({"spec": {"state": "Completed"}}),
        json!({"metadata": {"deletionTimestamp": CREATED}}),
        json!({"status": {"phase": "Failed"}}),
    ] {
        assert!(over(&patch, 10), "{patch}");
    }
}

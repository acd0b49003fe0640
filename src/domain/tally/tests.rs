use serde_json::{Value, json};

use super::*;

fn session(vms: usize, patch: &Value) -> WorkerSession {
    let vms: Vec<_> = (0..vms).map(|index| json!({"id": (100 + index).to_string()})).collect();
    let mut session = json!({
        "metadata": {"name": "night", "uid": "u1", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": vms},
        "status": {"tasksCreated": true},
    });
    json_patch::merge(&mut session, patch);
    serde_json::from_value(session).unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a slot")]
fn task(index: usize, status: &Value) -> Option<Box<WorkerTask>> {
    let task = json!({
        "metadata": {"name": format!("night-{index}")},
        "spec": {
            "sessionRef": {"name": "night", "uid": "u1"}, "index": index, "mode": "Command", "virtualMachine": {"id": "101"},
        },
        "status": status,
    });
    Some(Box::new(serde_json::from_value(task).unwrap()))
}

fn ended(index: usize, phase: &str) -> Option<Box<WorkerTask>> {
    task(index, &json!({"phase": phase, "reason": phase}))
}

fn noon() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

fn tally(session: &WorkerSession, slots: &[Option<Box<WorkerTask>>], blocked: &[usize]) -> Tally {
    let blocked = blocked.iter().copied().collect();
    let tally = Roll { slots, blocked: &blocked }.tally(session, noon());
    let counts = tally.counts;
    let sum = counts.pending + counts.starting + counts.running + tally.ended();
    assert_eq!((counts.total, sum), (count(slots.len()), count(slots.len())), "every task is counted once: {counts:?}");
    tally
}

#[test]
fn tasks_are_counted_by_phase() {
    let with = |index, phase: &str, worker: &str, address: Value| {
        let began = (phase == "Running").then(|| format!("2026-11-01T01:0{index}:00Z"));
        task(index, &json!({"phase": phase, "worker": worker, "address": address, "startedAt": began}))
    };
    let slots = [
        task(0, &Value::Null),
        with(1, "Starting", "w1", Value::Null),
        with(2, "Running", "w2", json!("10.0.0.2")),
        with(3, "Running", "w2", Value::Null),
        task(4, &json!({"phase": "Succeeded", "worker": "w3", "startedAt": "2026-11-01T01:01:00Z"})),
        ended(5, "Cancelled"),
        task(6, &json!({"phase": "Failed", "reason": "DeadlineExceeded"})),
        task(7, &json!({"phase": "FromALaterVersion", "worker": "w4"})),
    ];
    let found = tally(&session(8, &json!({})), &slots, &[]);
    let counts = TaskCounts { total: 8, pending: 1, starting: 1, running: 3, succeeded: 1, failed: 1, cancelled: 1 };
    assert_eq!(found.counts, counts);
    assert_eq!(Vec::from_iter(&found.workers), ["w1", "w2", "w4"]);
    assert_eq!((found.ready, found.late, found.failed), (1, true, vec!["night-6".to_owned()]));
    assert_eq!(found.started, Some("2026-11-01T01:01:00Z".parse().unwrap()), "the first one began then");
}

#[test]
fn reasons_for_waiting_are_grouped_with_the_most_frequent_first() {
    let waits = |index, reason: &str| task(index, &json!({"reason": reason, "message": format!("{reason} {index}")}));
    let mut slots =
        vec![waits(0, "Busy"), waits(1, "VmBusy"), waits(2, "VmBusy"), task(3, &Value::Null), ended(4, "Failed")];
    let found = tally(&session(5, &json!({})), &slots, &[]).waiting;
    let expected = |reason: &str, tasks, index| WaitingTasks {
        reason: reason.into(),
        tasks,
        example: format!("night-{index}"),
        message: format!("{reason} {index}"),
    };
    assert_eq!(found, [expected("VmBusy", 2, 1), expected("Busy", 1, 0)]);
    slots.extend((5..100).map(|index| waits(index, &format!("Reason{index}"))));
    let found = tally(&session(100, &json!({})), &slots, &[]).waiting;
    assert_eq!((found.len(), found[0].tasks), (MAX_WAITING, 2));
}

#[test]
fn tasks_that_are_not_made_yet_wait() {
    let young = json!({"status": {"tasksCreated": null}});
    let found = tally(&session(3, &young), &[None, ended(1, "Failed"), None], &[]);
    assert_eq!((found.counts.pending, found.counts.failed), (2, 1));
    let cancelled = json!({"status": {"tasksCreated": null}, "spec": {"state": "Cancelled"}});
    assert_eq!(tally(&session(3, &cancelled), &[None, None, None], &[]).counts.cancelled, 3);
    let late = json!({"status": {"tasksCreated": null}, "spec": {"activeDeadline": "2h"}});
    let found = tally(&session(3, &late), &[None, None, None], &[]);
    assert_eq!((found.counts.failed, found.late), (3, true));
}

#[test]
fn a_task_that_was_deleted_counts_as_cancelled() {
    let found = tally(&session(3, &json!({})), &[ended(0, "Succeeded"), None, ended(2, "Running")], &[]);
    assert_eq!((found.counts.succeeded, found.counts.cancelled, found.counts.running), (1, 1, 1));
    assert_eq!(found.failed, Vec::<String>::new());
}

#[test]
fn a_task_that_was_seen_to_end_and_deleted_counts_as_what_it_ended_as() {
    let before = json!({"status": {"tasks": {
        "total": 4, "pending": 0, "starting": 0, "running": 2, "succeeded": 1, "failed": 1, "cancelled": 0,
    }, "failed": ["night-0"]}});
    let found = tally(&session(4, &before), &[None, None, ended(2, "Failed"), None], &[]);
    assert_eq!((found.counts.succeeded, found.counts.failed, found.counts.cancelled), (1, 2, 1));
    assert_eq!(found.failed, ["night-0", "night-2"]);
}

#[test]
fn a_task_that_cannot_be_made_counts_as_failed_and_is_named() {
    let young = session(3, &json!({"status": {"tasksCreated": null}}));
    let found = tally(&young, &[ended(0, "Pending"), None, None], &[1]);
    assert_eq!((found.counts.failed, found.counts.pending, found.failed), (1, 2, vec!["night-1".to_owned()]));
    let known = session(3, &json!({"status": {"failed": ["night-1"]}}));
    let found = tally(&known, &[ended(0, "Succeeded"), None, ended(2, "Failed")], &[]);
    assert_eq!((found.counts.failed, found.failed), (2, vec!["night-1".to_owned(), "night-2".to_owned()]));
}

#[test]
fn no_more_failed_tasks_are_named_than_a_status_holds() {
    let slots: Vec<_> = (0..1000).map(|index| ended(index, "Failed")).collect();
    let found = tally(&session(1000, &json!({})), &slots, &[]);
    assert_eq!((found.counts.failed, found.failed.len(), found.failed[1].as_str()), (1000, MAX_FAILED, "night-1"));
}

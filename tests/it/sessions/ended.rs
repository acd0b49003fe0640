//! How sessions end: with their tasks, by a person's word, and by their deadlines; and what becomes of them then.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use stevedore::api::WorkerTask;
use stevedore::simulator::scenario::Scenario;

use super::lab::{Lab, end, of, runs, says, session};
use crate::crash::world::{World, in_virtual_time, merged, seed};

const HOURS: Duration = Duration::from_secs(3 * 3600);

#[test]
fn a_session_whose_commands_succeed_succeeds_and_goes_when_its_time_has_come() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let patch = merged(runs(&["sleep", "30"]), &json!({"spec": {"ttlAfterFinished": "10m"}}));
        lab.declare(session("night", &json!([{"id": "101"}, {"id": "102"}, {"id": "103"}]), &patch)).await;
        lab.phase("night", "Starting").await;
        let running = lab.phase("night", "Running").await;
        assert_eq!((running.workers.as_slice(), running.workers_in_use), (["w1".to_owned()].as_slice(), Some(1)));
        lab.until("night", |status| says(&status.conditions, "WorkersAvailable") == "True/WorkerReady").await;
        let status = lab.phase("night", "Succeeded").await;
        assert_eq!((status.done.as_deref(), status.tasks.unwrap().succeeded), (Some("3/3"), 3));
        assert_eq!(says(&status.conditions, "Ready"), "True/Succeeded");
        assert_eq!(says(&status.conditions, "Stalled") + &says(&status.conditions, "Reconciling"), "");
        assert!(status.started_at < status.finished_at && status.workers.is_empty() && status.waiting.is_empty());
        lab.operator.pass(Duration::from_secs(540)).await;
        assert_eq!(lab.world.session("night").await.unwrap().status, Some(status), "nothing of it changes any more");
        assert_eq!(lab.world.running(), 0, "its worker is off again");
        lab.operator.pass(Duration::from_secs(120)).await;
        lab.gone("night").await;
    });
}

#[test]
fn a_time_to_live_that_is_shortened_counts() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare(session("night", &json!([{"id": "999"}]), &json!({}))).await;
        lab.phase("night", "Failed").await;
        lab.operator.pass(Duration::from_secs(600)).await;
        lab.world.edit_session("night", json!({"spec": {"ttlAfterFinished": "1h"}})).await;
        let generation = lab.world.session("night").await.unwrap().metadata.generation;
        lab.until("night", |status| status.observed_generation == generation).await;
        lab.operator.pass(Duration::from_secs(2400)).await;
        assert!(lab.world.session("night").await.is_some());
        lab.operator.pass(Duration::from_secs(700)).await;
        lab.gone("night").await;
    });
}

#[test]
fn a_session_without_workers_fails_when_its_first_task_should_have_started() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let patch = json!({"spec": {"startDeadline": "20m"}});
        lab.declare(session("night", &json!([{"id": "101"}, {"id": "102"}]), &patch)).await;
        lab.operator.pass(Duration::from_secs(1190)).await;
        assert_eq!(lab.phase("night", "Pending").await.tasks.unwrap().pending, 2);
        lab.operator.pass(Duration::from_secs(20)).await;
        let status = lab.phase("night", "Failed").await;
        assert_eq!(says(&status.conditions, "Finished"), "True/StartDeadlineExceeded");
        assert_eq!(says(&status.conditions, "Stalled"), "True/StartDeadlineExceeded");
        assert_eq!(lab.ends("night"), vec![end("Failed", "DeadlineExceeded"); 2]);
    });
}

#[test]
fn a_session_without_a_hypervisor_fails_without_tasks() {
    in_virtual_time(async {
        let mut lab = Lab::in_world(World::bare(seed(), Scenario::default_demo()));
        lab.declare(session("night", &json!([{"id": "101"}, {"id": "102"}]), &json!({}))).await;
        let status = lab.within(HOURS, "night", |status| status.phase.as_deref() == Some("Failed")).await;
        assert_eq!(says(&status.conditions, "Finished"), "True/StartDeadlineExceeded");
        assert_eq!((status.tasks.unwrap().failed, status.tasks_created), (2, None));
        lab.operator.pass(HOURS).await;
        assert_eq!(of(&lab.world, "night").len(), 0);
        lab.delete("night", &kube::api::DeleteParams::default()).await;
        lab.gone("night").await;
    });
}

#[test]
fn what_still_runs_when_a_session_should_be_over_is_stopped() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let patch = merged(runs(&["sleep", "36000"]), &json!({"spec": {"activeDeadline": "30m"}}));
        lab.declare(session("night", &json!([{"id": "101"}, {"id": "102"}, {"id": "103"}]), &patch)).await;
        lab.until("night", |status| status.tasks.unwrap_or_default().running == 2).await;
        let status = lab.within(HOURS, "night", |status| status.phase.as_deref() == Some("Failed")).await;
        assert_eq!(says(&status.conditions, "Finished"), "True/DeadlineExceeded");
        assert_eq!(lab.ends("night"), vec![end("Failed", "DeadlineExceeded"); 3]);
        let created = lab.world.session("night").await.unwrap().metadata.creation_timestamp.unwrap().0;
        let lasted = status.finished_at.unwrap().0.duration_since(created).as_secs();
        assert!((1800..1900).contains(&lasted), "it lasted {lasted} s");
    });
}

#[test]
fn a_session_that_is_cancelled_stops_what_runs() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.declare(session(
            "night",
            &json!([{"id": "101"}, {"id": "102"}, {"id": "103"}]),
            &runs(&["sleep", "36000"]),
        ))
        .await;
        lab.until("night", |status| status.tasks.unwrap_or_default().running == 2).await;
        lab.world.edit_session("night", json!({"spec": {"state": "Cancelled"}})).await;
        let status = lab.phase("night", "Cancelled").await;
        assert_eq!(says(&status.conditions, "Finished"), "True/Cancelled");
        assert_eq!(says(&status.conditions, "Stalled"), "True/Cancelled", "tools that wait for it end");
        assert_eq!(lab.ends("night"), vec![end("Cancelled", "SessionCancelled"); 3]);
        let idle = lab.operator.run(super::lab::LONG, async |world| world.running() == 0).await;
        assert!(idle, "its worker is off again");
    });
}

#[test]
fn a_session_that_is_cancelled_before_its_tasks_are_made_ends_without_them() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"spec": {"paused": true}})).await;
        lab.declare(session("night", &json!([{"id": "101"}]), &json!({}))).await;
        lab.until("night", |status| says(&status.conditions, "Ready") == "False/HypervisorPaused").await;
        lab.world.edit_session("night", json!({"spec": {"state": "Cancelled"}})).await;
        let status = lab.phase("night", "Cancelled").await;
        assert_eq!((status.tasks.unwrap().cancelled, of(&lab.world, "night").len()), (1, 0));
    });
}

#[test]
fn a_lease_ends_with_what_its_client_reports() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.declare(session("lease", &json!([{"id": "101"}, {"id": "102"}, {"id": "103"}, {"id": "999"}]), &json!({})))
            .await;
        let status = lab.until("lease", |status| status.tasks.unwrap_or_default().running == 2).await;
        assert_eq!(says(&status.conditions, "WorkersAvailable"), "True/WorkerReady");
        let reported = json!({"spec": {"result": {"outcome": "Succeeded", "message": "42 GiB"}}});
        lab.world.tasks().patch("lease-0", &PatchParams::default(), &Patch::Merge(reported)).await.unwrap();
        let done = lab.task("lease-0", |task| task.status.as_ref().is_some_and(|one| one.finished_at.is_some())).await;
        assert_eq!(done.status.unwrap().message.as_deref(), Some("42 GiB"));
        let runs = |task: &WorkerTask| task.status.as_ref().is_some_and(|one| one.phase.as_deref() == Some("Running"));
        lab.task("lease-2", runs).await;
        lab.world.edit_session("lease", json!({"spec": {"state": "Completed"}})).await;
        lab.phase("lease", "Failed").await;
        let expected = [
            end("Succeeded", "ResultReported"),
            end("Failed", "NoResult"),
            end("Failed", "NoResult"),
            end("Failed", "NotFound"),
        ];
        assert_eq!(lab.ends("lease"), expected);
    });
}

#[test]
fn a_lease_that_is_completed_before_it_got_a_worker_is_cancelled() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare(session("lease", &json!([{"id": "101"}]), &json!({}))).await;
        lab.until("lease", |status| !status.waiting.is_empty()).await;
        lab.world.edit_session("lease", json!({"spec": {"state": "Completed"}})).await;
        lab.phase("lease", "Cancelled").await;
        assert_eq!(lab.ends("lease"), [end("Cancelled", "SessionCompleted")]);
    });
}

//! Sessions and tasks are deleted, in every phase and in every way, and all that they left behind ends.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::lab::{LONG, Lab, end, of, runs, says, session};
use crate::crash::world::in_virtual_time;

fn ways() -> [DeleteParams; 4] {
    [DeleteParams::default(), DeleteParams::background(), DeleteParams::foreground(), DeleteParams::orphan()]
}

async fn free(lab: &mut Lab) {
    let is_free = async |world: &crate::crash::world::World| {
        let status = world.worker("w1").await.unwrap().status.unwrap();
        world.running() == 0 && status.assignments.is_empty() && status.operation.is_none()
    };
    assert!(lab.operator.run(LONG, is_free).await, "{:#?}", lab.world.worker("w1").await);
}

#[test]
fn a_session_that_waits_goes_with_its_tasks() {
    for way in ways() {
        in_virtual_time(async {
            let mut lab = Lab::new().await;
            lab.declare(session("night", &json!([{"id": "101"}, {"id": "999"}]), &json!({}))).await;
            lab.until("night", |status| !status.waiting.is_empty()).await;
            lab.delete("night", &way).await;
            lab.world.collect();
            lab.gone("night").await;
        });
    }
}

#[test]
fn a_session_that_runs_is_stopped_first() {
    for way in ways() {
        in_virtual_time(async {
            let mut lab = Lab::with_worker().await;
            let vms = json!([{"id": "101"}, {"id": "102"}, {"id": "103"}]);
            lab.declare(session("night", &vms, &runs(&["sleep", "36000"]))).await;
            lab.until("night", |status| status.tasks.unwrap_or_default().running == 2).await;
            lab.delete("night", &way).await;
            lab.world.collect();
            let leaving = lab.until("night", |status| says(&status.conditions, "Ready") == "False/Deleting").await;
            assert_eq!(says(&leaving.conditions, "Reconciling"), "True/Deleting");
            lab.gone("night").await;
            free(&mut lab).await;
        });
    }
}

#[test]
fn a_session_whose_worker_is_launched_gives_it_back() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.declare(session("night", &json!([{"id": "101"}]), &runs(&["sleep", "36000"]))).await;
        lab.phase("night", "Starting").await;
        lab.delete("night", &DeleteParams::foreground()).await;
        lab.gone("night").await;
        free(&mut lab).await;
    });
}

#[test]
fn a_session_that_has_ended_goes_with_its_tasks() {
    for way in ways() {
        in_virtual_time(async {
            let mut lab = Lab::new().await;
            lab.declare(session("night", &json!([{"id": "998"}, {"id": "999"}]), &json!({}))).await;
            lab.phase("night", "Failed").await;
            lab.delete("night", &way).await;
            lab.world.collect();
            lab.gone("night").await;
        });
    }
}

#[test]
fn a_task_that_is_deleted_is_cancelled_and_never_made_again() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let vms = json!([{"id": "101"}, {"id": "102"}, {"id": "103"}]);
        lab.declare(session("night", &vms, &runs(&["sleep", "600"]))).await;
        let two = |status: &stevedore::api::WorkerSessionStatus| {
            let counts = status.tasks.unwrap_or_default();
            (counts.running, counts.pending) == (2, 1)
        };
        lab.until("night", two).await;
        // One that runs, one that waits.
        for name in ["night-0", "night-2"] {
            lab.delete_task(name).await;
        }
        let status = lab.until("night", |status| status.tasks.unwrap_or_default().cancelled == 2).await;
        assert_eq!((status.tasks.unwrap().running, status.done.as_deref()), (1, Some("2/3")));
        lab.operator.run(LONG, async |world| of(world, "night").len() == 1).await;
        let status = lab.phase("night", "Succeeded").await;
        assert_eq!((status.tasks.unwrap().succeeded, status.tasks.unwrap().cancelled), (1, 2));
        // One that has ended.
        lab.delete_task("night-1").await;
        lab.operator.run(LONG, async |world| of(world, "night").is_empty()).await;
        assert_eq!(lab.phase("night", "Succeeded").await, status);
        free(&mut lab).await;
    });
}

#[test]
fn a_task_that_failed_and_was_deleted_has_failed() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.declare(session("night", &json!([{"id": "999"}, {"id": "101"}]), &runs(&["sleep", "300"]))).await;
        lab.phase("night", "Running").await;
        lab.delete_task("night-0").await;
        let status = lab.phase("night", "Failed").await;
        assert_eq!((status.tasks.unwrap().failed, status.failed), (1, vec!["night-0".to_owned()]));
        assert!(lab.world.task("night-0").await.is_none());
    });
}

#[test]
fn tasks_whose_session_is_gone_are_cancelled_and_left() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let vms = json!([{"id": "101"}, {"id": "102"}, {"id": "103"}, {"id": "999"}]);
        lab.declare(session("night", &vms, &runs(&["sleep", "36000"]))).await;
        lab.until("night", |status| status.tasks.unwrap_or_default().running == 2).await;
        // The owner goes without its finalizer's leave, and leaves its tasks behind.
        lab.delete("night", &DeleteParams::orphan()).await;
        lab.world.collect();
        lab.strip("night").await;
        assert!(lab.world.session("night").await.is_none());
        let over = async |world: &crate::crash::world::World| {
            of(world, "night")
                .iter()
                .all(|task| task.status.as_ref().is_some_and(|status| status.finished_at.is_some()))
        };
        assert!(lab.operator.run(LONG, over).await, "{:#?}", lab.statuses("night"));
        let expected = [vec![end("Cancelled", "SessionDeleted"); 3], vec![end("Failed", "NotFound")]].concat();
        assert_eq!(lab.ends("night"), expected);
        free(&mut lab).await;
        for index in 0..4 {
            lab.delete_task(&format!("night-{index}")).await;
        }
        lab.gone("night").await;
    });
}

#[test]
fn tasks_whose_worker_was_taken_away_under_them_fail() {
    for patch in [runs(&["sleep", "36000"]), json!({})] {
        in_virtual_time(async {
            let mut lab = Lab::with_worker().await;
            lab.declare(session("night", &json!([{"id": "101"}]), &patch)).await;
            lab.until("night", |status| status.tasks.unwrap_or_default().running == 1).await;
            // It goes without its finalizer's leave.
            lab.world.workers().delete("w1", &DeleteParams::default()).await.unwrap();
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            lab.world.workers().patch("w1", &PatchParams::default(), &none).await.unwrap();
            assert!(lab.world.worker("w1").await.is_none());
            // Its VM was left behind, and may still be at it.
            lab.phase("night", "Failed").await;
            assert_eq!(lab.ends("night"), [end("Failed", "WorkerLost")]);
        });
    }
}

//! VMs that cannot be processed: their tasks end at once, and say why.

use kube::api::DeleteParams;
use serde_json::json;

use super::lab::{Lab, end, of, runs, says, session};
use crate::crash::world::in_virtual_time;

#[test]
fn each_vm_that_cannot_be_processed_says_why_and_the_others_are() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let id = *lab.world.ours().keys().next().unwrap();
        let vms = json!([
            {"id": "999"}, {"name": "nobody"}, {"name": "debian-worker"}, {"id": id.to_string()}, {"name": "files"},
            {"id": "101"},
        ]);
        lab.declare(session("night", &vms, &runs(&["/bin/true"]))).await;
        let status = lab.phase("night", "Failed").await;
        let expected = [
            end("Failed", "NotFound"),
            end("Failed", "NotFound"),
            end("Failed", "AmbiguousName"),
            end("Failed", "IsWorker"),
            end("Succeeded", "Succeeded"),
            end("Failed", "Duplicate"),
        ];
        assert_eq!(lab.ends("night"), expected);
        let counts = status.tasks.unwrap();
        assert_eq!((counts.total, counts.failed, counts.succeeded), (6, 5, 1));
        assert_eq!(status.failed.len(), 5);
        assert_eq!(says(&status.conditions, "Ready"), "False/TasksFailed");
        assert_eq!(says(&status.conditions, "Stalled"), "True/TasksFailed");
        assert_eq!(says(&status.conditions, "Finished"), "True/TasksFailed");
        for task in of(&lab.world, "night").iter().filter(|task| task.spec.index != 4) {
            let status = task.status.clone().unwrap();
            assert_eq!(says(&status.conditions, "Stalled"), format!("True/{}", status.reason.unwrap()));
            assert!(status.attempt.is_none() && status.finished_at.is_some() && !status.message.unwrap().is_empty());
        }
    });
}

#[test]
fn a_vm_with_our_mark_is_a_worker_although_no_worker_names_it() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.world.edit("w1", json!({"metadata": {"annotations": {"stevedore.dev/abandon": "true"}}})).await;
        lab.world.workers().delete("w1", &DeleteParams::default()).await.unwrap();
        lab.operator.run(super::lab::LONG, async |world| world.worker("w1").await.is_none()).await;
        let id = *lab.world.ours().keys().next().unwrap();
        lab.declare(session("night", &json!([{"id": id.to_string()}]), &json!({}))).await;
        lab.phase("night", "Failed").await;
        assert_eq!(lab.ends("night"), [end("Failed", "IsWorker")]);
    });
}

#[test]
fn a_new_vm_needs_a_host_that_there_is() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let restore = json!({"spec": {"type": "Restore"}});
        lab.declare(session("back", &json!([{"host": "pve9"}]), &restore)).await;
        lab.phase("back", "Failed").await;
        assert_eq!(lab.ends("back"), [end("Failed", "HostMissing")]);
    });
}

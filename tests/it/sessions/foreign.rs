//! Tasks that the operator did not make: nothing is ever done about them.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};
use stevedore::api::WorkerTask;

use super::lab::{LONG, Lab, says, session, task};
use crate::crash::world::in_virtual_time;

/// Each way in which a task may be no session's: what it is called, which index it has, and what is merged into it.
fn strangers(uid: &str) -> Vec<(&'static str, usize, Value)> {
    let owner = json!([{"apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession", "name": "night", "uid": uid}]);
    vec![
        ("without-owner", 0, json!({})),
        ("night-7", 7, json!({"metadata": {"ownerReferences": owner}})),
        ("copy", 0, json!({"metadata": {"ownerReferences": owner, "finalizers": ["stevedore.dev/task"]}})),
        ("other-uid", 0, json!({"spec": {"sessionRef": {"uid": "5f1e1a9e-0000-4000-8000-000000000000"}}})),
        ("other-session", 0, json!({"spec": {"sessionRef": {"name": "nobody"}}})),
    ]
}

fn is_disowned(task: &WorkerTask) -> bool {
    let status = task.status.clone().unwrap_or_default();
    says(&status.conditions, "Stalled") == "True/NotOurs" && status.reason.as_deref() == Some("NotOurs")
}

#[test]
fn a_task_that_somebody_else_made_is_left_alone() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let patch = json!({"spec": {"startDeadline": "10m"}});
        lab.declare(session("night", &json!([{"id": "102"}]), &patch)).await;
        let owner = lab.world.session("night").await.unwrap();
        let strangers = strangers(&owner.uid().unwrap());
        for (name, index, patch) in &strangers {
            lab.world.create(task(name, &owner, *index, patch)).await;
        }
        for (name, ..) in &strangers {
            let told = lab.task(name, is_disowned).await.status.unwrap();
            assert_eq!(says(&told.conditions, "Ready"), "False/NotOurs");
            assert!(told.message.unwrap().contains("create a WorkerSession"));
        }
        let status = lab.phase("night", "Failed").await;
        assert_eq!(status.tasks.unwrap().total, 1);
        for (name, ..) in &strangers {
            let left = lab.world.task(name).await.unwrap();
            assert!(left.status.as_ref().unwrap().attempt.is_none() && is_disowned(&left), "{left:?}");
        }
        for (name, ..) in &strangers {
            lab.delete_task(name).await;
        }
        let gone = lab.operator.run(LONG, async |world| world.all_tasks().len() == 1).await;
        assert!(gone, "{:?}", lab.world.all_tasks());
    });
}

#[test]
fn a_session_takes_no_task_of_a_person_along() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare(session("night", &json!([{"id": "101"}]), &json!({}))).await;
        let owner = lab.world.session("night").await.unwrap();
        lab.world.create(task("mine", &owner, 0, &json!({}))).await;
        lab.until("night", |status| status.tasks_created == Some(true)).await;
        lab.delete("night", &kube::api::DeleteParams::default()).await;
        let gone = lab.operator.run(LONG, async |world| world.session("night").await.is_none()).await;
        assert!(gone, "{:#?}", lab.world.session("night").await);
        lab.operator.pass(Duration::from_secs(120)).await;
        let mine = lab.world.task("mine").await.unwrap();
        assert!(is_disowned(&mine) && mine.metadata.deletion_timestamp.is_none());
        assert_eq!(lab.world.all_tasks().len(), 1);
    });
}

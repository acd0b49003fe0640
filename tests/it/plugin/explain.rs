//! What a person is told of a session.

use serde_json::{Value, json};

use super::{explained, forbid, person};
use crate::crash::world::{in_virtual_time, worker};
use crate::sessions::lab::{LONG, Lab, runs, session};
use crate::support::golden;

async fn declared(lab: &Lab, name: &str, patch: &Value) {
    let manual = json!({"spec": {"test": {"policy": "Manual"}, "maxConcurrentTasks": 1}});
    let mut own = manual;
    json_patch::merge(&mut own, patch);
    lab.world.create(worker(name, &own)).await;
}

fn vms(ids: std::ops::RangeInclusive<u32>) -> Value {
    ids.map(|id| json!({"id": id.to_string()})).collect()
}

/// Waits until every task of a session has a word of the operator.
async fn told(lab: &mut Lab, session: &str, tasks: usize) {
    let all = async |world: &crate::crash::world::World| {
        let said = |task: &stevedore::api::WorkerTask| task.status.as_ref().is_some_and(|one| one.reason.is_some());
        crate::sessions::lab::of(world, session).iter().filter(|task| said(task)).count() == tasks
    };
    assert!(lab.operator.run(LONG, all).await, "{:#?}", lab.statuses(session));
}

#[test]
fn a_session_is_explained_as_the_golden_file_has_it() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"spec": {"unschedulableHosts": ["pve3"]}})).await;
        declared(&lab, "w1", &json!({"metadata": {"labels": {"pool": "a"}}})).await;
        declared(&lab, "w2", &json!({"metadata": {"labels": {"pool": "a"}}, "spec": {"enabled": false}})).await;
        declared(&lab, "w3", &json!({"metadata": {"labels": {"pool": "a"}}, "spec": {"proxmox": {"host": "pve3"}}}))
            .await;
        declared(&lab, "w4", &json!({"metadata": {"labels": {"pool": "b"}}})).await;
        let of_pool = |pool: &str| json!({"spec": {"workerSelector": {"matchLabels": {"pool": pool}}}});
        let mut nightly = session("nightly", &vms(101..=103), &of_pool("a"));
        json_patch::merge(&mut nightly, &runs(&["sleep", "600"]));
        lab.declare(nightly).await;
        lab.task("nightly-0", stevedore::domain::ending::has_begun).await;
        told(&mut lab, "nightly", 3).await;
        let mut weekly = session("weekly", &vms(101..=102), &of_pool("b"));
        json_patch::merge(&mut weekly, &runs(&["sleep", "600"]));
        lab.declare(weekly).await;
        told(&mut lab, "weekly", 2).await;
        let text = format!("{}\n{}", explained(&lab.world, "nightly").await, explained(&lab.world, "weekly").await);
        let difference = golden::difference("plugin-explain.txt", &text);
        assert!(difference.is_empty(), "{difference}");
    });
}

#[test]
fn limits_of_storages_are_seen_with_the_right_to_the_secret_alone() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"spec": {"limits": {"tasksPerStorage": 1}}})).await;
        declared(&lab, "w1", &json!({"spec": {"maxConcurrentTasks": 4}})).await;
        lab.declare(session("nightly", &vms(102..=103), &runs(&["sleep", "600"]))).await;
        lab.task("nightly-0", stevedore::domain::ending::has_begun).await;
        told(&mut lab, "nightly", 2).await;
        let text = explained(&lab.world, "nightly").await;
        assert!(text.contains("task nightly-1: waiting (StorageLimit): 1 task works on storage "), "{text}");
        assert!(text.contains("worker w1: has a free slot (1/4 taken), launched") && !text.contains("Note"), "{text}");
        forbid(&lab.world, "pve-token");
        let text = explained(&lab.world, "nightly").await;
        assert!(
            text.contains("Note: you may not get Secret pve-token") && text.contains("is left out of account"),
            "{text}"
        );
        assert!(text.contains("task nightly-1: next: worker w1 has a free slot for it"), "{text}");
        assert!(text.contains("\n    its status says (StorageLimit): 1 task works on storage "), "{text}");
    });
}

#[test]
fn ends_are_told_in_a_line_for_each() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        declared(&lab, "w1", &json!({"spec": {"maxConcurrentTasks": 4}})).await;
        let vms = json!([{"id": "101"}, {"id": "102"}, {"id": "9999"}]);
        lab.declare(session("nightly", &vms, &runs(&["true"]))).await;
        lab.phase("nightly", "Failed").await;
        let text = explained(&lab.world, "nightly").await;
        assert!(text.starts_with(
            "WorkerSession nightly in namespace backup: backup, Failed, 3/3 tasks have ended\nTasksFailed: "
        ));
        assert!(text.contains("\ntask nightly-2: failed (NotFound): "), "{text}");
        assert!(text.contains("\ntasks 0, 1 of nightly (2): succeeded\n"), "{text}");
    });
}

#[test]
fn a_session_that_waits_for_its_hypervisor_says_so() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let patch = json!({"spec": {"hypervisorRef": {"name": "elsewhere"}}});
        lab.declare(session("nightly", &vms(101..=101), &patch)).await;
        lab.until("nightly", |status| status.phase.is_some()).await;
        let text = explained(&lab.world, "nightly").await;
        assert!(text.contains("There is no Hypervisor elsewhere in this namespace"), "{text}");
        assert!(text.contains("HypervisorMissing: "), "{text}");
    });
}

#[test]
fn a_session_that_is_not_there_is_named_with_its_namespace() {
    in_virtual_time(async {
        let lab = Lab::new().await;
        let args = stevedore::plugin::explain::Args { session: "nobody".into(), all: false };
        let error = stevedore::plugin::explain::explain(&person(&lab.world), &args).await.unwrap_err().to_string();
        let text =
            "there is no WorkerSession nobody in the namespace backup: `kubectl -n backup get workersessions` lists";
        assert!(error.starts_with(text), "{error}");
    });
}

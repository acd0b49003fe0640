//! Tasks that wait: for what, who is told, and that they go on when it has passed, though nothing rings for it.

use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::fault::{Effect, Failure, Rule};
use stevedore::simulator::kubernetes::{Fault, Verb};
use tokio::time::Instant;

use super::lab::{Lab, session};
use crate::crash::world::{World, in_virtual_time, worker};

/// More than the time between two decisions while something waits, and a poll.
const SOON: Duration = Duration::from_secs(75);

fn labels(pool: &str) -> Value {
    json!({"metadata": {"labels": {"pool": pool}}})
}

fn selects(pool: &str) -> Value {
    json!({"spec": {"workerSelector": {"matchLabels": {"pool": pool}}}})
}

impl Lab {
    /// Waits until a task waits for this reason; what it is told.
    async fn waits(&mut self, task: &str, reason: &str) -> String {
        let is_so = |status: &stevedore::api::WorkerTaskStatus| {
            status.reason.as_deref() == Some(reason) && status.phase.as_deref() == Some("Pending")
        };
        let task = self.task(task, |task| task.status.as_ref().is_some_and(is_so)).await;
        task.status.unwrap().message.unwrap()
    }

    /// Whether a task gets a worker within this time.
    async fn goes(&mut self, task: &str, within: Duration) -> bool {
        let has_worker = async |world: &World| {
            let status = world.task(task).await.and_then(|task| task.status).unwrap_or_default();
            matches!(status.phase.as_deref(), Some("Starting" | "Running"))
        };
        self.operator.run(within, has_worker).await
    }

    /// The tasks that have a slot of a worker.
    async fn claims(&self, worker: &str) -> Vec<String> {
        let status = self.world.worker(worker).await.and_then(|worker| worker.status).unwrap_or_default();
        status.assignments.into_iter().map(|claim| claim.task).collect()
    }
}

/// A read of the configuration of VM 101 goes like this from now on.
fn disks_of_101(lab: &Lab, then: Effect) {
    lab.world.pve.faults().add(Rule::every("GET", "/nodes/*/qemu/101/config", then));
}

fn refused(status: u16, reason: &str) -> Effect {
    Effect::Fail(Failure { status, reason: reason.into() })
}

#[test]
fn disks_that_could_not_be_read_are_read_again() {
    let denied = "Permission check failed (/vms/101, VM.Audit)";
    for then in [Effect::DropBefore, refused(500, "got no answer"), refused(403, denied)] {
        in_virtual_time(async {
            let mut lab = Lab::with_worker().await;
            disks_of_101(&lab, then.clone());
            lab.declare(session("night", &json!([{"id": "101"}, {"id": "102"}]), &json!({}))).await;
            let told = lab.waits("night-0", "DisksUnknown").await;
            assert!(told.contains("VM 101") && told.contains("tasksPerStorage"), "{then:?}: {told}");
            assert!(lab.goes("night-1", SOON).await, "{then:?}: it holds nobody up");
            // For as long as they are not known it goes to no worker: its storages' limit would count for nothing.
            assert!(!lab.goes("night-0", Duration::from_secs(600)).await, "{then:?}");
            lab.world.pve.faults().clear();
            assert!(lab.goes("night-0", SOON).await, "{then:?}: {:#?}", lab.world.task("night-0").await);
            let storages = lab.world.task("night-0").await.unwrap().status.unwrap().storages;
            assert_eq!(storages, ["pve1/local-lvm"], "{then:?}");
        });
    }
}

#[test]
fn a_vm_that_went_has_no_disks_to_wait_for() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        disks_of_101(&lab, refused(403, "Permission check failed (/vms/101, VM.Audit)"));
        lab.declare(session("night", &json!([{"id": "101"}]), &json!({}))).await;
        lab.waits("night-0", "DisksUnknown").await;
        lab.world.pve.world(|world| world.remove_machine(101));
        assert!(lab.goes("night-0", SOON * 2).await, "{:#?}", lab.world.task("night-0").await);
    });
}

#[test]
fn disks_that_take_long_hold_no_other_session_up() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        disks_of_101(&lab, Effect::Delay(300.0));
        lab.declare(session("slow", &json!([{"id": "101"}]), &json!({}))).await;
        lab.operator.pass(Duration::from_secs(1)).await;
        lab.declare(session("quick", &json!([{"id": "102"}]), &json!({}))).await;
        let begun = Instant::now();
        assert!(lab.goes("quick-0", SOON).await, "{:#?}", lab.statuses("quick"));
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    });
}

#[test]
fn what_is_refused_for_one_task_holds_no_other_up() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.world.kube.intercept(|call| {
            let is_it = call.verb == Verb::JsonPatch && call.target.name.as_deref() == Some("a-0");
            if is_it { Fault::Answer(http::StatusCode::FORBIDDEN) } else { Fault::None }
        });
        lab.declare(session("a", &json!([{"id": "101"}]), &json!({}))).await;
        lab.operator.pass(Duration::from_secs(1)).await;
        lab.declare(session("b", &json!([{"id": "102"}]), &json!({}))).await;
        assert!(lab.goes("b-0", SOON).await, "{:#?}", lab.statuses("b"));
        lab.world.kube.stop_intercepting();
        assert!(lab.goes("a-0", SOON).await, "{:#?}", lab.statuses("a"));
    });
}

#[test]
fn a_worker_that_gets_its_label_gets_the_task() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.declare(session("night", &json!([{"id": "101"}]), &selects("a"))).await;
        lab.waits("night-0", "NoWorker").await;
        lab.operator.pass(Duration::from_secs(10)).await;
        lab.world.edit("w1", labels("a")).await;
        assert!(lab.goes("night-0", Duration::from_secs(5)).await, "{:#?}", lab.world.task("night-0").await);
    });
}

#[test]
fn a_worker_that_takes_more_tasks_gets_the_next_one() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let explicit = json!({"spec": {"maxConcurrentTasks": 1, "resources": {"cpus": 2, "memory": "2Gi"}}});
        lab.world.create(worker("w1", &explicit)).await;
        lab.declare(session("night", &json!([{"id": "101"}, {"id": "102"}]), &json!({}))).await;
        assert!(lab.goes("night-0", SOON * 10).await);
        lab.waits("night-1", "Busy").await;
        lab.operator.pass(Duration::from_secs(120)).await;
        lab.world.edit("w1", json!({"spec": {"maxConcurrentTasks": 2}})).await;
        assert!(lab.goes("night-1", Duration::from_secs(5)).await, "{:#?}", lab.world.task("night-1").await);
        assert_eq!(lab.claims("w1").await.len(), 2);
    });
}

#[test]
fn a_vm_that_comes_to_the_workers_host_is_seen() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let strictly = json!({"spec": {"placement": "RequireSameHost"}});
        lab.declare(session("night", &json!([{"id": "103"}]), &strictly)).await;
        lab.waits("night-0", "NoWorkerOnHost").await;
        lab.world.pve.world(|world| world.move_machine(103, "pve1"));
        assert!(lab.goes("night-0", SOON).await, "{:#?}", lab.world.task("night-0").await);
    });
}

#[test]
fn a_claim_that_was_just_written_counts_once() {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        lab.world.edit("w1", json!({"spec": {"enabled": false}})).await;
        lab.operator.pass(Duration::from_secs(5)).await;
        lab.declare(session("a", &json!([{"id": "101"}]), &json!({}))).await;
        lab.declare(session("b", &json!([{"id": "102"}]), &selects("b"))).await;
        lab.waits("a-0", "Disabled").await;
        lab.waits("b-0", "NoWorker").await;
        // What is written of tasks is known here by the writing alone.
        lab.operator.hold_tasks();
        lab.world.edit("w1", json!({"spec": {"enabled": true}})).await;
        assert!(lab.goes("a-0", SOON).await);
        lab.operator.pass(Duration::from_secs(1)).await;
        assert_eq!(lab.claims("w1").await, ["a-0"]);
        lab.world.edit("w1", labels("b")).await;
        assert!(lab.goes("b-0", SOON).await, "{:#?}", lab.world.task("b-0").await);
        assert_eq!(lab.claims("w1").await, ["a-0", "b-0"]);
    });
}

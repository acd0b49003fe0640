//! Sessions, driven as in the real process: by watches, bells and upkeep, and with events for people.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use stevedore::api::{Hypervisor, WorkerSession, WorkerTask};
use stevedore::simulator::kubernetes::Fault;
use stevedore::simulator::scenario::Scenario;

use super::Stage;
use crate::crash::mishaps::is_ours;
use crate::crash::world::{NAMESPACE, World, in_virtual_time, merged, seed};

fn session(vms: &Value, patch: &Value) -> Value {
    let plain = json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession",
        "metadata": {"name": "night", "namespace": NAMESPACE},
        "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": vms},
    });
    merged(plain, patch)
}

fn field(stage: &Stage, resource: &str, name: &str, pointer: &str) -> String {
    let object = stage.stored(resource, name).unwrap_or_default();
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn phase(stage: &Stage, phase: &str) {
    let is_so = |stage: &Stage| field(stage, "workersessions", "night", "/status/phase") == phase;
    stage.until(&format!("the session is {phase}"), is_so).await;
}

#[test]
fn a_session_goes_its_way_and_says_so() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        let run = json!({"spec": {"run": {"command": ["sleep", "60"]}}});
        stage.world.create(session(&json!([{"id": "101"}, {"id": "999"}]), &run)).await;
        phase(&stage, "Running").await;
        phase(&stage, "Failed").await;
        let [status, reason, told] = stage.condition("workersessions", "night", "Finished");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "TasksFailed"));
        assert_eq!(told, "of 2 tasks 1 succeeded, 1 failed, 0 were cancelled (failed: night-1)");
        stage.until("it is told", |stage| !stage.events("SessionFailed").is_empty()).await;
        let (started, failed) = (stage.events("SessionStarted"), stage.events("SessionFailed"));
        assert_eq!((started.len(), failed.len()), (1, 1));
        assert_eq!((&failed[0]["note"], &failed[0]["type"]), (&json!(told), &json!("Warning")));
        assert_eq!((&failed[0]["regarding"]["kind"], &started[0]["type"]), (&json!("WorkerSession"), &json!("Normal")));
        stage.until("the worker is off", |stage| stage.world.running() == 0).await;
        stage.tested("w1").await;
        let stage = stage.restarted().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(stage.writes_in(Duration::from_secs(600)).await, [""; 0], "what has ended costs nothing");
        stage.delete::<WorkerSession>("night").await;
        stage.gone("workersessions", "night").await;
        assert!(stage.world.kube.objects("stevedore.dev", "workertasks").is_empty());
    });
}

#[test]
fn a_session_that_waits_costs_nothing() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.world.create(session(&json!([{"id": "101"}, {"id": "102"}]), &json!({}))).await;
        let waits = |stage: &Stage| stage.says("workersessions", "night", "Ready") == "False/WaitingForWorkers";
        stage.until("it waits", waits).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(stage.writes_in(Duration::from_secs(600)).await, [""; 0]);
        let stage = stage.restarted().await;
        assert_eq!(stage.writes_in(Duration::from_secs(600)).await, [""; 0]);
    });
}

#[test]
fn a_worker_is_launched_though_its_watch_is_behind_the_claim() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        let kube = stage.world.kube.clone();
        stage.world.kube.intercept(move |call| {
            if is_ours(call)
                && call.target.resource == "workers"
                && call.body.to_string().contains("/status/assignments")
            {
                kube.hold_watches(true);
            }
            Fault::None
        });
        stage.world.create(session(&json!([{"id": "101"}]), &json!({}))).await;
        let is_claimed = |stage: &Stage| {
            let worker = stage.stored("workers", "w1").unwrap_or_default();
            worker.pointer("/status/assignments/0").is_some()
        };
        stage.until("the worker is claimed", is_claimed).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.world.kube.stop_intercepting();
        stage.world.kube.hold_watches(false);
        phase(&stage, "Running").await;
    });
}

#[test]
fn tasks_are_told_that_their_session_is_gone() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.world.create(session(&json!([{"id": "101"}]), &json!({}))).await;
        stage.until("its task is made", |stage| stage.stored("workertasks", "night-0").is_some()).await;
        // It is gone before anybody sees that it is to go.
        stage.world.kube.hold_watches(true);
        stage.world.sessions().delete("night", &DeleteParams::orphan()).await.unwrap();
        stage.world.collect();
        stage.edit::<WorkerSession>("night", json!({"metadata": {"finalizers": null}})).await;
        stage.world.kube.hold_watches(false);
        let told = |stage: &Stage| field(stage, "workertasks", "night-0", "/status/reason") == "SessionDeleted";
        stage.until("it is cancelled", told).await;
        stage.delete::<WorkerTask>("night-0").await;
        stage.gone("workertasks", "night-0").await;
    });
}

#[test]
fn the_first_decision_of_a_term_knows_what_was_written_before() {
    in_virtual_time(async {
        let stage = Stage::standby(World::with(seed(), Scenario::default_demo(), json!({})).await);
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        stage.world.create(session(&json!([{"id": "101"}]), &json!({}))).await;
        stage.until("its task is made", |stage| stage.stored("workertasks", "night-0").is_some()).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        stage.world.kube.hold_watches(true);
        stage.edit::<WorkerSession>("night", json!({"spec": {"state": "Cancelled"}})).await;
        stage.lead.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let attempt = |stage: &Stage| stage.stored("workertasks", "night-0").unwrap()["status"]["attempt"].clone();
        assert!(attempt(&stage).is_null(), "nothing is begun for a session that was cancelled before");
        stage.world.kube.hold_watches(false);
        phase(&stage, "Cancelled").await;
        assert!(attempt(&stage).is_null());
        let other = json!({"metadata": {"name": "day"}});
        stage.world.create(session(&json!([{"id": "101"}]), &other)).await;
        let runs = |stage: &Stage| field(stage, "workertasks", "day-0", "/status/phase") == "Running";
        stage.until("another one goes on", runs).await;
    });
}

#[test]
fn what_waits_for_a_hypervisor_can_be_abandoned() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        let run = json!({"spec": {"run": {"command": ["sleep", "3600"]}}});
        stage.world.create(session(&json!([{"id": "101"}]), &run)).await;
        phase(&stage, "Running").await;
        stage.edit::<Hypervisor>("lab", json!({"spec": {"paused": true}})).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        stage.delete::<WorkerSession>("night").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let [status, reason, told] = stage.condition("workersessions", "night", "Ready");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Deleting"));
        for part in ["night-0 with worker w1", "Hypervisor lab is paused", "stevedore.dev/abandon"] {
            assert!(told.contains(part), "{told}");
        }
        let abandoned = json!({"metadata": {"annotations": {"stevedore.dev/abandon": "true"}}});
        stage.edit::<WorkerSession>("night", abandoned.clone()).await;
        stage.gone("workersessions", "night").await;
        let note = |stage: &Stage, kind: &str| {
            let events = stage.events("Abandoned").into_iter();
            let mut of_kind = events.filter(|event| event["regarding"]["kind"] == kind);
            of_kind.next().map(|event| event["note"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
        };
        stage.until("it is told", |stage| note(stage, "WorkerSession").contains("night-0 with worker w1")).await;
        assert!(stage.stored("workertasks", "night-0").is_some(), "its task waits on");
        stage.edit::<WorkerTask>("night-0", abandoned).await;
        stage.gone("workertasks", "night-0").await;
        stage.until("it is told", |stage| note(stage, "WorkerTask").contains("on worker w1")).await;
        let worker = stage.stored("workers", "w1").unwrap();
        assert_eq!(
            worker["status"]["assignments"][0]["task"], "night-0",
            "its slot is kept while it may run: {worker:#}"
        );
    });
}

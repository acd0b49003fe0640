//! An object that this version cannot read holds nobody else up, and is not taken for gone.

use std::time::Duration;

use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use stevedore::api::{Hypervisor, Worker, WorkerSession, WorkerTask, crdgen};

use super::Stage;
use crate::crash::world::{NAMESPACE, World, in_virtual_time};

const MINUTES: Duration = Duration::from_secs(600);

/// CRDs of a later version: a worker can be tested each night, and there is another provider.
fn install_later_crds(world: &World) {
    for crd in crdgen::all() {
        let mut crd = serde_json::to_value(crd).unwrap();
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        for (place, value) in [("test/properties/policy", "Nightly"), ("provider", "Xen")] {
            if let Some(known) = crd.pointer_mut(&format!("{spec}/{place}/enum")) {
                known.as_array_mut().unwrap().push(value.into());
            }
        }
        world.kube.install(&crd);
    }
}

fn policy(policy: &str) -> Value {
    json!({"spec": {"test": {"policy": policy}}})
}

fn abandoned() -> Value {
    json!({"metadata": {"annotations": {"stevedore.dev/abandon": "true"}}})
}

/// A world with the tested workers w1 and w2, of which w2 cannot be read.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    install_later_crds(&stage.world);
    for name in ["w1", "w2"] {
        stage.declare(name, &json!({})).await;
        stage.tested(name).await;
    }
    stage.edit::<Worker>("w2", policy("Nightly")).await;
    stage.until("it is said", |stage| stage.says("workers", "w2", "Stalled") == "True/Unreadable").await;
    stage
}

fn is_same_apart_from_conditions(before: &Value, after: &Value) -> bool {
    let rest = |status: &Value| {
        let mut status = status.clone();
        status.as_object_mut().unwrap().remove("conditions");
        status
    };
    rest(before) == rest(after)
}

#[test]
fn a_worker_that_cannot_be_read_is_left_alone_and_stops_no_other() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        install_later_crds(&stage.world);
        stage.declare("w2", &json!({})).await;
        stage.tested("w2").await;
        let before = stage.stored("workers", "w2").unwrap()["status"].take();
        stage.edit::<Worker>("w2", policy("Nightly")).await;
        stage.until("it is said", |stage| stage.says("workers", "w2", "Stalled") == "True/Unreadable").await;
        let [status, reason, message] = stage.condition("workers", "w2", "Ready");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Unreadable"));
        assert!(message.contains("Nightly") && message.contains("Edit it"), "{message}");
        let after = stage.stored("workers", "w2").unwrap()["status"].take();
        assert!(is_same_apart_from_conditions(&before, &after), "{before:#}\n{after:#}");
        stage.until("there is an event", |stage| !stage.events("Unreadable").is_empty()).await;
        assert_eq!(stage.events("Unreadable")[0]["regarding"]["name"], "w2");
        // Others come and are worked on, with ids of their own.
        stage.declare("w3", &json!({})).await;
        stage.tested("w3").await;
        assert_eq!(stage.world.ours().len(), 2);
        tokio::time::sleep(MINUTES).await;
        let hypervisor = stage.hypervisor();
        assert_eq!(hypervisor["status"]["orphanCount"], 0, "{hypervisor:#}");
        assert_eq!(hypervisor["status"]["workers"], 2);
        let [status, _, message] = stage.condition("hypervisors", "lab", "Ready");
        assert!(status == "True" && message.ends_with("which cannot be read: w2"), "{message}");
        assert_eq!(stage.writes_in(MINUTES).await, Vec::<String>::new());
        // One that begins now has never read it.
        let stage = stage.restarted().await;
        let writes = stage.writes_in(MINUTES).await;
        assert!(writes.iter().all(|write| write.contains("events")), "{writes:#?}");
        assert_eq!(stage.hypervisor()["status"]["orphanCount"], 0);
        stage.declare("w4", &json!({})).await;
        stage.tested("w4").await;
    });
}

#[test]
fn a_worker_that_can_be_read_again_goes_on() {
    in_virtual_time(async {
        let stage = stage().await;
        stage.edit::<Worker>("w2", policy("OnChange")).await;
        stage.until("it is well", |stage| stage.says("workers", "w2", "Ready") == "True/TestPassed").await;
        assert_eq!(stage.says("workers", "w2", "Stalled"), "/");
        stage
            .edit::<Worker>("w2", json!({"metadata": {"annotations": {"stevedore.dev/test-requested-at": "1"}}}))
            .await;
        stage
            .until("it is tested once more", |stage| {
                stage.stored("workers", "w2").unwrap()["status"]["lastHandledTestRequest"] == "1"
            })
            .await;
        stage.tested("w2").await;
        stage.delete::<Worker>("w2").await;
        stage.gone("workers", "w2").await;
        assert_eq!(stage.world.ours().len(), 1);
    });
}

#[test]
fn a_hypervisor_stays_while_a_worker_that_cannot_be_read_may_need_it() {
    in_virtual_time(async {
        let stage = stage().await.restarted().await;
        stage.delete::<Hypervisor>("lab").await;
        stage.delete::<Worker>("w1").await;
        stage.delete::<Worker>("w2").await;
        stage.gone("workers", "w1").await;
        tokio::time::sleep(MINUTES).await;
        let [status, reason, message] = stage.condition("hypervisors", "lab", "Ready");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "WorkersRemain"));
        assert!(message.contains("w2 (cannot be read)"), "{message}");
        assert_eq!(stage.world.ours().len(), 1, "its VM is not touched");
        // The way out: on its owner's word it is let go, and the VM left behind is named.
        stage.edit::<Worker>("w2", abandoned()).await;
        stage.gone("workers", "w2").await;
        stage.gone("hypervisors", "lab").await;
        assert_eq!(stage.world.ours().len(), 1);
        stage.until("there is an event", |stage| !stage.events("Abandoned").is_empty()).await;
        let note = stage.events("Abandoned")[0]["note"].as_str().unwrap().to_owned();
        assert!(note.contains("VM 5001"), "{note}");
        assert!(stage.context.metrics.text().contains("stevedore_abandoned_total 1\n"));
        let secret = stage.world.kube.object("", "secrets", NAMESPACE, "pve-token").unwrap();
        assert!(secret["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{secret:#}");
    });
}

#[test]
fn a_hypervisor_that_cannot_be_read_is_there_all_the_same() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        install_later_crds(&stage.world);
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        stage.edit::<Hypervisor>("lab", json!({"spec": {"provider": "Xen"}})).await;
        stage.until("it is said", |stage| stage.says("hypervisors", "lab", "Ready") == "False/Unreadable").await;
        stage.until("w1 is told", |stage| stage.says("workers", "w1", "Ready") == "Unknown/HypervisorNotReady").await;
        let [_, _, message] = stage.condition("workers", "w1", "Ready");
        assert!(message.contains("cannot be read") && message.contains("Xen"), "{message}");
        assert!(!stage.hypervisor()["status"]["identity"].is_null(), "what it says else stays");
        let effects = stage.world.effects().len();
        stage.delete::<Worker>("w1").await;
        tokio::time::sleep(MINUTES).await;
        assert_eq!(stage.world.effects().len(), effects);
        assert_eq!(stage.writes_in(MINUTES).await, Vec::<String>::new());
        stage.edit::<Hypervisor>("lab", json!({"spec": {"provider": "Proxmox"}})).await;
        stage.gone("workers", "w1").await;
        assert_eq!(stage.says("hypervisors", "lab", "Ready"), "True/Connected");
        assert!(stage.world.ours().is_empty());
    });
}

#[test]
fn a_hypervisor_that_cannot_be_read_can_be_abandoned() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        install_later_crds(&stage.world);
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        stage.edit::<Hypervisor>("lab", json!({"spec": {"provider": "Xen"}})).await;
        stage.delete::<Hypervisor>("lab").await;
        tokio::time::sleep(MINUTES).await;
        stage.edit::<Hypervisor>("lab", abandoned()).await;
        stage.gone("hypervisors", "lab").await;
        stage.until("w1 is told", |stage| stage.says("workers", "w1", "Ready") == "Unknown/HypervisorMissing").await;
        let secret = stage.world.kube.object("", "secrets", NAMESPACE, "pve-token").unwrap();
        assert!(secret["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{secret:#}");
    });
}

#[test]
fn sessions_and_tasks_that_cannot_be_read_say_so_and_can_be_abandoned() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        for crd in crdgen::all() {
            let mut crd = serde_json::to_value(crd).unwrap();
            let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
            for (place, value) in [("type", "Verify"), ("mode", "Stream")] {
                if let Some(known) = crd.pointer_mut(&format!("{spec}/{place}/enum")) {
                    known.as_array_mut().unwrap().push(value.into());
                }
            }
            stage.world.kube.install(&crd);
        }
        let declare = async |kind: &str, name: &str, finalizer: &str, spec: Value| {
            let metadata = json!({"name": name, "namespace": NAMESPACE, "finalizers": [finalizer]});
            let object =
                json!({"apiVersion": "stevedore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            let api =
                if kind == "WorkerTask" { stage.objects::<WorkerTask>() } else { stage.objects::<WorkerSession>() };
            api.create(&PostParams::default(), &object).await.unwrap();
        };
        let vms = json!([{"id": "101"}]);
        let night = json!({"type": "Verify", "hypervisorRef": {"name": "lab"}, "virtualMachines": vms});
        declare("WorkerSession", "night", "stevedore.dev/session", night).await;
        let first = json!({"sessionRef": {"name": "night", "uid": "u"}, "index": 0, "mode": "Stream", "virtualMachine": vms[0]});
        declare("WorkerTask", "night-0", "stevedore.dev/task", first).await;
        for (resource, name, value) in [("workersessions", "night", "Verify"), ("workertasks", "night-0", "Stream")] {
            stage.until("it is said", |stage| stage.says(resource, name, "Stalled") == "True/Unreadable").await;
            let [_, _, message] = stage.condition(resource, name, "Ready");
            assert!(message.contains(value), "{message}");
        }
        assert_eq!(stage.events("Unreadable").len(), 2);
        stage.delete::<WorkerSession>("night").await;
        stage.delete::<WorkerTask>("night-0").await;
        tokio::time::sleep(MINUTES).await;
        assert!(stage.stored("workersessions", "night").is_some(), "nobody has said so");
        stage.edit::<WorkerSession>("night", abandoned()).await;
        stage.edit::<WorkerTask>("night-0", abandoned()).await;
        stage.gone("workersessions", "night").await;
        stage.gone("workertasks", "night-0").await;
        stage.until("it is told", |stage| stage.events("Abandoned").len() == 2).await;
    });
}

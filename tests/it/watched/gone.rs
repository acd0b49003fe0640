//! What is remembered of objects goes with them.

use std::time::Duration;

use serde_json::json;
use stevedore::api::{Hypervisor, Worker};

use super::Stage;
use crate::crash::world::{NAMESPACE, hypervisor, in_virtual_time};

/// Upkeep comes by within this time.
const UPKEEP: Duration = Duration::from_secs(61);

#[test]
fn a_hypervisor_that_went_without_being_asked_is_missing() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.declare("w1", &json!({})).await;
        stage.tested("w1").await;
        // Nothing of ours holds it: a person took the finalizer away.
        stage.delete::<Hypervisor>("lab").await;
        stage.edit::<Hypervisor>("lab", json!({"metadata": {"finalizers": null}})).await;
        let told = |stage: &Stage| stage.says("workers", "w1", "Reconciling") == "True/HypervisorMissing";
        stage.until("the worker is told", told).await;
        let key = (NAMESPACE.to_owned(), "lab".to_owned());
        assert!(stage.context.connections.get(&key).is_none());
        assert_eq!(stage.says("workers", "w1", "Ready"), "Unknown/HypervisorMissing");
        stage.world.create(hypervisor()).await;
        stage.until("it is back", |stage| stage.says("workers", "w1", "Ready") == "True/TestPassed").await;
        stage.delete::<Worker>("w1").await;
        stage.gone("workers", "w1").await;
        assert!(stage.world.ours().is_empty());
    });
}

#[test]
fn a_hypervisor_that_nobody_needs_is_forgotten_when_it_goes() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.until("it is known", |stage| stage.says("hypervisors", "lab", "Ready") == "True/Connected").await;
        assert_eq!(stage.context.connections.all().len(), 1);
        stage.delete::<Hypervisor>("lab").await;
        tokio::time::sleep(UPKEEP).await;
        assert_eq!(stage.context.connections.all().len(), 0);
    });
}

#[test]
fn workers_that_went_are_forgotten() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        let manual = json!({"spec": {"test": {"policy": "Manual"}}});
        for name in ["w1", "w2"] {
            stage.declare(name, &manual).await;
        }
        stage.declare("w3", &json!({})).await;
        stage.tested("w3").await;
        // Of those that never began anything nothing is remembered while they are at rest.
        assert_eq!(stage.context.tracks.count(), 1);
        let posted = |stage: &Stage, uid: &str| {
            let connection = stage.context.connections.get(&(NAMESPACE.to_owned(), "lab".to_owned())).unwrap();
            connection.posted(uid).is_some()
        };
        let uids = ["w1", "w2"].map(|name| stage.stored("workers", name).unwrap()["metadata"]["uid"].clone());
        let uids = uids.map(|uid| uid.as_str().unwrap().to_owned());
        assert!(uids.iter().all(|uid| posted(&stage, uid)));
        // Those without a VM go at once, without asking.
        for name in ["w1", "w2", "w3"] {
            stage.delete::<Worker>(name).await;
            stage.gone("workers", name).await;
        }
        tokio::time::sleep(UPKEEP).await;
        assert_eq!(stage.context.tracks.count(), 0);
        assert!(!uids.iter().any(|uid| posted(&stage, uid)), "what they have told the scheduler is forgotten, too");
    });
}

#[test]
fn a_vm_that_died_before_it_got_its_mark_is_named_when_its_worker_goes() {
    in_virtual_time(async {
        let stage = Stage::new().await;
        stage.declare("w1", &json!({})).await;
        stage.until("it is being made", |stage| stage.world.busy() > 0).await;
        stage.world.pve.world(|world| {
            world.kill_tasks("qmclone");
            world.edit_machine(5000, "description", None);
        });
        stage.delete::<Worker>("w1").await;
        let locked = |stage: &Stage| stage.says("workers", "w1", "Ready") == "False/OrphanLock";
        stage.until("the lock is told of", locked).await;
        stage.world.pve.world(|world| world.edit_machine(5000, "lock", None));
        stage.gone("workers", "w1").await;
        stage.until("there is an event", |stage| !stage.events("LeftBehind").is_empty()).await;
        let event = stage.events("LeftBehind").remove(0);
        let note = event["note"].as_str().unwrap();
        assert!(event["type"] == "Warning" && note.contains("lab: VM 5000 on pve1"), "{event:#}");
        assert_eq!(stage.world.ours().len(), 1, "it is nobody's to delete");
    });
}

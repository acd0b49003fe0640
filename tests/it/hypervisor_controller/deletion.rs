//! What stays while it is needed, and the budget of deletions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use stevedore::api::names::{HYPERVISOR_FINALIZER, in_use_finalizer};
use stevedore::api::{Hypervisor, Worker};
use stevedore::controller::budget;
use stevedore::controller::connection::Key;
use stevedore::domain::observation::Budget;
use stevedore::domain::operation::{Kind, Operation, Step, Target, VERSION};
use stevedore::hypervisor::vm::Power;
use stevedore::simulator::kubernetes::Fault;

use super::rig::{NAMESPACE, Rig};

fn key(name: &str) -> Key {
    (NAMESPACE.to_owned(), name.to_owned())
}

fn is_held(rig: &Rig) -> bool {
    rig.hypervisor("pve").metadata.finalizers.unwrap_or_default() == [HYPERVISOR_FINALIZER]
}

fn is_gone(rig: &Rig) -> bool {
    rig.api.object("stevedore.dev", "hypervisors", NAMESPACE, "pve").is_none()
}

#[tokio::test(start_paused = true)]
async fn it_stays_while_a_worker_needs_it() {
    let mut rig = Rig::new().await;
    rig.reconcile().await;
    assert!(!is_held(&rig) && rig.finalizers("secrets", "pve").unwrap().is_empty());
    rig.add_worker("w1").await;
    rig.reconcile().await;
    assert!(is_held(&rig));
    let mark = in_use_finalizer(&rig.hypervisor("pve").metadata.uid.unwrap());
    assert_eq!(rig.finalizers("secrets", "pve").unwrap(), [mark]);
    rig.delete::<Hypervisor>("pve").await;
    rig.delete::<Secret>("pve").await;
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.condition("Ready"), "False/WorkersRemain");
    assert!(rig.message("Ready").ends_with("w1"), "{}", rig.message("Ready"));
    assert_eq!(rig.finalizers("secrets", "pve").unwrap().len(), 1, "the Secret goes last");
    rig.delete::<Worker>("w1").await;
    rig.reconcile().await;
    assert!(is_gone(&rig) && rig.finalizers("secrets", "pve").is_none());
    assert!(rig.context.connections.get(&key("pve")).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_does_not_come_and_go() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    rig.run_for(Duration::from_secs(60)).await;
    rig.delete::<Worker>("w1").await;
    rig.run_for(Duration::from_secs(60)).await;
    assert!(is_held(&rig), "the next Worker may come");
    rig.delete::<Hypervisor>("pve").await;
    rig.reconcile().await;
    assert!(is_gone(&rig));
    assert!(rig.finalizers("secrets", "pve").unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_the_cache_lacks_holds_it_too() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    rig.reconcile().await;
    rig.delete::<Worker>("w1").await;
    rig.delete::<Hypervisor>("pve").await;
    rig.sync();
    rig.add_worker("w2").await;
    rig.reconcile_cached("pve").await;
    assert!(is_held(&rig));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_abandoned() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    let vm = Patch::Merge(json!({"status": {"vm": {"id": "5000", "host": "pve1"}}}));
    rig.of::<Worker>().patch_status("w1", &PatchParams::default(), &vm).await.unwrap();
    rig.reconcile().await;
    rig.delete::<Hypervisor>("pve").await;
    rig.reconcile().await;
    assert!(is_held(&rig));
    rig.edit::<Hypervisor>("pve", json!({"metadata": {"annotations": {"stevedore.dev/abandon": "true"}}})).await;
    rig.reconcile().await;
    assert!(is_gone(&rig) && rig.finalizers("secrets", "pve").unwrap().is_empty());
    // Events are sent from another task.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = rig.api.objects("events.k8s.io", "events");
    let told = |event: &Value| {
        let note = event["note"].as_str().unwrap_or_default();
        event["reason"] == "Abandoned" && event["type"] == "Warning" && note.contains("w1 (VM 5000 on pve1)")
    };
    assert!(events.iter().any(told), "{events:?}");
    let metrics = rig.context.metrics.text();
    assert!(metrics.contains("stevedore_abandoned_total 1\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_deleted_alone_is_let_go() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    rig.reconcile().await;
    rig.delete::<Secret>("pve").await;
    assert_eq!(rig.finalizers("secrets", "pve").unwrap().len(), 1);
    tokio::time::sleep(Duration::from_secs(30)).await;
    rig.reconcile().await;
    assert!(rig.finalizers("secrets", "pve").is_none());
    assert_eq!(rig.condition("Ready"), "False/CredentialsMissing");
    let polls = rig.world.answers().polls;
    rig.run_for(Duration::from_secs(60)).await;
    assert!(rig.world.answers().polls > polls, "it works on from memory");
    assert_eq!(rig.condition("Ready"), "False/CredentialsMissing");
    assert_eq!(rig.condition("Authorized"), "True/Authorized");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_used_is_let_go() {
    let mut rig = Rig::empty();
    rig.add_secret("old", "s3cret").await;
    rig.add_secret("new", "s3cret").await;
    rig.add_map("ca", "ca.crt", "-----BEGIN CERTIFICATE-----").await;
    let tls = json!({"caRef": {"kind": "ConfigMap", "name": "ca"}});
    rig.add_hypervisor("pve", json!({"credentialsSecretRef": {"name": "old"}, "tls": tls})).await;
    rig.add_worker("w1").await;
    rig.reconcile().await;
    let held = |rig: &Rig| {
        [("secrets", "old"), ("secrets", "new"), ("configmaps", "ca")]
            .map(|(resource, name)| rig.finalizers(resource, name).unwrap().len())
    };
    assert_eq!(held(&rig), [1, 0, 1]);
    let spec = json!({"spec": {"credentialsSecretRef": {"name": "new"}, "tls": {"caRef": null}}});
    rig.edit::<Hypervisor>("pve", spec).await;
    // A process that begins now knows only what is written down.
    rig.context.connections.remove(&key("pve"));
    rig.reconcile().await;
    assert_eq!(held(&rig), [0, 1, 0]);
    assert_eq!(rig.condition("Ready"), "True/Connected");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_all_inside_ends() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.edit::<Worker>("w1", json!({"metadata": {"finalizers": ["stevedore.dev/worker"]}})).await;
    rig.run_for(Duration::from_secs(60)).await;
    let namespaces: Api<Namespace> = Api::all(rig.client.clone());
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await.unwrap();
    rig.api.run_controllers();
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.condition("Ready"), "False/WorkersRemain", "statuses can still be written");
    assert!(rig.finalizers("secrets", "pve").is_some(), "the credential is still needed");
    rig.edit::<Worker>("w1", json!({"metadata": {"finalizers": null}})).await;
    rig.run_for(Duration::from_secs(60)).await;
    rig.api.run_controllers();
    assert!(rig.api.object("", "namespaces", "", NAMESPACE).is_none());
}

fn deletion(number: u32) -> Operation {
    let target = Target { host: "pve1".into(), vm_id: (5000 + number).to_string(), uuid: "u".into() };
    Operation {
        version: VERSION,
        id: format!("op-{number}"),
        kind: Kind::Delete,
        step: Step::Destroy,
        spec_hash: "h".into(),
        target,
        sends: 0,
        task: None,
        checked: false,
        request: None,
        since: Timestamp::UNIX_EPOCH,
        step_since: Timestamp::UNIX_EPOCH,
    }
}

async fn ask_at(rig: &Rig, name: &str, number: u32) -> Budget {
    budget::ask(&rig.context, &key(name), &deletion(number)).await.unwrap()
}

async fn ask(rig: &Rig, number: u32) -> Budget {
    ask_at(rig, "pve", number).await
}

/// With a Hypervisor that allows so many deletions an hour.
async fn with_budget(deletions: u32) -> Rig {
    let rig = Rig::empty();
    rig.add_secret("pve", "s3cret").await;
    rig.add_hypervisor("pve", json!({"limits": {"deletionsPerHour": deletions}})).await;
    rig
}

#[tokio::test(start_paused = true)]
async fn the_budget_holds_deletions_until_it_is_raised() {
    let mut rig = with_budget(2).await;
    rig.sync();
    assert_eq!(ask(&rig, 1).await, Budget::Granted, "even before there is a status");
    rig.reconcile().await;
    assert_eq!(ask(&rig, 2).await, Budget::Granted);
    assert_eq!(ask(&rig, 2).await, Budget::Granted, "once per operation");
    assert_eq!(rig.status().deletions.len(), 2);
    let Budget::Held(text) = ask(&rig, 3).await else { panic!("over the budget") };
    assert!(text.contains("deletionsPerHour") && text.contains("2026-11-01T01:00:00Z"), "{text}");
    rig.reconcile().await;
    assert_eq!(rig.condition("DeletionsHeld"), "True/DeletionBudget");
    assert_eq!(rig.condition("Ready"), "True/Connected");
    assert_eq!(rig.status().deletions.len(), 2, "the status is written around the list");
    assert_eq!(rig.state().resting.iter().copied().collect::<Vec<_>>(), [5001, 5002]);
    rig.edit::<Hypervisor>("pve", json!({"spec": {"limits": {"deletionsPerHour": 3}}})).await;
    assert_eq!(ask(&rig, 3).await, Budget::Granted);
    rig.reconcile().await;
    assert_eq!(rig.condition("DeletionsHeld"), "False/WithinBudget");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    rig.run_for(Duration::from_secs(1)).await;
    assert!(rig.status().deletions.is_empty());
    assert!(rig.state().resting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_an_hour_whatever_the_wall_clock_says() {
    let mut rig = with_budget(2).await;
    rig.reconcile().await;
    for number in [1, 2] {
        assert_eq!(ask(&rig, number).await, Budget::Granted);
    }
    for by in [2, -26] {
        rig.clock.set_by(SignedDuration::from_hours(by));
        rig.run_for(Duration::from_secs(60)).await;
        let Budget::Held(text) = ask(&rig, 3).await else { panic!("the clock was set, no hour has passed") };
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(ask(&rig, 3).await, Budget::Held(text), "it reads the same each time");
        assert_eq!(rig.status().deletions.len(), 2, "they are not forgotten");
        assert_eq!(rig.state().resting.iter().copied().collect::<Vec<_>>(), [5001, 5002]);
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(ask(&rig, 3).await, Budget::Granted);
    rig.run_for(Duration::from_secs(1)).await;
    assert_eq!(rig.status().deletions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_wall_clock_says_how_old_an_entry_is() {
    let mut rig = with_budget(1).await;
    rig.reconcile().await;
    assert_eq!(ask(&rig, 1).await, Budget::Granted);
    tokio::time::sleep(Duration::from_secs(3000)).await;
    // A process that begins now knows only what is written down.
    rig.context.connections.remove(&key("pve"));
    rig.reconcile().await;
    rig.clock.set_by(SignedDuration::from_hours(5));
    assert!(matches!(ask(&rig, 2).await, Budget::Held(_)), "it has been seen since");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(ask(&rig, 2).await, Budget::Granted);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_somebody_emptied_frees_no_budget() {
    let mut rig = with_budget(1).await;
    rig.reconcile().await;
    assert_eq!(ask(&rig, 1).await, Budget::Granted);
    let patch = Patch::Merge(json!({"status": {"deletions": null}}));
    rig.of::<Hypervisor>().patch_status("pve", &PatchParams::default(), &patch).await.unwrap();
    rig.reconcile().await;
    assert!(rig.status().deletions.is_empty());
    assert!(matches!(ask(&rig, 2).await, Budget::Held(_)));
    assert!(rig.state().resting.contains(&5001));
}

#[tokio::test(start_paused = true)]
async fn of_many_that_ask_at_once_no_more_are_granted_than_allowed() {
    let mut rig = with_budget(4).await;
    rig.reconcile().await;
    let asks = (1..=20).map(|number| ask(&rig, number));
    let answers = futures::future::join_all(asks).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Budget::Granted).count(), 4);
    assert_eq!(rig.status().deletions.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_vanished_rests_and_does_not_count() {
    let mut rig = with_budget(1).await;
    rig.reconcile().await;
    for _ in 0..2 {
        budget::vanished(&rig.context, &key("pve"), "5009").await.unwrap();
    }
    assert_eq!(rig.status().deletions.len(), 1);
    assert_eq!(ask(&rig, 1).await, Budget::Granted);
    assert!(matches!(ask(&rig, 2).await, Budget::Held(_)));
    rig.reconcile().await;
    assert!(rig.state().resting.contains(&5009));
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_answer_was_lost_is_not_made_twice() {
    let mut rig = Rig::new().await;
    rig.reconcile().await;
    rig.api.intercept(|call| if call.verb.is_write() { Fault::LoseAnswer } else { Fault::None });
    assert!(budget::ask(&rig.context, &key("pve"), &deletion(1)).await.is_err());
    rig.api.stop_intercepting();
    assert_eq!(ask(&rig, 1).await, Budget::Granted);
    assert_eq!(rig.status().deletions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hypervisors_of_one_cluster_have_one_budget() {
    let mut rig = with_budget(2).await;
    rig.add_hypervisor("twin", json!({})).await;
    rig.reconcile().await;
    rig.reconcile_cached("twin").await;
    rig.sync();
    assert_eq!(ask_at(&rig, "twin", 1).await, Budget::Granted);
    assert_eq!(ask(&rig, 2).await, Budget::Granted);
    assert!(matches!(ask(&rig, 3).await, Budget::Held(_)));
    assert!(matches!(ask_at(&rig, "twin", 4).await, Budget::Held(_)));
}

//! What the operator is not given: a Secret, a token, privileges, a Hypervisor; and what is paused.

use serde_json::json;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Scenario};

use super::lab::{Lab, hypervisor_says, worker_says};
use crate::crash::world::{World, base64, hypervisor, in_virtual_time, secret, seed};

#[test]
fn a_wrong_token() {
    in_virtual_time(async {
        let mut lab = Lab::in_world(World::bare(seed(), Scenario::default_demo()));
        lab.world.create(secret(DEMO_TOKEN, "not-the-secret")).await;
        lab.world.create(hypervisor()).await;
        lab.declare("w1", json!({})).await;
        let before = lab.sight();
        let words = ["401", "Secret pve-token", "expired"];
        let message =
            lab.refuses(&before, hypervisor_says(("Authorized", "False", "CredentialsRejected"), &words)).await;
        assert!(!message.contains("not-the-secret"));
        lab.says(hypervisor_says(("Ready", "False", "CredentialsRejected"), &words)).await;
        lab.says(worker_says("w1", ("Ready", "Unknown", "HypervisorNotReady"), &["lab"])).await;
        lab.world.edit_secret(json!({"data": {"tokenSecret": base64(DEMO_SECRET)}})).await;
        lab.tested("w1").await;
    });
}

#[test]
fn a_token_without_a_privilege() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        scenario.roles.get_mut("Stevedore").unwrap().retain(|name| name != "VM.Allocate");
        let mut lab = Lab::of(scenario, json!({})).await;
        lab.declare("w1", json!({})).await;
        let before = lab.sight();
        let words = ["VM.Allocate", "/vms", "give it a role"];
        lab.refuses(&before, hypervisor_says(("Authorized", "False", "PrivilegesMissing"), &words)).await;
        lab.says(hypervisor_says(("Ready", "False", "PrivilegesMissing"), &words)).await;
        lab.says(worker_says("w1", ("Ready", "Unknown", "Forbidden"), &["Hypervisor lab", "VM.Allocate", "/vms"]))
            .await;
    });
}

#[test]
fn a_secret_that_is_missing() {
    in_virtual_time(async {
        let mut lab = Lab::in_world(World::bare(seed(), Scenario::default_demo()));
        lab.world.create(hypervisor()).await;
        lab.declare("w1", json!({})).await;
        let before = lab.sight();
        let words = ["pve-token", "tokenId and tokenSecret"];
        lab.refuses(&before, hypervisor_says(("Ready", "False", "CredentialsMissing"), &words)).await;
        lab.says(worker_says("w1", ("Ready", "Unknown", "CredentialsMissing"), &["Hypervisor lab", "pve-token"])).await;
        lab.world.create(secret(DEMO_TOKEN, DEMO_SECRET)).await;
        lab.tested("w1").await;
    });
}

#[test]
fn a_secret_without_a_key() {
    in_virtual_time(async {
        let mut lab = Lab::in_world(World::bare(seed(), Scenario::default_demo()));
        let mut half = secret(DEMO_TOKEN, DEMO_SECRET);
        half["data"].as_object_mut().unwrap().remove("tokenSecret");
        lab.world.create(half).await;
        lab.world.create(hypervisor()).await;
        lab.declare("w1", json!({})).await;
        let before = lab.sight();
        let words = ["pve-token", "tokenSecret"];
        lab.refuses(&before, hypervisor_says(("Ready", "False", "CredentialsMissing"), &words)).await;
    });
}

#[test]
fn a_hypervisor_that_is_missing() {
    in_virtual_time(async {
        let mut lab = Lab::in_world(World::bare(seed(), Scenario::default_demo()));
        lab.declare("w1", json!({})).await;
        let before = lab.sight();
        let words = ["Hypervisor lab", "namespace backup", "create it"];
        lab.refuses(&before, worker_says("w1", ("Reconciling", "True", "HypervisorMissing"), &words)).await;
        lab.says(worker_says("w1", ("Ready", "Unknown", "HypervisorMissing"), &words)).await;
        lab.world.create(secret(DEMO_TOKEN, DEMO_SECRET)).await;
        lab.world.create(hypervisor()).await;
        lab.restart();
        lab.tested("w1").await;
    });
}

#[test]
fn a_hypervisor_that_is_out_of_reach() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        for node in ["pve1", "pve2", "pve3"] {
            lab.world.pve.world(|world| world.isolate(node));
        }
        let before = lab.sight();
        lab.ask("1").await;
        lab.refuses(&before, hypervisor_says(("Reachable", "False", "Unreachable"), &["pve1"])).await;
        lab.says(worker_says("w1", ("Ready", "Unknown", "HypervisorUnreachable"), &["Hypervisor lab", "pve1"])).await;
        for node in ["pve1", "pve2", "pve3"] {
            lab.world.pve.world(|world| world.bring_back(node));
        }
        lab.until("w1", |worker| worker.status.clone().unwrap().last_handled_test_request.is_some()).await;
    });
}

#[test]
fn a_paused_worker() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let before = lab.sight();
        lab.declare("w1", json!({"spec": {"paused": true}})).await;
        let words = ["spec.paused"];
        lab.refuses(&before, worker_says("w1", ("Ready", "Unknown", "Paused"), &words)).await;
        lab.says(worker_says("w1", ("Reconciling", "True", "Paused"), &words)).await;
        lab.world.edit("w1", json!({"spec": {"paused": false}})).await;
        lab.tested("w1").await;
        lab.world.edit("w1", json!({"spec": {"paused": true}})).await;
        let before = lab.sight();
        lab.delete("w1").await;
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "Paused"), &words)).await;
        lab.world.edit("w1", json!({"spec": {"paused": false}})).await;
        lab.gone("w1").await;
    });
}

#[test]
fn a_paused_hypervisor() {
    in_virtual_time(async {
        let mut lab = Lab::of(Scenario::default_demo(), json!({"spec": {"paused": true}})).await;
        let before = lab.sight();
        lab.declare("w1", json!({})).await;
        lab.refuses(&before, worker_says("w1", ("Ready", "Unknown", "HypervisorPaused"), &["paused"])).await;
        lab.world.edit_hypervisor(json!({"spec": {"paused": false}})).await;
        lab.tested("w1").await;
        lab.world.edit_hypervisor(json!({"spec": {"paused": true}})).await;
        let before = lab.sight();
        lab.delete("w1").await;
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "HypervisorPaused"), &["paused"])).await;
    });
}

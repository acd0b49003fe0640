//! Edits of a worker whose VM is there.

use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::fault::{Effect, Failure, Rule};
use stevedore::simulator::scenario::Scenario;

use super::lab::{Lab, worker_says};
use crate::crash::world::in_virtual_time;

/// Edits a worker that was tested, sees that it stalls and nothing is changed, and takes the edit back. With tests on
/// every change, and without any.
fn cannot_become(edit: &Value, back: &Value, reason: &'static str, words: &[&str]) {
    for policy in ["OnChange", "Manual"] {
        in_virtual_time(async {
            let mut lab = Lab::of(Scenario::default_demo(), json!({})).await;
            lab.deploy("w1", json!({})).await;
            lab.world.edit("w1", json!({"spec": {"test": {"policy": policy}}})).await;
            lab.operator.pass(Duration::from_secs(100)).await;
            let before = lab.sight();
            lab.world.edit("w1", edit.clone()).await;
            lab.refuses(&before, worker_says("w1", ("Stalled", "True", reason), words)).await;
            lab.world.edit("w1", back.clone()).await;
            let stalled = worker_says("w1", ("Stalled", "True", reason), &[]);
            let is_over = lab.is_over(stalled).await;
            assert!(is_over, "it is as it was");
        });
    }
}

#[test]
fn a_bridge_that_is_not_there() {
    let networks = |bridge: &str| json!({"spec": {"networks": [{"name": "lan", "bridge": bridge}]}});
    cannot_become(&networks("vmbr9"), &networks("vmbr0"), "BridgeMissing", &["pve1", "\"vmbr9\""]);
}

#[test]
fn more_cpus_than_the_host_has() {
    let cpus = |cpus: Value| json!({"spec": {"resources": {"cpus": cpus}}});
    cannot_become(&cpus(17.into()), &cpus(Value::Null), "HostTooSmall", &["17 CPUs", "pve1", "has 16"]);
}

#[test]
fn a_name_that_a_vm_of_somebody_else_has() {
    let name = |name: Value| json!({"spec": {"vmName": name}});
    cannot_become(&name("mail".into()), &name(Value::Null), "VmNameInUse", &["VM 102", "pve2", "mail"]);
}

#[test]
fn an_edit_that_was_refused_for_long_is_applied_when_it_can_be() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        lab.world.edit("w1", json!({"spec": {"test": {"policy": "Manual"}}})).await;
        lab.operator.pass(Duration::from_secs(100)).await;
        let refusal = Failure { status: 403, reason: "Permission check failed (/vms/5000, VM.Config.Memory)".into() };
        lab.world.pve.faults().add(Rule::every("PUT", "/nodes/*/qemu/5000/config", Effect::Fail(refusal.clone())));
        lab.world.pve.faults().add(Rule::every("POST", "/nodes/*/qemu/5000/config", Effect::Fail(refusal)));
        let memory = |size: &str| json!({"spec": {"resources": {"memory": size}}});
        lab.world.edit("w1", memory("5Gi")).await;
        lab.operator.pass(Duration::from_secs(1800)).await;
        lab.says(worker_says("w1", ("Ready", "False", "OperationFailed"), &["VM.Config.Memory"])).await;
        assert_ne!(lab.world.option_of_ours("memory").as_deref(), Some("5120"));
        lab.world.pve.faults().clear();
        lab.operator.pass(Duration::from_secs(180)).await;
        assert_eq!(lab.world.option_of_ours("memory").as_deref(), Some("5120"));
    });
}

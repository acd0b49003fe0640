//! Whose a VM is, and what is said when that is not clear.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use stevedore::api::Worker;
use stevedore::domain::identity::Mark;
use stevedore::simulator::scenario::{MachineSpec, Scenario};

use super::lab::{Lab, worker_says};
use crate::crash::world::{in_virtual_time, is_tested};

fn fixed(address: &str) -> Value {
    json!({"spec": {"networks": [{"name": "lan", "bridge": "vmbr0",
        "ipv4": {"method": "Static", "address": address, "gateway": "10.77.0.1"}}]}})
}

#[test]
fn one_address_in_two_workers() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.deploy("w1", fixed("10.77.0.60/24")).await;
        let before = lab.sight();
        lab.declare("w2", fixed("10.77.0.60/24")).await;
        let words = ["10.77.0.60", "Worker w1", "give one of them another"];
        lab.refuses(&before, worker_says("w2", ("Stalled", "True", "AddressInUse"), &words)).await;
        assert!(is_tested(&lab.world.worker("w1").await.unwrap()), "the earlier one is well");
        lab.world.edit("w2", fixed("10.77.0.61/24")).await;
        lab.tested("w2").await;
    });
}

#[test]
fn one_vm_name_in_two_workers() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.deploy("w1", json!({"spec": {"vmName": "mover"}})).await;
        let before = lab.sight();
        lab.declare("w2", json!({"spec": {"vmName": "mover"}})).await;
        let words = ["mover", "earlier Worker", "spec.vmName"];
        lab.refuses(&before, worker_says("w2", ("Stalled", "True", "VmNameInUse"), &words)).await;
        lab.world.edit("w2", json!({"spec": {"vmName": "mover2"}})).await;
        lab.tested("w2").await;
    });
}

#[test]
fn a_vm_of_somebody_else_has_the_name() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let before = lab.sight();
        lab.declare("w1", json!({"spec": {"vmName": "mail"}})).await;
        let words = ["VM 102", "pve2", "mail", "spec.vmName", "rename that VM"];
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", "VmNameInUse"), &words)).await;
        lab.world.edit("w1", json!({"spec": {"vmName": "mover"}})).await;
        lab.tested("w1").await;
    });
}

/// Takes a worker away without asking its finalizer, as a restore of an older etcd does.
async fn forget(lab: &Lab, name: &str) {
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    lab.world.workers().patch(name, &PatchParams::default(), &none).await.unwrap();
    lab.delete(name).await;
}

#[test]
fn a_vm_of_an_earlier_worker_of_that_name() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        let uid = lab.world.worker("w1").await.unwrap().metadata.uid.unwrap();
        forget(&lab, "w1").await;
        let before = lab.sight();
        lab.declare("w1", json!({})).await;
        let words = ["VM 5000", uid.as_str(), "not taken over", "take the block out of its notes"];
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", "ClaimedElsewhere"), &words)).await;
        lab.restart();
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "ClaimedElsewhere"), &words)).await;
        let orphans = lab.world.hypervisor("lab").await.unwrap().status.unwrap().orphans;
        assert_eq!(orphans.iter().map(|orphan| orphan.vm_id.as_str()).collect::<Vec<_>>(), ["5000"]);
        lab.delete("w1").await;
        lab.gone("w1").await;
        assert_eq!(lab.sight(), before, "the VM is nobody's to delete");
    });
}

#[test]
fn a_vm_of_another_installation() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        let mark = Mark {
            installation: "another".into(),
            worker_uid: "some-uid".into(),
            worker: "backup/w1".into(),
            operation: "op-x".into(),
            vm_id: "5000".into(),
        };
        let machine = |vmid| scenario.machines.iter().find(|machine: &&MachineSpec| machine.vmid == vmid).unwrap();
        let mut config = machine(103).config.clone();
        config.insert("name".into(), "w1".into());
        config.insert("tags".into(), "stevedore".into());
        config.insert("scsi0".into(), "local-lvm:vm-5000-disk-0,size=32G".into());
        config.insert("description".into(), mark.describe(""));
        config.insert("smbios1".into(), format!("uuid={}", mark.uuid()));
        let foreign = MachineSpec { vmid: 5000, node: "pve1".into(), running: false, config };
        scenario.machines.push(foreign);
        let mut lab = Lab::of(scenario, json!({})).await;
        let before = lab.sight();
        lab.declare("w1", json!({})).await;
        let words =
            ["VM 5000", "another installation of Stevedore", "not taken over", "take the block out of its notes"];
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", "ClaimedElsewhere"), &words)).await;
        assert!(lab.world.hypervisor("lab").await.unwrap().status.unwrap().orphans.is_empty(), "it is none of ours");
    });
}

/// A person edits a mark of w1's VM. Whatever is asked for then, nothing is changed, also by an operator that has just
/// been started; and when what the message says is put back, all goes on.
async fn spoilt(key: &str, value: Option<&str>, words: &[&str]) {
    let mut lab = Lab::deployed().await;
    let original = lab.world.option_of_ours(key).unwrap();
    lab.world.pve.world(|world| world.edit_machine(5000, key, value));
    let before = lab.sight();
    lab.ask("1").await;
    let expected = worker_says("w1", ("Ready", "False", "IdentityMismatch"), words);
    lab.refuses(&before, expected).await;
    lab.restart();
    let message = lab.refuses(&before, expected).await;
    for line in original.lines() {
        assert!(message.contains(line.trim_start_matches("uuid=")), "{line:?} is not in: {message}");
    }
    lab.delete("w1").await;
    lab.refuses(&before, expected).await;
    lab.restart();
    lab.refuses(&before, expected).await;
    lab.world.pve.world(|world| world.edit_machine(5000, key, Some(&original)));
    lab.gone("w1").await;
    assert!(lab.world.ours().is_empty());
}

#[test]
fn a_description_without_the_mark() {
    let words = ["5000", "pve1", "not touched", "description", "put back"];
    in_virtual_time(spoilt("description", None, &words));
    in_virtual_time(spoilt("description", Some("my own notes"), &words));
}

#[test]
fn another_smbios_uuid() {
    let words = ["5000", "pve1", "not touched", "SMBIOS uuid", "set it back"];
    in_virtual_time(spoilt("smbios1", Some("uuid=04137809-b203-4b2d-b094-f8cdbb862117"), &words));
}

#[test]
fn a_missing_tag() {
    in_virtual_time(spoilt("tags", None, &["5000", "pve1", "not touched", "tag stevedore", "put it back"]));
}

/// A person clones VM 5000 to 600, as Proxmox VE does it: with its description and tag, and a uuid of its own.
fn clone_by_hand(lab: &Lab) {
    let mut config = lab.world.pve.world(|world| world.settings(5000));
    config.insert("name".into(), "copy".into());
    config.insert("scsi0".into(), "local-lvm:vm-600-disk-0,size=100G".into());
    config.insert("smbios1".into(), "uuid=04137809-b203-4b2d-b094-f8cdbb862117".into());
    config.retain(|key, _| !matches!(key.as_str(), "vmgenid" | "ide2"));
    let copy = MachineSpec { vmid: 600, node: "pve2".into(), running: true, config };
    lab.world.pve.world(|world| world.add_machine(&copy));
}

/// A clone that a person makes of a worker's VM carries its description and tag; it is nobody's to touch.
#[test]
fn a_clone_that_a_person_made() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        clone_by_hand(&lab);
        let strangers = lab.world.strangers();
        lab.ask("1").await;
        lab.until("w1", |worker| worker.status.clone().unwrap().last_handled_test_request.is_some()).await;
        lab.tested("w1").await;
        lab.operator.pass(std::time::Duration::from_secs(60)).await;
        // Without its own VM, the worker does not take the copy for it.
        lab.world.pve.world(|world| world.remove_machine(5000));
        lab.restart();
        let words = ["600", "pve2", "not touched", "copy", "take the stevedore.dev lines out"];
        lab.says(worker_says("w1", ("Ready", "False", "IdentityMismatch"), &words)).await;
        lab.delete("w1").await;
        lab.gone("w1").await;
        assert_eq!(lab.world.strangers(), strangers);
    });
}

/// Whoever takes the lines out of a copy, as the message says, has a VM that the operator never speaks of again.
#[test]
fn a_clone_whose_marks_were_taken_out_as_told() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        clone_by_hand(&lab);
        lab.operator.pass(std::time::Duration::from_secs(60)).await;
        lab.world.pve.world(|world| world.remove_machine(5000));
        let words = ["600", "pve2", "not touched", "copy", "take the stevedore.dev lines out"];
        lab.says(worker_says("w1", ("Ready", "False", "IdentityMismatch"), &words)).await;
        let id = |worker: &Worker| worker.status.clone()?.vm?.id;
        assert_ne!(id(&lab.world.worker("w1").await.unwrap()).as_deref(), Some("600"), "the copy is not the worker's");
        lab.world.pve.world(|world| world.edit_machine(600, "description", Some("mine")));
        let strangers = lab.world.strangers();
        lab.until("w1", |worker| worker.status.clone().unwrap().phase.as_deref() == Some("Configured")).await;
        lab.says(worker_says("w1", ("Deployed", "False", "NotDeployed"), &[])).await;
        lab.ask("1").await;
        lab.until("w1", |worker| worker.status.clone().unwrap().last_handled_test_request.is_some()).await;
        lab.tested("w1").await;
        assert_eq!(lab.world.strangers(), strangers);
    });
}

//! What stands between a worker's VM and its deletion, or its making.

use std::time::Duration;

use serde_json::json;
use stevedore::simulator::fault::{Effect, Rule};
use stevedore::simulator::scenario::Scenario;

use super::lab::{Lab, hypervisor_says, worker_says};
use crate::crash::world::in_virtual_time;

#[test]
fn a_protected_vm() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        lab.world.pve.world(|world| world.edit_machine(5000, "protection", Some("1")));
        let before = lab.sight();
        lab.delete("w1").await;
        let words = ["5000", "pve1", "protected", "switch its protection off"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "VmProtected"), &words)).await;
        lab.world.pve.world(|world| world.edit_machine(5000, "protection", None));
        lab.gone("w1").await;
        assert!(lab.world.ours().is_empty());
    });
}

#[test]
fn a_vm_that_became_a_template() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        lab.world.pve.world(|world| world.edit_machine(5000, "template", Some("1")));
        let before = lab.sight();
        lab.delete("w1").await;
        let words = ["5000", "pve1", "template", "delete it by hand"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "IsTemplate"), &words)).await;
    });
}

#[test]
fn a_vm_that_a_backup_has_locked() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        lab.world.pve.world(|world| world.edit_machine(5000, "lock", Some("backup")));
        let before = lab.sight();
        lab.ask("1").await;
        let words = ["5000", "pve1", "locked (backup)", "waiting"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "VmLocked"), &words)).await;
        lab.delete("w1").await;
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "VmLocked"), &words)).await;
        lab.world.pve.world(|world| world.edit_machine(5000, "lock", None));
        lab.gone("w1").await;
        assert!(lab.world.ours().is_empty());
    });
}

#[test]
fn no_deletions_at_all_until_the_budget_is_raised() {
    in_virtual_time(async {
        let limits = json!({"spec": {"limits": {"deletionsPerHour": 0}}});
        let mut lab = Lab::of(Scenario::default_demo(), limits).await;
        lab.deploy("w1", json!({})).await;
        let before = lab.sight();
        lab.delete("w1").await;
        let words = ["limits.deletionsPerHour", "backup/lab", "raise it"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "DeletionBudget"), &words)).await;
        lab.says(hypervisor_says(("DeletionsHeld", "True", "DeletionBudget"), &["1 deletion waits"])).await;
        lab.says(hypervisor_says(("Ready", "True", "Connected"), &[])).await;
        lab.world.edit_hypervisor(json!({"spec": {"limits": {"deletionsPerHour": 1}}})).await;
        lab.gone("w1").await;
        lab.says(hypervisor_says(("DeletionsHeld", "False", "WithinBudget"), &[])).await;
        assert!(lab.world.ours().is_empty());
    });
}

#[test]
fn one_deletion_an_hour() {
    in_virtual_time(async {
        let limits = json!({"spec": {"limits": {"deletionsPerHour": 1}}});
        let mut lab = Lab::of(Scenario::default_demo(), limits).await;
        for name in ["w1", "w2", "w3"] {
            lab.deploy(name, json!({})).await;
        }
        lab.delete("w1").await;
        lab.gone("w1").await;
        let (before, since) = (lab.sight(), lab.world.clock.boot());
        lab.delete("w2").await;
        let words = ["1 VMs were deleted within an hour", "allows 1", "backup/lab", "at once if"];
        lab.refuses(&before, worker_says("w2", ("Ready", "False", "DeletionBudget"), &words)).await;
        lab.restart();
        lab.refuses(&before, worker_says("w2", ("Ready", "False", "DeletionBudget"), &words)).await;
        lab.gone("w2").await;
        let waited = lab.world.clock.boot().since(since);
        assert!(waited > Duration::from_secs(3000), "{waited:?}");
        lab.delete("w3").await;
        lab.says(worker_says("w3", ("Ready", "False", "DeletionBudget"), &words)).await;
        lab.world.edit_hypervisor(json!({"spec": {"limits": {"deletionsPerHour": 2}}})).await;
        lab.gone("w3").await;
        assert!(lab.world.ours().is_empty());
    });
}

#[test]
fn no_quorum_to_delete() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        // The latest poll is some seconds old when the quorum is lost.
        lab.operator.pass(Duration::from_secs(100)).await;
        lab.world.pve.world(|world| world.set_quorate(false));
        let before = lab.sight();
        lab.delete("w1").await;
        let words = ["no quorum", "nothing is"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "NoQuorum"), &words)).await;
        lab.says(hypervisor_says(("Ready", "False", "NoQuorum"), &["no quorum"])).await;
        lab.world.pve.world(|world| world.set_quorate(true));
        lab.gone("w1").await;
        assert!(lab.world.ours().is_empty());
    });
}

#[test]
fn no_quorum_to_create() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        // The latest poll is some seconds old when the quorum is lost.
        lab.operator.pass(Duration::from_secs(100)).await;
        lab.world.pve.world(|world| world.set_quorate(false));
        let before = lab.sight();
        lab.declare("w2", json!({})).await;
        let words = ["no quorum", "nothing is"];
        lab.refuses(&before, worker_says("w2", ("Ready", "Unknown", "NoQuorum"), &words)).await;
        lab.world.pve.world(|world| world.set_quorate(true));
        lab.tested("w2").await;
    });
}

/// The daemon that clones dies, and leaves its lock behind.
#[test]
fn an_orphan_lock() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare("w1", json!({})).await;
        let cloning = lab.operator.run(Duration::from_secs(60), async |world| world.busy() > 0).await;
        assert!(cloning);
        lab.world.pve.faults().add(Rule::every("POST", "/nodes/*/qemu/*/clone", Effect::Delay(0.0)));
        lab.world.pve.world(|world| world.kill_tasks("qmclone"));
        let before = lab.sight();
        let words = ["5000", "pve1", "locked (clone)", "no task works on it", "`qm unlock 5000` on pve1"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "OrphanLock"), &words)).await;
        lab.restart();
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "OrphanLock"), &words)).await;
        // Another worker is not held up.
        lab.deploy("w2", json!({})).await;
        // A person follows the advice, and clears away what nobody can use.
        lab.world.pve.world(|world| world.remove_machine(5000));
        lab.tested("w1").await;
        assert_eq!(lab.world.ours().len(), 2);
    });
}

/// Its node dies while the VM is cloned; then the Worker is deleted, and a person unlocks what was left behind.
#[test]
fn an_orphan_lock_in_the_way_of_a_deletion() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare("w1", json!({})).await;
        let cloning = lab.operator.run(Duration::from_secs(60), async |world| world.busy() > 0).await;
        assert!(cloning);
        lab.world.pve.world(|world| {
            world.kill_tasks("qmclone");
            // It had not got any further than the lock.
            world.edit_machine(5000, "description", None);
        });
        lab.delete("w1").await;
        let before = lab.sight();
        let words = ["5000", "pve1", "locked (clone)", "no task works on it", "`qm unlock 5000` on pve1"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "OrphanLock"), &words)).await;
        lab.world.pve.world(|world| world.edit_machine(5000, "lock", None));
        let before = lab.sight();
        lab.gone("w1").await;
        assert_eq!(lab.sight(), before, "without its mark it is nobody's to delete");
        let counted = lab.operator.context.metrics.text();
        assert!(counted.contains("stevedore_abandoned_total 1"), "{counted}");
    });
}

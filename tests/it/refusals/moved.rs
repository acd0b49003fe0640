//! What people do to a worker's VM behind the operator's back.

use std::time::Duration;

use stevedore::api::Worker;

use super::lab::{Lab, worker_says};
use crate::crash::world::{in_virtual_time, is_tested};
use serde_json::json;

fn phase(worker: &Worker) -> Option<&str> {
    worker.status.as_ref()?.phase.as_deref()
}

#[test]
fn a_vm_that_was_deleted_is_not_made_again_before_it_is_needed() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        lab.operator.pass(Duration::from_secs(120)).await;
        let effects = lab.world.effects().len();
        lab.world.pve.world(|world| world.remove_machine(5000));
        let worker = lab.until("w1", |worker| phase(worker) == Some("Configured")).await;
        assert!(worker.status.unwrap().vm.is_none());
        lab.says(worker_says("w1", ("Deployed", "False", "NotDeployed"), &[])).await;
        lab.operator.pass(Duration::from_secs(600)).await;
        assert_eq!((lab.world.effects().len(), lab.world.ours().len()), (effects, 0), "it is not made again");
        let deletions = lab.world.hypervisor("lab").await.unwrap().status.unwrap().deletions;
        assert!(deletions.iter().any(|one| one.vm_id == "5000" && one.vanished), "{deletions:?}");
        // When it is needed it gets another id: the old one rests.
        lab.ask("1").await;
        lab.until("w1", |worker| phase(worker) == Some("ShutDown") && is_tested(worker)).await;
        assert_eq!(lab.world.ours().keys().copied().collect::<Vec<_>>(), [5001]);
    });
}

#[test]
fn a_vm_that_was_moved_is_followed() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        let effects = lab.world.effects().len();
        lab.world.pve.world(|world| world.move_machine(5000, "pve2"));
        let host = |worker: &Worker| worker.status.clone()?.vm?.host;
        lab.until("w1", |worker| host(worker).as_deref() == Some("pve2")).await;
        lab.operator.pass(Duration::from_secs(600)).await;
        assert_eq!(lab.world.effects().len(), effects, "it is left where it is");
        lab.ask("1").await;
        lab.until("w1", |worker| worker.status.clone().unwrap().last_handled_test_request.is_some()).await;
        lab.tested("w1").await;
        lab.delete("w1").await;
        lab.gone("w1").await;
        assert!(lab.world.ours().is_empty());
    });
}

#[test]
fn a_vm_that_was_powered_on_is_shut_down_after_one_grace_period() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.deploy("w1", json!({"spec": {"shutdown": {"gracePeriod": "90s"}}})).await;
        lab.operator.pass(Duration::from_secs(120)).await;
        lab.world.pve.world(|world| world.power_on_machine(5000));
        let since = lab.world.clock.boot();
        lab.until("w1", |worker| phase(worker) == Some("Idle")).await;
        lab.until("w1", |worker| phase(worker) == Some("ShutDown")).await;
        let waited = lab.world.clock.boot().since(since);
        assert!(waited >= Duration::from_secs(90), "the person had {waited:?}");
        assert_eq!(lab.world.running(), 0);
        let last = lab.world.effects().pop().unwrap();
        assert!(last.path.ends_with("/status/shutdown"), "{last:?}");
        lab.says(worker_says("w1", ("Ready", "True", "TestPassed"), &[])).await;
    });
}

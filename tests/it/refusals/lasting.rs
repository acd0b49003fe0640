//! What lasts is said and what passes is not; and what was said stays while nothing is known.

use std::time::Duration;

use serde_json::json;
use stevedore::simulator::fault::{Effect, Failure, Rule};

use super::lab::{Lab, worker_says};
use crate::crash::mishaps::is_ours;
use crate::crash::world::in_virtual_time;

const NODES: [&str; 3] = ["pve1", "pve2", "pve3"];
/// The call by which a VM is looked at.
const LOOK: &str = "/nodes/*/qemu/5000/status/current";

/// The bodies of the operator's writes to the statuses of Workers since they were forgotten.
fn told(lab: &Lab) -> Vec<String> {
    let writes = lab.world.kube.writes().into_iter().filter(|write| write.changed && is_ours(&write.call));
    let of_workers = writes.filter(|write| {
        write.call.target.resource == "workers" && write.call.target.subresource.as_deref() == Some("status")
    });
    of_workers.map(|write| write.call.body.to_string()).collect()
}

/// A lab in which worker w1 was tested, and its VM seen again since.
async fn at_rest() -> Lab {
    let mut lab = Lab::deployed().await;
    lab.operator.pass(Duration::from_secs(60)).await;
    lab
}

fn fails(status: u16, reason: &str) -> Effect {
    Effect::Fail(Failure { status, reason: reason.to_owned() })
}

/// How often the VM was looked at.
fn looks(lab: &Lab) -> usize {
    lab.world.pve.faults().log().iter().filter(|call| call.path.ends_with("/5000/status/current")).count()
}

#[test]
fn a_worker_that_is_stalled_stays_so_while_its_hypervisor_is_away() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare("w1", json!({"spec": {"proxmox": {"storage": "fast"}}})).await;
        let stalled = worker_says("w1", ("Stalled", "True", "StorageMissing"), &[]);
        lab.says(stalled).await;
        lab.operator.pass(Duration::from_secs(120)).await;
        lab.world.kube.forget_writes();
        for node in NODES {
            lab.world.pve.world(|world| world.isolate(node));
        }
        lab.operator.pass(Duration::from_secs(60)).await;
        assert_eq!(told(&lab), Vec::<String>::new(), "two minutes have not passed");
        lab.says(worker_says("w1", ("Ready", "Unknown", "HypervisorUnreachable"), &["pve1"])).await;
        lab.restart();
        lab.operator.pass(Duration::from_secs(600)).await;
        lab.says(stalled).await;
        for node in NODES {
            lab.world.pve.world(|world| world.bring_back(node));
        }
        lab.says(worker_says("w1", ("Ready", "False", "StorageMissing"), &[])).await;
        lab.restart();
        lab.operator.pass(Duration::from_secs(600)).await;
        lab.says(stalled).await;
        let told = told(&lab);
        for status in &told {
            assert!(status.contains("Stalled") && !status.contains("Reconciling"), "{status}");
        }
        assert_eq!(told.len(), 2, "that the hypervisor is away, and that it is back: {told:#?}");
        lab.world.edit("w1", json!({"spec": {"proxmox": {"storage": "local-lvm"}}})).await;
        lab.tested("w1").await;
        let conditions = lab.world.worker("w1").await.unwrap().status.unwrap().conditions;
        assert!(conditions.iter().all(|condition| condition.type_ != "Stalled"), "{conditions:?}");
    });
}

#[test]
fn a_look_that_fails_now_and_then_is_not_worth_a_word() {
    in_virtual_time(async {
        let mut lab = at_rest().await;
        lab.world.kube.forget_writes();
        lab.world
            .pve
            .faults()
            .add(Rule { times: Some(2), ..Rule::nth("GET", LOOK, 1, fails(595, "No route to host")) });
        for (status, reason) in [(500, "got timeout"), (403, "Permission check failed")] {
            lab.world.pve.faults().add(Rule::nth("GET", LOOK, 1, fails(status, reason)));
        }
        lab.ask("1").await;
        lab.until("w1", |worker| worker.status.clone().unwrap().last_handled_test_request.is_some()).await;
        lab.tested("w1").await;
        let told = told(&lab);
        assert!(!told.is_empty());
        for status in told {
            let is_said = ["Forbidden", "OperationFailed"].iter().any(|word| status.contains(word));
            assert!(!is_said, "{status}");
        }
    });
}

#[test]
fn a_look_that_fails_for_long_is_said_once_and_tried_less_and_less() {
    in_virtual_time(async {
        let mut lab = at_rest().await;
        // Each answer differs a little, as those of a real network do.
        for nth in 1..2000 {
            lab.world.pve.faults().add(Rule::nth("GET", LOOK, 1, fails(595, &format!("No route to host ({nth})"))));
        }
        let before = lab.sight();
        lab.ask("1").await;
        let words = ["status/current", "595", "No route to host"];
        lab.refuses(&before, worker_says("w1", ("Ready", "Unknown", "HostOffline"), &words)).await;
        lab.world.kube.forget_writes();
        let first = looks(&lab);
        lab.operator.pass(Duration::from_secs(3600)).await;
        let looks = looks(&lab) - first;
        assert!((60..=90).contains(&looks), "{looks} looks in an hour");
        assert_eq!(told(&lab), Vec::<String>::new());
        lab.world.pve.faults().clear();
        lab.until("w1", |worker| worker.status.clone().unwrap().last_handled_test_request.is_some()).await;
        lab.tested("w1").await;
        lab.says(worker_says("w1", ("Ready", "True", "TestPassed"), &[])).await;
    });
}

#[test]
fn a_look_for_which_a_privilege_is_missing() {
    in_virtual_time(async {
        let mut lab = at_rest().await;
        let refusal = fails(403, "Permission check failed (/vms/5000, VM.Audit)");
        lab.world.pve.faults().add(Rule::every("GET", LOOK, refusal));
        let before = lab.sight();
        lab.ask("1").await;
        let words = ["403", "VM.Audit on /vms/5000"];
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "Forbidden"), &words)).await;
        lab.world.pve.faults().clear();
        lab.tested("w1").await;
        lab.says(worker_says("w1", ("Ready", "True", "TestPassed"), &[])).await;
    });
}

//! The operator is killed at seeded moments while ten workers are deployed, tested, edited and deleted, and started again
//! each time.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::stage::{NAMESPACE, Stage, is_tested_with, is_worked_on, leads, quick, worker};
use crate::support::seed::{Dice, seed, tell};

/// How often it is killed.
const KILLS: u32 = 20;
const WORKERS: usize = 10;
/// The workers that are deleted: the first half.
const DELETED: usize = 5;

/// What people do before the operator is started for the n-th time.
async fn people(stage: &Stage, time: u32) {
    match time {
        0 => {
            let hosts = ["pve1", "pve2", "pve3"];
            let manifests: String = (0..WORKERS).map(|n| worker(&format!("w{n}"), hosts[n % 3], "OnChange")).collect();
            stage.apply(&manifests).await;
        }
        8 => stage.edit_all(&json!({"spec": {"resources": {"memory": "7Gi"}}})).await,
        14 => {
            let names: Vec<String> = (0..DELETED).map(|n| format!("w{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            stage.kubectl(&[&["-n", NAMESPACE, "delete", "--wait=false", "worker"], &names[..]].concat()).await;
        }
        _ => {}
    }
}

/// The workers that have a VM, which has no name as long as it is cloned.
fn have_a_vm(stage: &Stage) -> BTreeSet<String> {
    let names: Vec<String> = stage.ours().into_values().filter(|name| !name.is_empty()).collect();
    let distinct: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(distinct.len(), names.len(), "seed {}: two VMs for one worker: {names:?}", seed());
    distinct
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_leave_one_vm_for_each_worker() {
    let stage = Stage::with_short_lease(quick()).await;
    let strangers = stage.strangers();
    let mut dice = Dice::new(seed());
    stage.apply_hypervisor("{parallelLaunches: 10, deletionsPerHour: 100}").await;
    let mut at_work = 0;
    for time in 0..KILLS {
        people(&stage, time).await;
        let mut operator = stage.operator(0).await;
        // The term of the one before must end first.
        operator.until_ready(leads).await.unwrap();
        tokio::time::sleep(Duration::from_millis(dice.below(3500))).await;
        operator.process.kill9();
        at_work += u32::from(stage.workers().await.iter().any(is_worked_on));
        have_a_vm(&stage);
        assert_eq!(stage.strangers(), strangers, "seed {}", seed());
    }
    let _operator = stage.operator(0).await;
    let left = |workers: &[_]| {
        workers.len() == WORKERS - DELETED && workers.iter().all(|worker| is_tested_with(worker, "7Gi"))
    };
    stage.until("five tested workers", left).await;
    let clones = stage.pve.faults().changes().into_iter().filter(|call| call.path.ends_with("/clone")).count();
    tell(&format!("killed {KILLS} times, {at_work} times at work: {clones} clone calls, {} VMs", stage.ours().len()));
    let expected: BTreeSet<String> = (DELETED..WORKERS).map(|n| format!("w{n}")).collect();
    assert_eq!((have_a_vm(&stage), stage.ours().len()), (expected, WORKERS - DELETED), "seed {}", seed());
    assert_eq!(stage.strangers(), strangers);
    assert_eq!(stage.running(), Vec::<u32>::new());
    let orphans = stage.hypervisor().await.unwrap().status.unwrap().orphans;
    assert!(orphans.is_empty(), "{orphans:?}");
    stage.plane.stop().await;
}

//! Two replicas: one works, the other takes over when the first is killed or suspended, and never two at a time.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use stevedore::controlplane::Replica;

use super::stage::{Stage, all_tested, is_tested_with, is_worked_on, leads, quick, stands_by, worker};
use super::witness::Witness;
use crate::support::seed::{Dice, seed, tell};

/// How often the leader is suspended.
const SUSPENSIONS: u32 = 3;
const WORKERS: usize = 6;
/// As in the chart's values of the short lease.
const LEASE: SignedDuration = SignedDuration::from_secs(3);

/// A replica that knows that another one leads.
async fn standby(stage: &Stage, replica: u32) -> Replica {
    let standby = stage.operator(replica).await;
    standby.until_ready(stands_by).await.unwrap();
    standby
}

/// A process that wakes up without its lead ends, so that it is started anew.
async fn ends(mut woken: Replica) {
    woken.process.resume();
    let ended = tokio::time::timeout(Duration::from_secs(60), woken.process.wait()).await.unwrap();
    let log = woken.process.log().unwrap();
    assert!(!ended.success() && log.contains("leads no more") && log.contains("the lease was lost"), "{ended}\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_after_the_other_and_never_two_at_a_time() {
    let stage = Stage::with_short_lease(quick()).await;
    let (strangers, witness, mut dice) = (stage.strangers(), Witness::of(&stage), Dice::new(seed()));
    let mut leader = stage.operator(0).await;
    leader.until_ready(leads).await.unwrap();
    witness.meet(&leader);
    let mut next = standby(&stage, 1).await;
    witness.meet(&next);
    stage.apply_hypervisor("{parallelLaunches: 4}").await;
    let hosts = ["pve1", "pve2", "pve3"];
    let manifests: String = (0..WORKERS).map(|n| worker(&format!("w{n}"), hosts[n % 3], "OnChange")).collect();
    stage.apply(&manifests).await;

    witness.until_called_by(0).await;
    tokio::time::sleep(Duration::from_millis(dice.below(1500))).await;
    leader.process.kill9();
    stage.until("all tested by the second", |workers| all_tested(workers, WORKERS)).await;

    for round in 0..SUSPENSIONS {
        leader = next;
        next = standby(&stage, round % 2).await;
        witness.meet(&next);
        let memory = format!("{}Gi", 7 + round);
        stage.edit_all(&json!({"spec": {"resources": {"memory": memory}}})).await;
        if round == 0 {
            stage.until("work in progress", |workers| workers.iter().any(is_worked_on)).await;
            tokio::time::sleep(Duration::from_millis(dice.below(1500))).await;
            leader.process.suspend();
        } else {
            // Its next step would be to write down what came of the call.
            witness.stop_at_a_call().await;
        }
        let done = |workers: &[_]| workers.iter().all(|worker| is_tested_with(worker, &memory));
        stage.until("all tested by the next one", done).await;
        ends(leader).await;
    }

    tell(&format!("one after the other: {}", witness.testify(&stage)));
    for takeover in witness.takeovers(&stage) {
        tell(&format!("a lease of 3 s was taken over {:?} after its last renewal", takeover.after));
        assert!(takeover.after >= LEASE, "before it had run out: {takeover:?}");
        assert!(takeover.late_looks <= 2, "not at the first look after it had run out: {takeover:?}");
    }
    assert_eq!(stage.ours().len(), WORKERS, "one VM for each worker: {:?}", stage.ours());
    assert_eq!(stage.strangers(), strangers);
    stage.plane.stop().await;
}

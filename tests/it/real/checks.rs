//! Each check fails for its real cause, and passes again when the cause is gone.

use std::time::{Duration, Instant};

use stevedore::check::{Trial, Wish};
use stevedore::clock::SystemClock;
use stevedore::guest::channel::GuestChannel;
use stevedore::guest::checks::{CheckResult, GUEST, Outcome, run_checks};
use stevedore::hypervisor::Hypervisor as _;
use tokio::time::sleep;

use super::lab::{BOOT, DEADLINE, addressed, boot, inside_well, report, trial};
use crate::guest::causes::{CAUSES, Cause, FILTERED_PORT, FURNISH};
use crate::guest::checks::assert_shown;

async fn check(guest: &dyn GuestChannel, cause: &Cause) -> Vec<CheckResult> {
    run_checks(guest, &cause.plan(), &[], &SystemClock, DEADLINE).await
}

/// Brings the cause about, lets the checks look, and takes it back.
async fn suffer(trial: &Trial, wish: &Wish, guest: &dyn GuestChannel, cause: &Cause) {
    let begun = Instant::now();
    inside_well(guest, cause.real.breaks).await;
    // What was planned to happen to the agent has its own time.
    while cause.fails.first().is_some_and(|(check, _)| *check == GUEST)
        && trial.client.guest_answers(&wish.at()).await.unwrap()
    {
        assert!(begun.elapsed() < BOOT, "the agent goes on answering with {}", cause.name);
        sleep(Duration::from_millis(500)).await;
    }
    let results = check(guest, cause).await;
    assert!(trial.agent_comes(wish, BOOT).await, "the agent does not come back after {}", cause.name);
    inside_well(guest, cause.real.mends).await;
    report(&format!("cause {}", cause.name), begun);
    for result in results.iter().filter(|result| result.outcome != Outcome::Passed) {
        println!("           {}: {}", result.name, result.message);
    }
    assert_shown(cause, &results);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn each_cause_fails_its_checks_in_a_real_guest_as_in_a_simulated_one() {
    let (trial, _turn) = trial(&[&format!("{{name: w1, filtered: ['repo.lab:{FILTERED_PORT}']}}")]).await;
    let wish = addressed("w1", 5000);
    trial.deploy(&wish).await.unwrap();
    trial.set(&wish, "net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0").await.unwrap();
    let guest = boot(&trial, &wish).await;
    inside_well(&*guest, FURNISH).await;
    let mut wrong = Vec::new();
    for cause in CAUSES {
        suffer(&trial, &wish, &*guest, cause).await;
        // Whatever it was, it leaves nothing behind.
        let healthy = check(&*guest, &CAUSES[0]).await;
        if healthy.iter().any(|result| result.outcome != Outcome::Passed) {
            wrong.push((cause.name, healthy));
        }
    }
    assert!(wrong.is_empty(), "not healthy again: {wrong:#?}");
}

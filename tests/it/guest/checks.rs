//! Each check fails for its cause, alike in both kinds of simulated guest; `real` has the same for real ones.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stevedore::clock::{Clock, SystemClock, TimerClock};
use stevedore::guest::checks::{CheckPlan, CheckResult, GUEST, Outcome, run_checks};
use stevedore::simulator::guest::{CannedGuest, DirectChannel, ShellGuest};
use stevedore::simulator::guest_exec::{GuestExec, GuestFacts};

use super::causes::{CAUSES, CHECKS, Cause, behave, plan};
use super::{DEADLINE, healthy};

/// Results without what differs from run to run: durations, and the odd second of the clock.
fn comparable(results: &[CheckResult]) -> Vec<(String, Outcome, String)> {
    let plain = |result: &CheckResult| {
        if (result.name.as_str(), result.outcome) == ("clock", Outcome::Passed) {
            return (result.name.clone(), result.outcome, String::new());
        }
        let message = result.message.split(' ').filter(|word| word.parse::<u32>().is_err()).collect::<Vec<_>>();
        (result.name.clone(), result.outcome, message.join(" "))
    };
    results.iter().map(plain).collect()
}

async fn check(exec: Arc<dyn GuestExec>, facts: &GuestFacts, plan: &CheckPlan) -> Vec<CheckResult> {
    let channel = DirectChannel::new(exec, facts.clone(), Arc::new(SystemClock));
    run_checks(&channel, plan, &[], &SystemClock, DEADLINE).await
}

/// Panics unless just those checks do not pass that the cause must show in, each with its words.
pub(crate) fn assert_shown(cause: &Cause, results: &[CheckResult]) {
    let failed: Vec<&CheckResult> = results.iter().filter(|result| result.outcome != Outcome::Passed).collect();
    let names: Vec<&str> = failed.iter().map(|result| result.name.as_str()).collect();
    let expected: Vec<&str> = cause.fails.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected, "{}: {failed:#?}", cause.name);
    for (result, (_, words)) in failed.iter().zip(cause.fails) {
        assert!(result.message.contains(words), "{}: {}", cause.name, result.message);
    }
    let names: Vec<&str> = results.iter().map(|result| result.name.as_str()).filter(|name| *name != GUEST).collect();
    assert_eq!(names, CHECKS, "{}", cause.name);
}

#[tokio::test]
async fn each_cause_fails_its_checks_alike_in_both_kinds_of_simulated_guest() {
    let folder = tempfile::tempdir().unwrap();
    for cause in CAUSES {
        let (facts, plan) = (cause.facts(), cause.plan());
        let shell = check(Arc::new(ShellGuest::new(folder.path())), &facts, &plan).await;
        let canned = check(Arc::new(CannedGuest::default()), &facts, &plan).await;
        assert_eq!(comparable(&shell), comparable(&canned), "{}", cause.name);
        assert_shown(cause, &shell);
    }
}

#[test]
fn each_check_has_a_cause_that_fails_it() {
    for check in CHECKS.into_iter().chain([GUEST]) {
        let alone = |cause: &&Cause| cause.fails.first().is_some_and(|(name, _)| *name == check);
        assert!(CAUSES.iter().any(|cause| alone(&cause)), "no cause begins with {check}");
    }
}

#[tokio::test(start_paused = true)]
async fn canned_guests_wait_in_virtual_time() {
    let clock = TimerClock::starting_at("2026-11-25T00:00:00Z".parse().unwrap());
    let mut facts = healthy("virtual");
    facts.clock = clock.wall();
    behave(&mut facts, "filtered", json!(["repo.lab"]));
    behave(&mut facts, "cloudInit", json!("running"));
    let channel = DirectChannel::new(Arc::new(CannedGuest::default()), facts, Arc::new(clock));
    let results = run_checks(&channel, &plan(), &[], &clock, DEADLINE).await;
    let of = |name: &str| results.iter().find(|result| result.name == name).unwrap();
    assert_eq!(of("connect/repository").outcome, Outcome::Failed);
    assert!(of("connect/repository").duration >= Duration::from_secs(5));
    // The script waited for cloud-init, which is no fault of the clock.
    assert!(of("clock").duration >= Duration::from_secs(15));
    assert_eq!(of("clock").message, "in step with the operator's clock");
}

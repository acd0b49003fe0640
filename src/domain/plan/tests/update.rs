//! The way of an update between the checks and their result, and what may happen to it.

use super::*;
use crate::domain::observation::{LaunchRecord, UpdateLook, UpdatesWanted};
use crate::domain::update::{PackageManager, UpdateEnd, UpdateRecord, UpdateResult, UpdateSight, UpdateState};

/// A worker whose packages are updated, with a VM that this operation has powered on.
fn updating(kind: Kind, step: Step) -> Facts {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.declared.updates = Some(UpdatesWanted { failure_fails: false, timeout: Duration::from_secs(1800) });
    facts.remembered.operation = Some(Ok(operation(kind, step)));
    facts.observed.checked = true;
    facts
}

fn end(result: UpdateResult, packages: u32, reboot_needed: bool) -> UpdateState {
    let (manager, boot_id) = (Some(PackageManager::Apt), "boot".to_owned());
    UpdateState::Ended(UpdateEnd {
        result,
        manager,
        packages,
        pending: 0,
        reboot_needed,
        boot_id,
        finished_ago: Duration::from_secs(5),
    })
}

/// A guest that answers, in the boot `boot_id`, with an update in this state.
fn guest(state: UpdateState, boot_id: &str) -> Looks {
    let update = Some(UpdateLook::Told(UpdateSight { boot_id: boot_id.to_owned(), state }));
    Looks { update, ..well(Live::Found(vm(Power::On))) }
}

fn silent(seconds: u64) -> Looks {
    Looks { update: Some(UpdateLook::Silent(Duration::from_secs(seconds))), ..guest(UpdateState::Running, "boot") }
}

/// What is recorded with the result of the checks.
fn recorded(decision: &Decision) -> UpdateRecord {
    match &decision.next {
        Next::Check { after: AfterChecks::Record(Some(update)), .. } => (**update).clone(),
        other => panic!("{other:?}"),
    }
}

fn waits(decision: &Decision) -> bool {
    matches!(decision.next, Next::Wait { after, .. } if after < Duration::from_secs(20))
}

#[test]
fn an_update_comes_between_the_checks_and_their_result() {
    let mut facts = updating(Kind::Test, Step::Start);
    facts.observed.checked = false;
    let fit = guest(UpdateState::NotStarted, "boot");
    let first = settle(facts.clone(), &fit);
    assert!(matches!(first.next, Next::Check { after: AfterChecks::Update, .. }), "{first:?}");
    facts.observed.checked = true;
    let Next::Act { record, effect: Effect::Update } = settle(facts.clone(), &fit).next else { panic!() };
    assert_eq!((record.step, record.sends), (Step::Update, 1));
    facts.remembered.operation = Some(Ok(*record));
    assert!(waits(&settle(facts.clone(), &guest(UpdateState::Running, "boot"))));
    let ended = end(UpdateResult::Done, 3, true);
    let Next::Act { record, effect: Effect::Reboot } = settle(facts.clone(), &guest(ended.clone(), "boot")).next else {
        panic!()
    };
    facts.remembered.operation = Some(Ok(*record));
    assert!(waits(&settle(facts.clone(), &guest(ended.clone(), "boot"))));
    assert!(waits(&settle(facts.clone(), &Looks { guest: Some(false), ..guest(ended.clone(), "boot") })));
    let update = recorded(&settle(facts, &guest(ended, "another")));
    assert!(update.rebooted && update.succeeded() && update.packages == 3, "{update:?}");
    assert_eq!(update.finished, at(NOW - 5));
}

#[test]
fn without_the_wish_nothing_is_looked_at_and_nothing_is_said() {
    let mut facts = updating(Kind::Test, Step::Start);
    facts.declared.updates = None;
    let decision = settle(facts, &Looks { update: None, ..guest(UpdateState::NotStarted, "boot") });
    assert!(matches!(decision.next, Next::Check { after: AfterChecks::Record(None), .. }), "{decision:?}");
    assert_eq!(decision.report.packages, Currency::Untold);
}

#[test]
fn a_launch_after_a_fresh_test_is_checked_only_if_its_update_changed_something() {
    let mut facts = updating(Kind::Launch, Step::Start);
    facts.observed.checked = false;
    facts.declared.max_age = Duration::from_secs(3600);
    facts.remembered.last_test = Some(TestRecord {
        passed: true,
        spec_hash: "h1".into(),
        started: at(NOW - 900),
        finished: at(NOW - 800),
        operation: "op-0".into(),
        message: String::new(),
    });
    assert_eq!(effect(&settle(facts.clone(), &guest(UpdateState::NotStarted, "boot"))), Some(Effect::Update));
    facts.remembered.operation = Some(Ok(operation(Kind::Launch, Step::Update)));
    let unchanged = settle(facts.clone(), &guest(end(UpdateResult::Done, 0, false), "boot"));
    let Next::Launched { update: Some(update), .. } = unchanged.next else { panic!("{unchanged:?}") };
    assert_eq!(update.packages, 0);
    assert_eq!(recorded(&settle(facts.clone(), &guest(end(UpdateResult::Done, 1, false), "boot"))).packages, 1);
    // Recorded already, before a crash.
    facts.remembered.launch = Some(LaunchRecord { operation: "op-1".into(), boot_id: "boot".into() });
    facts.remembered.operation = Some(Ok(operation(Kind::Launch, Step::Reboot)));
    let over = settle(facts, &guest(end(UpdateResult::Done, 1, true), "another"));
    assert!(matches!(over.next, Next::Close(_)), "{over:?}");
}

#[test]
fn a_failure_is_told_and_fails_the_test_only_where_that_is_declared() {
    let states = [
        end(UpdateResult::Failed("no way".into()), 0, false),
        end(UpdateResult::TimedOut("held".into()), 0, false),
        UpdateState::Lost,
        UpdateState::NoResult,
    ];
    for state in states {
        let mut facts = updating(Kind::Launch, Step::Update);
        let update = recorded(&settle(facts.clone(), &guest(state.clone(), "boot")));
        assert!(!update.succeeded(), "{update:?}");
        facts.declared.updates.as_mut().unwrap().failure_fails = true;
        let decision = settle(facts, &guest(state, "boot"));
        let Next::Conclude { check: "updates", message, update: Some(told), .. } = decision.next else {
            panic!("{decision:?}")
        };
        assert_eq!((&message, &*told), (&update.message, &update));
    }
}

#[test]
fn a_guest_that_is_up_did_not_go_down_in_the_middle_of_an_update() {
    let message = |state| recorded(&settle(updating(Kind::Test, Step::Update), &guest(state, "boot"))).message;
    assert!(message(UpdateState::Lost).contains("the guest went down in the middle of it"));
    assert!(message(UpdateState::NoResult).contains("it left no result in the guest"));
}

#[test]
fn what_is_held_back_is_no_failure() {
    let mut facts = updating(Kind::Test, Step::Update);
    facts.declared.updates.as_mut().unwrap().failure_fails = true;
    let UpdateState::Ended(ended) = end(UpdateResult::Done, 0, false) else { panic!() };
    let state = UpdateState::Ended(UpdateEnd { pending: 2, ..ended });
    let update = recorded(&settle(facts.clone(), &guest(state, "boot")));
    facts.remembered.last_update = Some(update);
    let Currency::Told(verdict) = plan(&facts).report.packages else { panic!() };
    assert_eq!((verdict.status, verdict.reason), (Some(false), WorkerReason::PackagesHeldBack));
}

#[test]
fn a_start_that_was_refused_is_a_failure_and_any_other_is_asked_for_again() {
    let mut facts = updating(Kind::Test, Step::Update);
    let fit = guest(UpdateState::NotStarted, "boot");
    facts.observed.last_call = Some(Fault::new(FaultKind::Refused, "there is no Secret proxy"));
    assert!(recorded(&settle(facts.clone(), &fit)).message.ends_with("there is no Secret proxy"));
    for (kind, sends) in [(FaultKind::NotSent, 1), (FaultKind::UnknownOutcome, 2), (FaultKind::GuestAway, 2)] {
        facts.observed.last_call = Some(Fault::new(kind, "later"));
        let Next::Act { record, effect: Effect::Update } = settle(facts.clone(), &fit).next else { panic!() };
        assert_eq!(record.sends, sends);
    }
    // After a crash nobody knows of an answer.
    facts.observed.last_call = None;
    assert_eq!(effect(&settle(facts.clone(), &fit)), Some(Effect::Update));
    let often = Operation { sends: MOST_SENDS, ..operation(Kind::Test, Step::Update) };
    facts.remembered.operation = Some(Ok(often));
    facts.observed.quiet_for = Duration::from_secs(69);
    assert!(waits(&settle(facts.clone(), &fit)), "one may still come");
    facts.observed.quiet_for = Duration::from_secs(70);
    assert!(!recorded(&settle(facts, &fit)).succeeded());
}

#[test]
fn a_guest_is_not_powered_off_while_its_packages_are_updated() {
    let running = guest(UpdateState::Running, "boot");
    for kind in [Kind::Test, Kind::Launch] {
        let mut edited = updating(kind, Step::Update);
        edited.declared.spec_hash = "h2".into();
        assert!(waits(&settle(edited.clone(), &running)));
        assert_eq!(
            effect(&settle(edited, &guest(end(UpdateResult::Done, 1, true), "boot"))),
            Some(Effect::ShutDown),
            "what it was for is no more"
        );
        let mut never = updating(kind, Step::Update);
        never.declared.updates = None;
        assert!(waits(&settle(never.clone(), &running)));
        assert!(recorded(&settle(never.clone(), &guest(end(UpdateResult::Done, 1, false), "boot"))).succeeded());
        let decision = settle(never, &guest(UpdateState::NotStarted, "boot"));
        assert!(matches!(decision.next, Next::Check { after: AfterChecks::Record(None), .. }), "{decision:?}");
    }
}

#[test]
fn an_update_that_does_not_end_fails_the_test_whatever_is_declared() {
    let mut facts = updating(Kind::Launch, Step::Update);
    facts.observed.step_age = Duration::from_secs(2400);
    let running = guest(UpdateState::Running, "boot");
    assert!(waits(&settle(facts.clone(), &running)));
    facts.observed.step_age = Duration::from_secs(2401);
    let decision = settle(facts.clone(), &running);
    assert!(matches!(decision.next, Next::Conclude { check: "updates", .. }), "{decision:?}");
    // Nor does a guest that says nothing any more take tasks.
    assert!(waits(&settle(facts.clone(), &silent(300))));
    let decision = settle(facts, &silent(301));
    assert!(matches!(decision.next, Next::Conclude { check: "guest", .. }), "{decision:?}");
}

#[test]
fn a_reboot_is_waited_for_and_one_that_does_not_come_fails_the_test() {
    let mut facts = updating(Kind::Test, Step::Reboot);
    let before = guest(end(UpdateResult::Done, 1, true), "boot");
    facts.observed.last_call = Some(Fault::new(FaultKind::UnknownOutcome, "no answer"));
    facts.observed.quiet_for = Duration::from_secs(9);
    assert!(waits(&settle(facts.clone(), &before)));
    facts.observed.quiet_for = Duration::from_secs(10);
    assert_eq!(effect(&settle(facts.clone(), &before)), Some(Effect::Reboot), "the guest leaves a boot once");
    facts.observed.last_call = None;
    facts.observed.step_age = Duration::from_secs(301);
    let decision = settle(facts.clone(), &before);
    assert!(matches!(decision.next, Next::Conclude { check: "updates", .. }), "{decision:?}");
    let decision = settle(facts.clone(), &Looks { guest: Some(false), ..before.clone() });
    let Next::Conclude { check: "guest", message, .. } = decision.next else { panic!("{decision:?}") };
    assert!(message.contains("after the reboot that its update asked for"), "{message}");
    facts.observed.step_age = Duration::from_secs(1);
    facts.observed.last_call = Some(Fault::new(FaultKind::Refused, "reboot: there is no such program"));
    let update = recorded(&settle(facts, &before));
    assert!(!update.succeeded() && !update.rebooted, "{update:?}");
    assert!(update.message.ends_with("the reboot that it asks for failed: reboot: there is no such program"));
}

#[test]
fn a_guest_that_went_off_during_its_update_is_powered_on_again_and_not_updated_twice() {
    let facts = updating(Kind::Test, Step::Update);
    let Next::Act { record, effect: Effect::Start } = settle(facts, &well(Live::Found(vm(Power::Off)))).next else {
        panic!()
    };
    let mut facts = updating(Kind::Test, Step::Start);
    facts.remembered.operation = Some(Ok(*record));
    assert!(!recorded(&settle(facts, &guest(UpdateState::Lost, "another"))).succeeded());
}

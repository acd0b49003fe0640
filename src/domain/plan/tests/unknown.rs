//! What is not known takes nothing back, and lets nothing go.

use super::*;

fn elsewhere(polls: u32) -> Presence {
    Presence::Elsewhere { text: "VM 5009 was made for an earlier Worker".into(), polls }
}

fn deleting() -> Facts {
    let mut facts = facts();
    facts.declared.deleting = true;
    facts.declared.has_finalizer = true;
    facts
}

#[test]
fn a_vm_of_somebody_else_proves_no_absence_of_the_workers_own() {
    let mut facts = deleting();
    facts.observed.presence = elsewhere(1);
    assert!(matches!(plan(&facts).next, Next::Wait { poll: true, .. }));
    assert_eq!(plan(&facts).report.vm, VmReport::Keep);
    facts.observed.presence = elsewhere(2);
    assert_eq!(plan(&facts).next, Next::Release { abandoned: false });
}

#[test]
fn a_deletion_ends_although_a_vm_of_somebody_else_is_there() {
    let mut facts = deleting();
    facts.remembered.operation = Some(Ok(operation(Kind::Delete, Step::Destroy)));
    for (polls, released) in [(1, false), (2, true)] {
        facts.observed.presence = elsewhere(polls);
        let next = settle(facts.clone(), &well(Live::NotThere)).next;
        assert_eq!(next == Next::Release { abandoned: false }, released, "{next:?}");
    }
}

#[test]
fn a_test_whose_vm_vanished_ends_although_a_vm_of_somebody_else_is_there() {
    let mut facts = facts();
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Start)));
    for (polls, closed) in [(1, false), (2, true)] {
        facts.observed.presence = elsewhere(polls);
        let next = settle(facts.clone(), &well(Live::NotThere)).next;
        assert_eq!(matches!(next, Next::Close(_)), closed, "{next:?}");
    }
    facts.remembered.operation = None;
    let decision = plan(&facts);
    let Stalling::Yes(problem) = decision.report.stalled else { panic!("{decision:?}") };
    assert_eq!(problem.reason, WorkerReason::ClaimedElsewhere);
}

fn present(power: Power, ownership: Ownership) -> Presence {
    Presence::Present { at: place(), power, ownership, uuid: "u".into() }
}

#[test]
fn a_vm_that_is_not_the_workers_does_not_come_into_its_status() {
    let mut facts = facts();
    let report = |facts: &Facts| plan(facts).report;
    facts.observed.presence = present(Power::Off, Ownership::Mismatch("it is a copy".into()));
    assert_eq!(report(&facts).vm, VmReport::Keep);
    assert_eq!(report(&facts).deployed, None);
    facts.observed.presence = present(Power::Off, Ownership::Ours);
    assert!(matches!(report(&facts).vm, VmReport::Known(_)));
}

#[test]
fn a_vm_whose_power_is_not_known_is_neither_off_nor_well() {
    let mut facts = facts();
    facts.declared.test_on_change = false;
    facts.remembered.applied = Some("h1".into());
    facts.observed.presence = present(Power::Unknown, Ownership::Ours);
    let report = plan(&facts).report;
    assert_eq!((report.unknown, report.ready), (true, None));
    facts.observed.dark_for = Duration::from_secs(300);
    let Decision { next, report } = plan(&facts);
    assert!(matches!(next, Next::Wait { .. }), "{next:?}");
    let ready = report.ready.unwrap();
    assert_eq!((ready.status, ready.reason), (None, WorkerReason::HostOffline));
    facts.observed.presence = present(Power::Off, Ownership::Ours);
    let Decision { next, report } = plan(&facts);
    assert_eq!((next, report.unknown), (Next::Rest, false));
}

#[test]
fn a_call_that_may_still_come_is_not_repeated() {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    let mut world = well(Live::NotThere);
    world.being_made = Some(false);
    let mut is_repeated = |last_call: Option<FaultKind>, quiet_for| {
        facts.observed.last_call = last_call.map(|kind| Fault::new(kind, "no"));
        facts.observed.quiet_for = Duration::from_secs(quiet_for);
        effect(&settle(facts.clone(), &world)) == Some(Effect::Create)
    };
    // Of a process that has just begun, and of one that waited in vain: nobody knows what became of the call.
    for nobody_knows in [None, Some(FaultKind::UnknownOutcome)] {
        assert!(!is_repeated(nobody_knows.clone(), 69));
        assert!(is_repeated(nobody_knows, 70));
    }
    assert!(is_repeated(Some(FaultKind::Busy), 0), "it was refused, so it does not come");
}

/// A worker whose status says that it is stalled.
fn stalled() -> Facts {
    let mut facts = facts();
    facts.remembered.stalled = true;
    facts
}

fn away(seconds: u64) -> Facts {
    let mut facts = stalled();
    facts.observed.hypervisor = HypervisorState::Away(Problem::new(WorkerReason::HypervisorUnreachable, "away"));
    facts.observed.away_for = Duration::from_secs(seconds);
    facts
}

#[test]
fn what_stalls_a_worker_stays_while_nothing_is_known() {
    let paused = || {
        let mut facts = stalled();
        facts.observed.hypervisor_paused = true;
        facts
    };
    let seeing = |presence| {
        let mut facts = stalled();
        facts.observed.presence = presence;
        facts
    };
    let offline = || {
        let mut facts = stalled();
        facts.looks.strangers = Some(Vec::new());
        facts.looks.obstacles = Some(vec![Problem::new(WorkerReason::HostOffline, "pve1 is offline")]);
        facts
    };
    let cases = [
        away(10),
        paused(),
        offline(),
        seeing(Presence::Unknown(Problem::new(WorkerReason::Waiting, "no poll yet"))),
        seeing(Presence::Absent { polls: 1 }),
        seeing(elsewhere(1)),
    ];
    for facts in cases {
        let report = plan(&facts).report;
        assert_eq!((&report.stalled, &report.reconciling), (&Stalling::Stays, &None), "{facts:?}");
        assert_eq!(report.ready, None, "{facts:?}");
    }
    let blind = hindered(&stalled(), Problem::new(WorkerReason::HostOffline, "pve1 does not answer"));
    assert_eq!(blind.stalled, Stalling::Stays);
}

#[test]
fn that_the_hypervisor_is_away_for_long_is_said_beside_what_stalls() {
    let report = plan(&away(300)).report;
    let ready = report.ready.unwrap();
    assert_eq!((ready.status, ready.reason), (None, WorkerReason::HypervisorUnreachable));
    assert_eq!(report.stalled, Stalling::Stays);
}

#[test]
fn what_is_known_ends_a_stall() {
    let mut missing = away(0);
    missing.observed.hypervisor = HypervisorState::Missing(Problem::new(WorkerReason::HypervisorMissing, "none"));
    let mut working = stalled();
    working.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    let mut resting = stalled();
    resting.declared.test_on_change = false;
    let mut gone = stalled();
    gone.declared.deleting = true;
    gone.declared.has_finalizer = true;
    gone.observed.presence = Presence::Absent { polls: 1 };
    for facts in [missing, working, resting, gone] {
        let report = settle(facts, &well(Live::NotThere)).report;
        assert_eq!(report.stalled, Stalling::No, "{report:?}");
    }
}

#[test]
fn what_cannot_be_seen_is_said_to_be_unknown_and_what_is_not_allowed_to_be_wrong() {
    let cases = [
        (FaultKind::Unreachable, None, WorkerReason::HostOffline),
        (FaultKind::Busy, None, WorkerReason::OperationFailed),
        (FaultKind::Other, None, WorkerReason::OperationFailed),
        (FaultKind::Unauthorized, None, WorkerReason::HypervisorNotReady),
        (
            FaultKind::Forbidden { privilege: "VM.Audit".into(), path: "/vms/5000".into() },
            Some(false),
            WorkerReason::Forbidden,
        ),
    ];
    for (kind, status, reason) in cases {
        let report = hindered(&facts(), hindrance(&Fault::new(kind, "GET config: no")));
        let ready = report.ready.unwrap();
        assert_eq!((ready.status, ready.reason), (status, reason));
        assert!(ready.message.starts_with("GET config: no"));
        assert_eq!(ready.message.contains("VM.Audit on /vms/5000"), reason == WorkerReason::Forbidden);
        assert_eq!(report.reconciling.unwrap().reason, reason);
    }
}

#[test]
fn a_test_that_is_asked_for_and_cannot_begin_is_seen_to_wait() {
    let mut facts = facts();
    facts.declared.test_on_change = false;
    facts.declared.test_request = Some("now".into());
    facts.observed.hypervisor_paused = true;
    let tested = |facts: &Facts| plan(facts).report.tested.message;
    assert!(tested(&facts).contains("asked for waits: its Hypervisor is paused"), "{}", tested(&facts));
    facts.remembered.handled_request = Some("now".into());
    assert!(!tested(&facts).contains("asked for"));
}

#[test]
fn a_tested_worker_whose_vm_is_gone_is_a_declared_one() {
    let mut facts = facts();
    facts.remembered.last_test = Some(TestRecord {
        passed: true,
        spec_hash: "h1".into(),
        started: at(NOW - 60),
        finished: at(NOW),
        operation: "op-1".into(),
        message: String::new(),
    });
    let ready = plan(&facts).report.ready.unwrap();
    assert_eq!((ready.status, ready.reason), (Some(true), WorkerReason::Configured));
    assert!(ready.message.contains("its VM is gone"), "{}", ready.message);
}

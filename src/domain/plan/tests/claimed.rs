//! A worker with tasks while it is paused, while its hypervisor cannot be asked, and while its host is down.

use super::*;
use crate::api::reasons::TaskReason;
use crate::api::task::TaskPhase;
use crate::domain::attempt::{Attempt, AttemptState, End, Ended};
use crate::domain::attend::{Act, Requeue};
use crate::domain::availability::Unavailable;
use crate::domain::claims::{Claim, Ending, Held, OpenTask, TaskSight};
use crate::domain::observation::LaunchRecord;

fn cancelled() -> Ending {
    Ending {
        phase: TaskPhase::Cancelled,
        reason: TaskReason::SessionCancelled,
        message: "its session was cancelled".into(),
        deadline: None,
    }
}

fn held(task: OpenTask) -> Held {
    let claim = Claim { task: "s-0".into(), uid: "a".into(), session: "s".into(), attempt: 1 };
    Held { claim, listed: true, task: TaskSight::Open(task) }
}

fn command(begun: bool) -> OpenTask {
    OpenTask { begun, command: true, ending: None, retries_left: false, was_lost: false }
}

fn lease(ending: Option<Ending>) -> OpenTask {
    OpenTask { command: false, ending, ..command(true) }
}

/// A worker that was launched and works on this.
fn working(task: OpenTask) -> Facts {
    let mut facts = facts();
    facts.observed.presence =
        Presence::Present { at: place(), power: Power::On, ownership: Ownership::Ours, uuid: "u".into() };
    facts.remembered.launch = Some(LaunchRecord { operation: "op-0".into(), boot_id: "boot".into() });
    facts.remembered.claims = vec![held(task)];
    facts
}

fn inside(state: Option<AttemptState>) -> Looks {
    let attempt = |state| Attempt { id: held(command(true)).claim.attempt_id(), age: Duration::ZERO, state };
    let sight =
        Sight { boot_id: "boot".into(), attempts: state.into_iter().map(attempt).collect(), ..Sight::default() };
    Looks { inside: Some(Inside::Told(sight)), ..well(Live::Found(vm(Power::On))) }
}

fn ended() -> AttemptState {
    AttemptState::Ended(End {
        result: Ended::Exited(0),
        started: at(NOW - 100),
        finished: at(NOW - 60),
        finished_ago: Duration::from_secs(60),
    })
}

fn acts(decision: &Decision) -> Vec<Act> {
    match &decision.next {
        Next::Attend(steps) => steps.iter().map(|step| step.act.clone()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn what_has_ended_is_told_although_the_worker_is_paused() {
    for (worker, hypervisor) in [(true, false), (false, true)] {
        let mut facts = working(command(true));
        facts.declared.paused = worker;
        facts.observed.hypervisor_paused = hypervisor;
        let told = acts(&settle(facts.clone(), &inside(Some(ended()))));
        assert!(matches!(&told[..], [Act::Finish(finish)] if finish.phase == TaskPhase::Succeeded), "{told:?}");
        // What runs goes on, whatever is wished of it: that would take a call.
        facts.remembered.claims = vec![held(OpenTask { ending: Some(cancelled()), ..command(true) })];
        let waits = settle(facts.clone(), &inside(Some(AttemptState::Running)));
        assert!(matches!(waits.next, Next::Wait { .. }), "{waits:?}");
    }
}

#[test]
fn nothing_begins_in_a_worker_that_is_paused() {
    let mut facts = working(command(false));
    facts.declared.paused = true;
    let waits = settle(facts, &inside(None));
    assert!(matches!(waits.next, Next::Wait { .. }), "{waits:?}");
}

#[test]
fn a_lease_ends_by_its_clients_word_although_nothing_answers() {
    let mut facts = working(lease(Some(cancelled())));
    facts.observed.hypervisor = HypervisorState::Away(Problem::new(WorkerReason::HypervisorUnreachable, "away"));
    let told = acts(&plan(&facts));
    assert!(matches!(&told[..], [Act::Finish(finish)] if finish.phase == TaskPhase::Cancelled), "{told:?}");
    facts.remembered.claims = vec![held(lease(None))];
    assert!(matches!(plan(&facts).next, Next::Wait { .. }));
}

#[test]
fn what_waits_for_a_launch_goes_elsewhere_once_the_host_is_down_for_long() {
    let mut facts = working(command(false));
    facts.remembered.operation = Some(Ok(operation(Kind::Launch, Step::Start)));
    facts.remembered.launch = None;
    facts.observed.host_refuses = Some(Unavailable::new(TaskReason::HostOffline, "its host pve1 is not online"));
    assert_eq!(unasked(&facts), None, "it may be back in a moment");
    facts.observed.dark_for = Duration::from_secs(120);
    let told = acts(&unasked(&facts).unwrap());
    assert!(matches!(&told[..], [Act::Requeue(Requeue::GivenBack(why))] if why.reason == TaskReason::HostOffline));
    // That of which a start may have been sent is not.
    facts.remembered.claims = vec![held(command(true))];
    assert_eq!(unasked(&facts), None);
}

#[test]
fn who_may_go_by_its_owners_word_goes_although_nothing_answers() {
    let mut facts = working(command(true));
    facts.declared.deleting = true;
    facts.declared.has_finalizer = true;
    facts.declared.abandon = Abandon::Yes;
    assert_eq!(unasked(&facts).unwrap().next, Next::Release { abandoned: true });
}

#[test]
fn what_stalled_is_looked_at_again_although_nobody_waits_for_it() {
    let mut facts = facts();
    facts.declared.test_on_change = false;
    assert_eq!(settle(facts.clone(), &well(Live::NotThere)).next, Next::Rest);
    facts.remembered.stalled = true;
    let problem = Problem::new(WorkerReason::TemplateMissing, "there is no template debian-worker on pve1");
    let still = settle(facts.clone(), &Looks { obstacles: Some(vec![problem.clone()]), ..well(Live::NotThere) });
    assert_eq!(still.report.stalled, Stalling::Yes(problem));
    assert!(matches!(still.next, Next::Wait { .. }), "{still:?}");
    let mended = settle(facts, &well(Live::NotThere));
    assert_eq!((mended.next, mended.report.stalled), (Next::Rest, Stalling::No));
}

#[test]
fn a_guest_that_falls_silent_before_its_launch_is_recorded_fails_it() {
    let mut facts = working(command(false));
    facts.remembered.launch = None;
    facts.remembered.operation = Some(Ok(operation(Kind::Launch, Step::Start)));
    facts.remembered.last_test = Some(TestRecord {
        passed: true,
        spec_hash: "h1".into(),
        started: at(NOW - 60),
        finished: at(NOW - 1),
        operation: "op-1".into(),
        message: String::new(),
    });
    let silent = |seconds| Looks {
        inside: Some(Inside::Silent(Duration::from_secs(seconds))),
        ..well(Live::Found(vm(Power::On)))
    };
    assert!(matches!(settle(facts.clone(), &silent(60)).next, Next::Wait { .. }));
    let failed = settle(facts, &silent(301));
    assert!(matches!(failed.next, Next::Conclude { check: "guest", .. }), "{failed:?}");
}

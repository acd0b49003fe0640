//! Every claim in every place, as a table; and what may never be decided whatever the facts.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::attempt::{Attempt, AttemptId};

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn claim() -> Claim {
    Claim { task: "s-0".into(), uid: "a-1".into(), session: "s".into(), attempt: 2 }
}

fn task(begun: bool) -> OpenTask {
    OpenTask { begun, command: true, ending: None, retries_left: false, was_lost: false }
}

fn held(task: TaskSight) -> Held {
    Held { claim: claim(), listed: true, task }
}

fn open(task: OpenTask) -> Held {
    held(TaskSight::Open(task))
}

fn cancelled() -> Ending {
    Ending {
        phase: TaskPhase::Cancelled,
        reason: TaskReason::SessionCancelled,
        message: "its session was cancelled".into(),
        deadline: None,
    }
}

fn late(deadline: i64) -> Ending {
    Ending {
        phase: TaskPhase::Failed,
        reason: TaskReason::DeadlineExceeded,
        message: "too late".into(),
        deadline: Some(Timestamp::from_second(deadline).unwrap()),
    }
}

fn sight(state: Option<AttemptState>) -> Sight {
    let attempt =
        |state| Attempt { id: AttemptId { task: "a-1".into(), attempt: 2 }, age: Duration::from_secs(60), state };
    Sight { boot_id: "b".into(), attempts: state.into_iter().map(attempt).collect(), strays: Vec::new() }
}

fn end(result: Ended) -> AttemptState {
    let finished = now().checked_sub(SignedDuration::from_secs(60)).unwrap();
    AttemptState::Ended(End { result, started: finished, finished, finished_ago: Duration::from_secs(60) })
}

fn disabled() -> Unavailable {
    Unavailable::new(TaskReason::Disabled, "spec.enabled is false")
}

/// What one claim needs in a guest that was launched.
fn launched(held: &Held, state: Option<AttemptState>, refuses: Option<&Unavailable>) -> Option<Act> {
    let sight = sight(state);
    act(held, Place::Told { sight: &sight, launched: true }, refuses, now())
}

fn phase_of(act: Option<Act>) -> Option<(TaskPhase, TaskReason)> {
    match act {
        Some(Act::Finish(finish)) => Some((finish.phase, finish.reason)),
        _ => None,
    }
}

#[test]
fn a_command_begins_in_a_launched_guest_and_in_no_other() {
    let waits = open(task(false));
    assert_eq!(launched(&waits, None, None), Some(Act::Start));
    let sight = sight(None);
    assert_eq!(act(&waits, Place::Told { sight: &sight, launched: false }, None, now()), None);
    for place in [Place::Off, Place::Unasked, Place::Silent] {
        assert_eq!(act(&waits, place, None, now()), None);
    }
}

#[test]
fn what_has_not_begun_is_given_back_and_a_guest_that_answers_is_told_first() {
    let waits = open(task(false));
    let back = Some(Act::Requeue(Requeue::GivenBack(disabled())));
    assert_eq!(act(&waits, Place::Off, Some(&disabled()), now()), back);
    assert_eq!(act(&waits, Place::Unasked, Some(&disabled()), now()), back);
    assert_eq!(launched(&waits, None, Some(&disabled())), Some(Act::Stop));
    assert_eq!(launched(&waits, Some(AttemptState::Stopped), Some(&disabled())), back);
    // What runs goes on.
    assert_eq!(launched(&open(task(true)), Some(AttemptState::Running), Some(&disabled())), None);
}

#[test]
fn a_commands_end_is_the_tasks_end() {
    let runs = open(task(true));
    let finished = |result| phase_of(launched(&runs, Some(end(result)), None));
    assert_eq!(finished(Ended::Exited(0)), Some((TaskPhase::Succeeded, TaskReason::Succeeded)));
    assert_eq!(finished(Ended::Exited(3)), Some((TaskPhase::Failed, TaskReason::CommandFailed)));
    assert_eq!(finished(Ended::Signalled("KILL".into())), Some((TaskPhase::Failed, TaskReason::CommandFailed)));
    assert_eq!(finished(Ended::TimedOut), Some((TaskPhase::Failed, TaskReason::TimedOut)));
    assert_eq!(finished(Ended::CouldNotStart("no".into())), Some((TaskPhase::Failed, TaskReason::CouldNotStart)));
    let again = open(OpenTask { retries_left: true, ..task(true) });
    assert!(matches!(launched(&again, Some(end(Ended::Exited(3))), None), Some(Act::Requeue(Requeue::Failed(_)))));
    assert_eq!(phase_of(launched(&again, Some(end(Ended::Exited(0))), None)).unwrap().0, TaskPhase::Succeeded);
}

#[test]
fn a_task_that_is_to_end_is_stopped_and_its_own_result_counts_if_it_came_first() {
    let ending = |ending: Ending, begun| open(OpenTask { ending: Some(ending), retries_left: true, ..task(begun) });
    let cancelled_task = ending(cancelled(), true);
    assert_eq!(launched(&cancelled_task, Some(AttemptState::Running), None), Some(Act::Stop));
    assert_eq!(launched(&cancelled_task, Some(AttemptState::Starting), None), None);
    let (by_us, own) = (end(Ended::Stopped), end(Ended::Exited(0)));
    assert_eq!(phase_of(launched(&cancelled_task, Some(by_us.clone()), None)).unwrap().0, TaskPhase::Cancelled);
    assert_eq!(phase_of(launched(&cancelled_task, Some(own.clone()), None)).unwrap().0, TaskPhase::Succeeded);
    // It ended a minute ago.
    assert_eq!(
        phase_of(launched(&ending(late(NOW - 30), true), Some(own.clone()), None)).unwrap().0,
        TaskPhase::Succeeded
    );
    let too_late = phase_of(launched(&ending(late(NOW - 90), true), Some(own), None));
    assert_eq!(too_late, Some((TaskPhase::Failed, TaskReason::DeadlineExceeded)));
    // Before it began it is seen to that it never does.
    let waits = ending(cancelled(), false);
    assert_eq!(launched(&waits, None, None), Some(Act::Stop));
    assert_eq!(phase_of(launched(&waits, Some(AttemptState::Stopped), None)).unwrap().0, TaskPhase::Cancelled);
    assert_eq!(phase_of(act(&waits, Place::Unasked, None, now())).unwrap().0, TaskPhase::Cancelled);
}

#[test]
fn a_lost_attempt_is_made_good_once() {
    let runs = open(task(true));
    let lost = |act: Option<Act>| matches!(act, Some(Act::Requeue(Requeue::Lost(_))));
    assert!(lost(act(&runs, Place::Off, None, now())));
    for (state, why) in [(AttemptState::Lost, "was rebooted while it ran"), (AttemptState::NoResult, "left no result")]
    {
        let act = launched(&runs, Some(state), None);
        assert!(matches!(&act, Some(Act::Requeue(Requeue::Lost(text))) if text.contains(why)), "{act:?}");
    }
    assert!(lost(launched(&runs, None, None)), "the guest knows nothing of what its task says runs in it");
    let again = open(OpenTask { was_lost: true, ..task(true) });
    assert_eq!(phase_of(act(&again, Place::Off, None, now())), Some((TaskPhase::Failed, TaskReason::WorkerLost)));
    assert!(act(&again, Place::Off, None, now()).unwrap().tells_of_loss());
    for place in [Place::Silent, Place::Unasked] {
        assert_eq!(act(&runs, place, None, now()), None, "nobody knows yet");
    }
}

#[test]
fn a_lease_begins_with_its_worker_and_is_not_moved() {
    let lease = |begun, ending| open(OpenTask { command: false, ending, ..task(begun) });
    assert_eq!(launched(&lease(false, None), None, None), Some(Act::Begun));
    assert_eq!(launched(&lease(true, None), None, None), None);
    assert_eq!(
        phase_of(act(&lease(true, Some(cancelled())), Place::Silent, None, now())).unwrap().0,
        TaskPhase::Cancelled
    );
    let lost = act(&lease(true, None), Place::Off, None, now());
    assert_eq!(phase_of(lost), Some((TaskPhase::Failed, TaskReason::WorkerLost)));
}

#[test]
fn a_claim_that_nobody_needs_is_released_when_nothing_of_it_runs() {
    for sight_of_it in [TaskSight::Gone, TaskSight::Over] {
        let held = held(sight_of_it);
        assert_eq!(launched(&held, Some(AttemptState::Running), None), Some(Act::Stop));
        assert_eq!(launched(&held, Some(end(Ended::Stopped)), None), Some(Act::Release));
        assert_eq!(act(&held, Place::Off, None, now()), Some(Act::Release));
        assert_eq!(act(&held, Place::Silent, None, now()), None);
    }
    assert_eq!(launched(&held(TaskSight::Missing), None, None), Some(Act::Ask));
    let unlisted = Held { listed: false, ..open(task(true)) };
    assert_eq!(launched(&unlisted, Some(AttemptState::Running), None), Some(Act::Reclaim));
    let being_given = Held { listed: false, ..open(task(false)) };
    assert_eq!(launched(&being_given, None, None), None);
}

#[test]
fn a_task_without_a_slot_waits_for_one_unless_nobody_will_give_it_one() {
    let unclaimed = |task: OpenTask| Held { listed: false, ..open(task) };
    let (waits, sight) = (unclaimed(task(false)), sight(None));
    let told = Place::Told { sight: &sight, launched: true };
    for place in [Place::Off, Place::Unasked, Place::Silent, told] {
        assert_eq!(act(&waits, place, None, now()), None, "{place:?}");
    }
    let to_end = unclaimed(OpenTask { ending: Some(cancelled()), ..task(false) });
    for place in [Place::Off, Place::Unasked] {
        assert_eq!(phase_of(act(&to_end, place, None, now())).unwrap().0, TaskPhase::Cancelled);
        let back = Some(Act::Requeue(Requeue::GivenBack(disabled())));
        assert_eq!(act(&waits, place, Some(&disabled()), now()), back);
    }
    // A guest that answers is told first; what began there after all gets its slot again.
    assert_eq!(launched(&to_end, None, None), Some(Act::Stop));
    assert_eq!(launched(&waits, Some(AttemptState::Running), Some(&disabled())), Some(Act::Reclaim));
    assert_eq!(launched(&waits, Some(end(Ended::Exited(0))), None), Some(Act::Reclaim));
    // Another task has taken the last slot meanwhile.
    let listed = open(task(true));
    let steps = |slots| steps(&[listed.clone(), waits.clone()], slots, Place::Off, None, now());
    let acts = |slots| steps(slots).into_iter().map(|step| step.act).collect::<Vec<_>>();
    assert!(matches!(&acts(1)[..], [_, Act::Requeue(Requeue::GivenBack(why))] if why.reason == TaskReason::Busy));
    assert_eq!(acts(2).len(), 1);
}

fn any_state() -> impl Strategy<Value = Option<AttemptState>> {
    prop_oneof![
        Just(None),
        Just(Some(AttemptState::Starting)),
        Just(Some(AttemptState::Running)),
        Just(Some(AttemptState::Lost)),
        Just(Some(AttemptState::NoResult)),
        Just(Some(AttemptState::Stopped)),
        (0i32..3).prop_map(|code| Some(end(Ended::Exited(code)))),
        Just(Some(end(Ended::Stopped))),
        Just(Some(end(Ended::TimedOut))),
    ]
}

fn any_ending() -> impl Strategy<Value = Option<Ending>> {
    prop_oneof![Just(None), Just(Some(cancelled())), (NOW - 120..NOW).prop_map(|at| Some(late(at)))]
}

fn any_held() -> impl Strategy<Value = Held> {
    let open = (any::<[bool; 4]>(), any_ending()).prop_map(|([begun, command, retries_left, was_lost], ending)| {
        TaskSight::Open(OpenTask { begun, command, ending, retries_left, was_lost })
    });
    let task = prop_oneof![Just(TaskSight::Missing), Just(TaskSight::Gone), Just(TaskSight::Over), open];
    (task, any::<bool>()).prop_map(|(task, listed)| Held { claim: claim(), listed, task })
}

proptest! {
    /// While an attempt may be running in the guest, its claim is neither released nor its task given to another worker.
    #[test]
    fn no_slot_is_free_while_its_command_may_run(held in any_held(), state in any_state(), up in any::<bool>(), no in any::<bool>()) {
        let active = matches!(state, Some(AttemptState::Starting | AttemptState::Running));
        let sight = sight(state.clone());
        let refuses = disabled();
        let done = act(&held, Place::Told { sight: &sight, launched: up }, no.then_some(&refuses), now());
        let frees = matches!(done, Some(Act::Release | Act::Finish(_) | Act::Requeue(_)));
        let is_lease = matches!(&held.task, TaskSight::Open(OpenTask { command: false, .. }));
        prop_assert!(!(frees && active) || is_lease, "{done:?}");
        if done == Some(Act::Start) {
            prop_assert!(state.is_none() && up && !no);
        }
    }

    /// What nobody can tell frees nothing that may run.
    #[test]
    fn a_silent_guest_frees_no_command_that_has_begun(held in any_held(), no in any::<bool>()) {
        let refuses = disabled();
        for place in [Place::Silent, Place::Unasked] {
            let done = act(&held, place, no.then_some(&refuses), now());
            if let TaskSight::Open(OpenTask { begun: true, command: true, .. }) = held.task {
                prop_assert!(matches!(done, None | Some(Act::Reclaim)), "{done:?}");
            }
        }
    }
}

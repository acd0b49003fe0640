//! A launch removes the guards of tasks that are gone, and no other.

use super::*;
use crate::domain::attempt::{Attempt, AttemptId, AttemptState, End, Ended};
use crate::domain::claims::{Claim, Held, TaskSight};

fn id(task: &str) -> AttemptId {
    AttemptId { task: task.into(), attempt: 1 }
}

fn ended() -> AttemptState {
    AttemptState::Ended(End {
        result: Ended::Exited(0),
        started: at(NOW - 5000),
        finished: at(NOW - 4000),
        finished_ago: Duration::from_secs(4000),
    })
}

fn attempt(task: &str, age: u64, state: AttemptState) -> Attempt {
    Attempt { id: id(task), age: Duration::from_secs(age), state }
}

/// A launch whose guest has these guards, and the tasks (UIDs) that are gone.
fn launch(attempts: Vec<Attempt>, gone: &[&str]) -> (Facts, Looks) {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.observed.presence =
        Presence::Present { at: place(), power: Power::On, ownership: Ownership::Ours, uuid: "u".into() };
    facts.remembered.operation = Some(Ok(operation(Kind::Launch, Step::Start)));
    facts.remembered.last_test = Some(TestRecord {
        passed: true,
        spec_hash: "h1".into(),
        started: at(NOW - 60),
        finished: at(NOW - 1),
        operation: "op-1".into(),
        message: String::new(),
    });
    let sight = Sight { boot_id: "boot".into(), attempts, ..Sight::default() };
    let gone = Some(gone.iter().map(|uid| (*uid).to_owned()).collect());
    (facts, Looks { inside: Some(Inside::Told(sight)), gone, ..well(Live::Found(vm(Power::On))) })
}

#[test]
fn what_is_gone_is_forgotten_before_the_launch_is_recorded() {
    let attempts =
        vec![attempt("a", 4000, ended()), attempt("b", 5000, AttemptState::Lost), attempt("c", 6000, ended())];
    let (facts, world) = launch(attempts, &["a", "b"]);
    assert_eq!(settle(facts.clone(), &world).next, Next::Forget(vec![id("b"), id("a")]), "the oldest first");
    let after = settle(facts, &Looks { gone: Some(BTreeSet::new()), ..world });
    assert!(matches!(after.next, Next::Launched { .. }), "{after:?}");
}

#[test]
fn what_may_still_begin_or_is_claimed_is_not_even_asked_after() {
    let kept = [
        attempt("a", 4000, AttemptState::Running),
        attempt("a", 4000, AttemptState::Starting),
        attempt("a", 599, AttemptState::Stopped),
        attempt("a", 599, ended()),
    ];
    for attempt in kept {
        let (mut facts, world) = launch(vec![attempt.clone()], &["a"]);
        assert!(matches!(settle(facts.clone(), &world).next, Next::Launched { .. }), "{attempt:?}");
        facts.looks = Looks { gone: None, ..world };
        assert!(matches!(plan(&facts).next, Next::Launched { .. }), "{attempt:?}");
    }
    let (mut facts, world) = launch(vec![attempt("a", 4000, AttemptState::Stopped)], &["a"]);
    assert!(matches!(settle(facts.clone(), &world).next, Next::Forget(_)));
    let claim = Claim { task: "s-0".into(), uid: "a".into(), session: "s".into(), attempt: 2 };
    facts.remembered.claims = vec![Held { claim, listed: true, task: TaskSight::Gone }];
    assert!(matches!(settle(facts, &world).next, Next::Launched { .. }), "its claim is settled first");
}

#[test]
fn one_launch_removes_a_bounded_number() {
    let attempts = (0..1000).map(|number| attempt(&format!("{number:x}"), 700 + number, ended())).collect();
    let uids: Vec<String> = (0..1000).map(|number| format!("{number:x}")).collect();
    let (facts, world) = launch(attempts, &uids.iter().map(String::as_str).collect::<Vec<_>>());
    let Next::Forget(forgotten) = settle(facts, &world).next else { panic!() };
    assert_eq!((forgotten.len(), &forgotten[0]), (200, &id("3e7")));
}

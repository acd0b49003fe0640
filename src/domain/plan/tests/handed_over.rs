//! A worker that a task has waited for is not powered off between its test and the task.

use super::*;
use crate::domain::claims::{Claim, Held, OpenTask, TaskSight};

/// A test whose result was recorded so long ago, with the VM still on.
fn told(passed: bool, seconds_ago: i64) -> Facts {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.observed.presence =
        Presence::Present { at: place(), power: Power::On, ownership: Ownership::Ours, uuid: "u".into() };
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Start)));
    facts.observed.needed = true;
    facts.remembered.last_test = Some(TestRecord {
        passed,
        spec_hash: "h1".into(),
        started: at(NOW - 60),
        finished: at(NOW - seconds_ago),
        operation: "op-1".into(),
        message: String::new(),
    });
    facts
}

fn on() -> Looks {
    well(Live::Found(vm(Power::On)))
}

#[test]
fn whoever_waits_for_it_gets_a_moment_to_claim_it() {
    assert!(matches!(settle(told(true, 1), &on()).next, Next::Wait { .. }));
    let mut claimed = told(true, 3);
    let task = OpenTask { begun: false, command: true, ending: None, retries_left: false, was_lost: false };
    let claim = Claim { task: "s-0".into(), uid: "a".into(), session: "s".into(), attempt: 1 };
    claimed.remembered.claims = vec![Held { claim, listed: true, task: TaskSight::Open(task) }];
    assert!(matches!(settle(claimed, &on()).next, Next::Launched { .. }));
}

#[test]
fn it_is_powered_off_if_nobody_wants_it_or_nobody_can_have_it() {
    let mut unwanted = told(true, 1);
    unwanted.observed.needed = false;
    for (facts, why) in
        [(unwanted, "nobody waits"), (told(false, 1), "it failed"), (told(true, 20), "it took too long")]
    {
        assert_eq!(effect(&settle(facts, &on())), Some(Effect::ShutDown), "{why}");
    }
}

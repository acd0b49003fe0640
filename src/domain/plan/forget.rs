//! Guards of attempts at tasks that do not exist any more: a launch removes them before its worker gets tasks, so that
//! they do not fill the worker's disk.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Decision, Facts, Look, Next};
use crate::domain::attempt::{Attempt, AttemptId, AttemptState, Sight};
use crate::domain::operation::Operation;

/// The start of an attempt may be on its way until shortly after its guard was made: a start is sent only while no guard
/// is seen, and no call is on its way for minutes. A guard that is older by far is not needed to hold one off.
const SETTLED: Duration = Duration::from_secs(600);
/// The most guards that one launch removes. What is left goes with the next one.
const MOST: usize = 200;

/// What is done about them before the launch is recorded; `None` if nothing.
pub(super) fn first(facts: &Facts, operation: &Operation, sight: &Sight) -> Option<Decision> {
    let old = settled(facts, sight);
    if old.is_empty() {
        return None;
    }
    let Some(gone) = &facts.looks.gone else {
        let tasks: BTreeSet<String> = old.iter().map(|id| id.task.clone()).collect();
        return Some(facts.look(Look::Gone(tasks), operation));
    };
    let left: Vec<AttemptId> = old.into_iter().filter(|id| gone.contains(&id.task)).take(MOST).cloned().collect();
    (!left.is_empty()).then(|| facts.say(Next::Forget(left), Some(operation)))
}

/// Attempts that do not run, of which no start can be on its way, and that no claim is for; the oldest first.
fn settled<'a>(facts: &Facts, sight: &'a Sight) -> Vec<&'a AttemptId> {
    let is_over = |one: &&Attempt| !matches!(one.state, AttemptState::Starting | AttemptState::Running);
    let is_claimed = |id: &AttemptId| facts.remembered.claims.iter().any(|held| held.claim.uid == id.task);
    let mut settled: Vec<&Attempt> =
        sight.attempts.iter().filter(is_over).filter(|one| one.age >= SETTLED && !is_claimed(&one.id)).collect();
    settled.sort_by_key(|one| std::cmp::Reverse(one.age));
    settled.into_iter().map(|one| &one.id).collect()
}

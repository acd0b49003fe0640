//! What becomes of a task when its turn has come.

use super::candidates::{Candidates, Standing};
use super::lack::lack;
use super::ledger::Ledger;
use super::limit::Limit;
use super::roll::{Roll, Turn};
use crate::api::reasons::TaskReason;

/// The longest message, in letters.
const LONGEST: usize = 300;

/// What becomes of a task.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It gets the worker at this place of the roll.
    Assigned(usize, Standing),
    /// It waits.
    Waits(Wait),
}

/// Why a task waits, and what that means for others.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) reason: TaskReason,
    pub(super) message: String,
    /// Whether it keeps what it needs from those that come later.
    holds: bool,
    /// Whether one more worker would help it.
    pub(super) lacks_worker: bool,
}

/// Lets every task have its turn; what one gets, or keeps from others, the next ones find taken.
pub(super) fn walk<'a>(roll: &Roll<'a>, mut visit: impl FnMut(&Candidates<'_, 'a>, Judgement)) {
    let mut ledger = Ledger::of(roll);
    for turn in roll.turns() {
        let candidates = Candidates::of(roll, &ledger, turn);
        let judgement = judge(&candidates);
        let entry = Entry::of(&judgement);
        visit(&candidates, judgement);
        entry.write(&mut ledger, turn);
    }
}

fn judge(candidates: &Candidates<'_, '_>) -> Judgement {
    let is_open = candidates.has_some();
    // A limit is no news to a task that no worker would take without it either.
    if let Some(limit) = candidates.ledger.limits(candidates.turn.member).next().filter(|_| is_open) {
        return Judgement::Waits(Wait::at(&limit));
    }
    if let Some((place, standing)) = candidates.best() {
        return Judgement::Assigned(place, standing);
    }
    let (reason, message) = lack(candidates);
    Judgement::Waits(Wait { reason, message: bounded(message), holds: is_open, lacks_worker: true })
}

impl Wait {
    fn at(limit: &Limit) -> Self {
        // A session that wants no more at once does not need anything for its next task yet.
        let holds = !matches!(limit, Limit::Parallelism { .. });
        Self { reason: limit.reason(), message: bounded(limit.to_string()), holds, lacks_worker: false }
    }
}

/// What a judgement changes in the ledger.
enum Entry {
    Takes(usize),
    Holds,
    Nothing,
}

impl Entry {
    fn of(judgement: &Judgement) -> Self {
        match judgement {
            Judgement::Assigned(place, _) => Self::Takes(*place),
            Judgement::Waits(wait) if wait.holds => Self::Holds,
            Judgement::Waits(_) => Self::Nothing,
        }
    }

    fn write<'a>(self, ledger: &mut Ledger<'a>, turn: Turn<'a>) {
        match self {
            Self::Takes(place) => ledger.take(turn.member, Some(place)),
            Self::Holds => ledger.hold(turn.member),
            Self::Nothing => {}
        }
    }
}

/// A message that a status has room for.
fn bounded(message: String) -> String {
    match message.char_indices().nth(LONGEST) {
        None => message,
        Some(_) => message.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

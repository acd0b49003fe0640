//! The workers that a task could have, and which of them is the best.

use std::cmp::Ordering;
use std::fmt;

use super::ledger::Ledger;
use super::roll::{Roll, Turn};
use super::world::{Placement, Worker};
use crate::api::reasons::TaskReason;
use crate::domain::availability::{Availability, Unavailable};
use crate::domain::unfit::passes;

/// The workers, seen from a task whose turn has come.
#[derive(Debug)]
pub(super) struct Candidates<'r, 'a> {
    pub(super) roll: &'r Roll<'a>,
    pub(super) ledger: &'r Ledger<'a>,
    pub(super) turn: Turn<'a>,
    /// Whether the workers where it failed can be spared: another one takes it, now or by and by.
    spares: bool,
}

/// Whether a worker takes a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The session's selector does not select it.
    NotSelected,
    /// The session requires one on the VM's host.
    OtherHost,
    /// It takes no tasks.
    Unavailable(&'a Unavailable),
    /// An earlier attempt failed on it, and another worker can take the task.
    Avoided,
    /// It has no free slot.
    Full,
    /// It takes it.
    Takes(Standing),
}

/// How much a worker that takes a task is worth to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether it is on the VM's host.
    pub(super) local: bool,
    /// How soon it can begin.
    pub(super) readiness: Readiness,
    /// Its claims.
    pub(super) claims: usize,
    /// Its slots.
    slots: usize,
}

/// How soon a worker can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It is launched.
    Running,
    /// It is being launched, or will be because it has a claim.
    Launching,
    /// It is off, and has no claim yet.
    Off,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "launched",
            Self::Launching => "being launched",
            Self::Off => "off",
        })
    }
}

impl<'r, 'a> Candidates<'r, 'a> {
    pub(super) fn of(roll: &'r Roll<'a>, ledger: &'r Ledger<'a>, turn: Turn<'a>) -> Self {
        let mut candidates = Self { roll, ledger, turn, spares: false };
        candidates.spares = !turn.avoid.is_empty() && candidates.has_another();
        candidates
    }

    /// The places of the workers that the session's selector selects.
    pub(super) fn selected(&self) -> &'r [usize] {
        &self.roll.sessions[self.turn.member.at].selected
    }

    /// What each of the selected workers is to the task.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = (usize, Verdict<'a>)> {
        self.selected().iter().map(|place| (*place, self.of_selected(*place)))
    }

    /// What any worker is to the task.
    pub(super) fn verdict(&self, place: usize) -> Verdict<'a> {
        // The selected ones are in the order of their names, which is that of the roll.
        if self.selected().binary_search(&place).is_ok() { self.of_selected(place) } else { Verdict::NotSelected }
    }

    /// Whether some worker takes the task, now or by and by, with nobody's help.
    pub(super) fn has_some(&self) -> bool {
        self.selected().iter().any(|place| self.is_open(self.roll.workers[*place]))
    }

    /// The best worker that takes the task now.
    pub(super) fn best(&self) -> Option<(usize, Standing)> {
        let standing = |(place, verdict)| match verdict {
            Verdict::Takes(standing) => Some((place, standing)),
            _ => None,
        };
        // Of equals the first in the roll is taken.
        self.verdicts().filter_map(standing).min_by(|(_, one), (_, other)| one.order(other))
    }

    /// The workers that would be among these if they had not failed their tests.
    pub(super) fn failed(&self) -> impl Iterator<Item = usize> {
        self.verdicts().filter_map(|(place, verdict)| match verdict {
            Verdict::Unavailable(Unavailable { reason: TaskReason::TestFailed, .. }) => {
                (!self.is_spared(self.roll.workers[place])).then_some(place)
            }
            _ => None,
        })
    }

    fn of_selected(&self, place: usize) -> Verdict<'a> {
        let worker = self.roll.workers[place];
        if !self.is_in_reach(worker) {
            return Verdict::OtherHost;
        }
        let claims = self.ledger.claims(place);
        let readiness = match &worker.availability {
            Availability::Not(unavailable) => return Verdict::Unavailable(unavailable),
            Availability::Running => Readiness::Running,
            Availability::Off if claims == 0 => Readiness::Off,
            Availability::Launching | Availability::Off => Readiness::Launching,
        };
        if self.is_spared(worker) {
            return Verdict::Avoided;
        }
        if claims >= worker.slots {
            return Verdict::Full;
        }
        Verdict::Takes(Standing { local: self.is_local(worker), readiness, claims, slots: worker.slots })
    }

    fn has_another(&self) -> bool {
        let workers = self.selected().iter().map(|place| self.roll.workers[*place]);
        workers.filter(|worker| self.is_open(worker)).any(|worker| !self.turn.avoid.contains(&worker.name))
    }

    fn is_spared(&self, worker: &Worker) -> bool {
        self.spares && self.turn.avoid.contains(&worker.name)
    }

    /// Whether a worker takes the task as soon as it has a free slot.
    fn is_open(&self, worker: &Worker) -> bool {
        worker.slots > 0
            && self.is_in_reach(worker)
            && match &worker.availability {
                Availability::Not(unavailable) => passes(unavailable.reason),
                Availability::Running | Availability::Launching | Availability::Off => true,
            }
    }

    fn is_in_reach(&self, worker: &Worker) -> bool {
        match self.turn.member.session.placement {
            Placement::PreferSameHost => true,
            Placement::RequireSameHost => self.is_local(worker),
        }
    }

    fn is_local(&self, worker: &Worker) -> bool {
        let host = &self.turn.member.task.host;
        host.is_some() && *host == worker.host
    }
}

impl Standing {
    /// The better one is less: near, then soon, then with few claims for its size.
    fn order(&self, other: &Self) -> Ordering {
        let place = |standing: &Self| (!standing.local, standing.readiness);
        let mine = self.claims.saturating_mul(other.slots);
        let others = other.claims.saturating_mul(self.slots);
        place(self).cmp(&place(other)).then(mine.cmp(&others)).then(self.claims.cmp(&other.claims))
    }
}

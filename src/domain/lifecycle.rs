//! The life of a worker as a table: where it is, what happens, where that leads, and what is done on the hypervisor.
//!
//! The table decides nothing, [`plan`](super::plan::plan) does. The documentation is rendered from it, and a test leads
//! a worker along every row and fails if `plan` leads it elsewhere.

#[cfg(test)]
mod tests;

use super::effect::Effect;
use crate::api::worker_status::Phase;

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not declared yet.
    New,
    /// Declared, in this phase.
    In(Phase),
    /// Its declaration is gone, and its VM too.
    Gone,
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The Worker is created.
    Declared,
    /// A test is asked for, or a change asks for it by the policy `OnChange`, or it is time to repeat one that failed.
    TestWanted,
    /// The guest answers, and every check passes.
    ChecksPassed,
    /// The guest answers, every check passes, and its packages have newer versions, which ask for a reboot.
    PackagesOld,
    /// The guest answers, and a check fails.
    CheckFailed,
    /// The guest does not answer in time.
    GuestSilent,
    /// The Worker is edited; under the policy `Manual`, no test follows.
    Edited,
    /// The VM has taken the edited configuration.
    Applied,
    /// Somebody powers the VM on.
    PoweredOn,
    /// Somebody powers the VM off.
    PoweredOff,
    /// The VM was powered on, with nothing to do, for the grace period.
    GraceOver,
    /// Somebody deletes the VM; it counts as gone when two complete polls in a row do not have it.
    Vanished,
    /// A task is given to it.
    TaskGiven,
    /// The guest answers, every check passes, and a task waits for it.
    Launched,
    /// Its last task has ended; it is not declared to stay powered on.
    LastTaskEnded,
    /// Its guest has been silent under a task for so long that it is taken for dead.
    GuestDead,
    /// The Worker is deleted.
    Deleted,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Where the worker is.
    pub state: State,
    /// What happens.
    pub event: Event,
    /// Where it is when that has been answered.
    pub next: State,
    /// What is done on the hypervisor, in this order.
    pub effects: &'static [Effect],
}

const fn row(state: State, event: Event, next: State, effects: &'static [Effect]) -> Transition {
    Transition { state, event, next, effects }
}

const CONFIGURED: State = State::In(Phase::Configured);
const TESTING: State = State::In(Phase::Testing);
const WORKING: State = State::In(Phase::Working);
const IDLE: State = State::In(Phase::Idle);
const SHUT_DOWN: State = State::In(Phase::ShutDown);

/// The ways of a worker.
pub const TRANSITIONS: &[Transition] = &[
    row(State::New, Event::Declared, CONFIGURED, &[]),
    row(CONFIGURED, Event::TestWanted, TESTING, &[Effect::Create, Effect::Configure, Effect::GrowDisk, Effect::Start]),
    row(CONFIGURED, Event::TaskGiven, TESTING, &[Effect::Create, Effect::Configure, Effect::GrowDisk, Effect::Start]),
    row(CONFIGURED, Event::Edited, CONFIGURED, &[]),
    row(CONFIGURED, Event::Deleted, State::Gone, &[]),
    row(TESTING, Event::ChecksPassed, SHUT_DOWN, &[Effect::ShutDown]),
    row(TESTING, Event::PackagesOld, TESTING, &[Effect::Update, Effect::Reboot]),
    row(TESTING, Event::CheckFailed, SHUT_DOWN, &[Effect::ShutDown]),
    row(TESTING, Event::GuestSilent, SHUT_DOWN, &[Effect::ShutDown]),
    row(TESTING, Event::TaskGiven, TESTING, &[]),
    row(TESTING, Event::Launched, WORKING, &[]),
    row(TESTING, Event::Applied, SHUT_DOWN, &[]),
    row(TESTING, Event::Edited, SHUT_DOWN, &[Effect::ShutDown, Effect::Configure]),
    row(TESTING, Event::Vanished, CONFIGURED, &[]),
    row(TESTING, Event::Deleted, State::Gone, &[Effect::ShutDown, Effect::Destroy]),
    row(SHUT_DOWN, Event::TestWanted, TESTING, &[Effect::Start]),
    row(WORKING, Event::TaskGiven, WORKING, &[]),
    row(WORKING, Event::Edited, WORKING, &[]),
    row(WORKING, Event::TestWanted, WORKING, &[]),
    row(WORKING, Event::LastTaskEnded, SHUT_DOWN, &[Effect::ShutDown]),
    row(WORKING, Event::PoweredOff, SHUT_DOWN, &[]),
    row(WORKING, Event::GuestDead, SHUT_DOWN, &[Effect::PowerOff]),
    row(WORKING, Event::Vanished, CONFIGURED, &[]),
    row(WORKING, Event::Deleted, WORKING, &[]),
    row(SHUT_DOWN, Event::TaskGiven, TESTING, &[Effect::Start]),
    row(SHUT_DOWN, Event::Edited, TESTING, &[Effect::Configure]),
    row(SHUT_DOWN, Event::PoweredOn, IDLE, &[]),
    row(SHUT_DOWN, Event::Vanished, CONFIGURED, &[]),
    row(SHUT_DOWN, Event::Deleted, State::Gone, &[Effect::Destroy]),
    row(IDLE, Event::GraceOver, SHUT_DOWN, &[Effect::ShutDown]),
    row(IDLE, Event::PoweredOff, SHUT_DOWN, &[]),
    row(IDLE, Event::TestWanted, TESTING, &[Effect::ShutDown, Effect::Start]),
    row(IDLE, Event::TaskGiven, TESTING, &[Effect::ShutDown, Effect::Start]),
    row(IDLE, Event::Vanished, CONFIGURED, &[]),
    row(IDLE, Event::Deleted, State::Gone, &[Effect::ShutDown, Effect::Destroy]),
];

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::In(phase) => phase.as_str(),
            Self::Gone => "gone",
        }
    }
}

impl Event {
    /// In a few words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::TestWanted => "test wanted",
            Self::ChecksPassed => "every check passed",
            Self::PackagesOld => "every check passed, its packages are old",
            Self::CheckFailed => "a check failed",
            Self::GuestSilent => "the guest does not answer in time",
            Self::Edited => "edited, no test follows",
            Self::Applied => "configuration applied",
            Self::PoweredOn => "powered on by hand",
            Self::PoweredOff => "powered off by hand",
            Self::GraceOver => "idle for the grace period",
            Self::Vanished => "the VM vanished",
            Self::TaskGiven => "a task is given to it",
            Self::Launched => "every check passed, a task waits",
            Self::LastTaskEnded => "its last task ended",
            Self::GuestDead => "its guest is dead under a task",
            Self::Deleted => "deleted",
        }
    }
}

/// What an effect does, in a few words.
pub const fn words(effect: Effect) -> &'static str {
    match effect {
        Effect::Download => "download its image",
        Effect::Create => "make the VM",
        Effect::Configure => "set its configuration",
        Effect::GrowDisk => "grow its disk",
        Effect::Start => "power it on",
        Effect::Update => "update its packages",
        Effect::Reboot => "reboot it",
        Effect::ShutDown => "shut it down",
        Effect::PowerOff => "cut its power",
        Effect::Destroy => "delete it with its disks",
    }
}

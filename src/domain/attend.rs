//! What each claim on a worker needs next: begun, ended, given back, or left alone.
//!
//! A command is started once at most in an attempt: the guest's guard sees to that. What is decided here is when to
//! start it at all, and what its end means. As long as an attempt may be running, its claim is not released.

use jiff::{SignedDuration, Timestamp};

use super::attempt::{AttemptState, End, Ended, Sight};
use super::availability::Unavailable;
use super::claims::{Claim, Ending, Held, OpenTask, TaskSight};
use crate::api::reasons::TaskReason;
use crate::api::task::TaskPhase;

#[cfg(test)]
mod tests;

/// What is known of the inside of the VM.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The VM is proven to be off, or gone: nothing runs in it.
    Off,
    /// The guest is not to be asked now. What has not begun can be settled without it.
    Unasked,
    /// It does not answer.
    Silent,
    /// It answers.
    Told {
        /// What it tells.
        sight: &'a Sight,
        /// Whether this boot of it was launched for work, so that tasks may begin.
        launched: bool,
    },
}

/// What one claim needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The claim.
    pub claim: Claim,
    /// What it needs.
    pub act: Act,
}

/// What a claim needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// See whether there is such a task.
    Ask,
    /// Start its command, if task and session still want it.
    Start,
    /// Its command runs, or the worker is ready for whom it is leased to: that is to be said.
    Begun,
    /// End its command, or see to it that it never begins.
    Stop,
    /// It is over: say so, then release the claim.
    Finish(Finish),
    /// This attempt is over and another one follows: the task goes back to the queue, then the claim is released.
    Requeue(Requeue),
    /// Nothing needs the claim any more.
    Release,
    /// Somebody took the claim out of the status while its task runs: it is put back.
    Reclaim,
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// As what.
    pub phase: TaskPhase,
    /// Why.
    pub reason: TaskReason,
    /// Why, for people.
    pub message: String,
    /// The command's end, if it has one.
    pub end: Option<End>,
    /// Whether the worker was lost under it.
    pub lost: bool,
}

/// How a task ends that nothing runs of.
impl From<&Ending> for Finish {
    fn from(ending: &Ending) -> Self {
        let (phase, reason, message) = (ending.phase, ending.reason, ending.message.clone());
        Self { phase, reason, message, end: None, lost: false }
    }
}

/// Why a task goes back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requeue {
    /// Its worker takes no tasks now, and it had not begun there.
    GivenBack(Unavailable),
    /// Its command failed, and may be tried again, elsewhere if there is a choice.
    Failed(Finish),
    /// The worker was lost under it.
    Lost(String),
}

impl Act {
    /// Whether it changes something in the guest.
    pub fn is_call(&self) -> bool {
        matches!(self, Self::Start | Self::Stop)
    }

    /// Whether it says that the worker was lost under a task, so that it must be tested before it gets another one.
    pub fn tells_of_loss(&self) -> bool {
        match self {
            Self::Requeue(Requeue::Lost(_)) => true,
            Self::Finish(finish) => finish.lost,
            _ => false,
        }
    }
}

/// What each claim needs next; those that need nothing are left out. `refuses`: why the worker takes no tasks that have
/// not begun; `slots`: how many tasks it has room for.
pub fn steps(
    claims: &[Held],
    slots: usize,
    place: Place<'_>,
    refuses: Option<&Unavailable>,
    now: Timestamp,
) -> Vec<Step> {
    let is_full = claims.iter().filter(|held| held.listed).count() >= slots;
    let full = is_full.then(|| Unavailable::new(TaskReason::Busy, "its worker had no slot left for it"));
    let step = |held: &Held| {
        let refuses = refuses.or(full.as_ref().filter(|_| !held.listed));
        let act = act(held, place, refuses, now)?;
        Some(Step { claim: held.claim.clone(), act })
    };
    claims.iter().filter_map(step).collect()
}

fn act(held: &Held, place: Place<'_>, refuses: Option<&Unavailable>, now: Timestamp) -> Option<Act> {
    match &held.task {
        TaskSight::Missing => Some(Act::Ask),
        TaskSight::Gone | TaskSight::Over if !held.listed => None,
        TaskSight::Gone | TaskSight::Over => unwanted(held, place),
        TaskSight::Open(task) if held.listed => claimed(held, task, place, refuses, now),
        TaskSight::Open(task) => unclaimed(held, task, place, refuses, now),
    }
}

fn claimed(
    held: &Held,
    task: &OpenTask,
    place: Place<'_>,
    refuses: Option<&Unavailable>,
    now: Timestamp,
) -> Option<Act> {
    if task.command { command(held, task, place, refuses, now) } else { lease(task, place, refuses) }
}

/// A task that says it has the worker and holds no slot of it: whoever is giving it the worker has not finished with that,
/// or somebody took the claim away. What has begun gets its slot again. What has not waits for one, unless it is to end,
/// or the worker takes nothing any more: nobody else would say so then.
fn unclaimed(
    held: &Held,
    task: &OpenTask,
    place: Place<'_>,
    refuses: Option<&Unavailable>,
    now: Timestamp,
) -> Option<Act> {
    let seen = match place {
        Place::Told { sight, .. } => sight.of(&held.claim.attempt_id()),
        Place::Off | Place::Unasked | Place::Silent => None,
    };
    if task.begun || seen.is_some_and(|state| *state != AttemptState::Stopped) {
        return Some(Act::Reclaim);
    }
    let is_over = task.ending.is_some() || refuses.is_some() || seen.is_some();
    is_over.then(|| claimed(held, task, place, refuses, now)).flatten()
}

/// Nobody waits for this attempt any more: what runs of it is stopped, and then the slot is free.
fn unwanted(held: &Held, place: Place<'_>) -> Option<Act> {
    match place {
        Place::Off => Some(Act::Release),
        Place::Unasked | Place::Silent => None,
        Place::Told { sight, .. } => match sight.of(&held.claim.attempt_id()) {
            Some(AttemptState::Starting | AttemptState::Running) => Some(Act::Stop),
            _ => Some(Act::Release),
        },
    }
}

fn command(
    held: &Held,
    task: &OpenTask,
    place: Place<'_>,
    refuses: Option<&Unavailable>,
    now: Timestamp,
) -> Option<Act> {
    match place {
        Place::Silent => None,
        Place::Off if task.begun => Some(lost(task, "the worker's VM was powered off or deleted while it ran")),
        Place::Unasked if task.begun => None,
        Place::Off | Place::Unasked => unbegun(task, refuses),
        Place::Told { sight, launched } => match sight.of(&held.claim.attempt_id()) {
            None if task.begun => Some(lost(task, "the worker's guest knows nothing of it any more")),
            None if task.ending.is_some() || refuses.is_some() => Some(Act::Stop),
            None => launched.then_some(Act::Start),
            Some(AttemptState::Starting) => None,
            Some(AttemptState::Running) if task.ending.is_some() => Some(Act::Stop),
            Some(AttemptState::Running) => (!task.begun).then_some(Act::Begun),
            Some(AttemptState::Ended(end)) => Some(ended(task, end, now)),
            Some(AttemptState::Lost) => Some(lost(task, "the worker's guest was rebooted while it ran")),
            Some(AttemptState::NoResult) => {
                Some(lost(task, "it left no result in the worker's guest, whose disk may be full"))
            }
            Some(AttemptState::Stopped) => Some(stopped(task, refuses)),
        },
    }
}

/// A task that has not begun here ends, goes back to the queue, or waits for its worker.
fn unbegun(task: &OpenTask, refuses: Option<&Unavailable>) -> Option<Act> {
    match (&task.ending, refuses) {
        (Some(ending), _) => Some(Act::Finish(by(ending, None))),
        (None, Some(why)) => Some(Act::Requeue(Requeue::GivenBack(why.clone()))),
        (None, None) => None,
    }
}

/// It was seen to that it never begins in this attempt.
fn stopped(task: &OpenTask, refuses: Option<&Unavailable>) -> Act {
    unbegun(task, refuses).unwrap_or_else(|| {
        let why = Unavailable::new(TaskReason::Unavailable, "it took none for a moment");
        Act::Requeue(Requeue::GivenBack(why))
    })
}

fn lost(task: &OpenTask, why: &str) -> Act {
    match &task.ending {
        Some(ending) => Act::Finish(Finish { lost: true, ..by(ending, None) }),
        None if task.was_lost || !task.command => Act::Finish(Finish {
            phase: TaskPhase::Failed,
            reason: TaskReason::WorkerLost,
            message: why.to_owned(),
            end: None,
            lost: true,
        }),
        None => Act::Requeue(Requeue::Lost(why.to_owned())),
    }
}

/// The command has ended: by itself, or because it was to.
fn ended(task: &OpenTask, end: &End, now: Timestamp) -> Act {
    let finished = now.checked_sub(SignedDuration::try_from(end.finished_ago).unwrap_or(SignedDuration::MAX));
    let is_late = |ending: &Ending| {
        ending.deadline.is_some_and(|deadline| finished.as_ref().is_ok_and(|finished| *finished > deadline))
    };
    match &task.ending {
        Some(ending) if end.result == Ended::Stopped || is_late(ending) => Act::Finish(by(ending, Some(end))),
        _ => {
            let finish = own(end);
            let again = task.retries_left && task.ending.is_none() && finish.phase != TaskPhase::Succeeded;
            if again { Act::Requeue(Requeue::Failed(finish)) } else { Act::Finish(finish) }
        }
    }
}

/// What a command's own end means.
fn own(end: &End) -> Finish {
    let (phase, reason, message) = match &end.result {
        Ended::Exited(0) => {
            (TaskPhase::Succeeded, TaskReason::Succeeded, "its command ended with exit code 0".to_owned())
        }
        Ended::Exited(code) => {
            (TaskPhase::Failed, TaskReason::CommandFailed, format!("its command ended with exit code {code}"))
        }
        Ended::Signalled(signal) => {
            (TaskPhase::Failed, TaskReason::CommandFailed, format!("signal {signal} ended its command"))
        }
        Ended::TimedOut => {
            (TaskPhase::Failed, TaskReason::TimedOut, "its command ran for longer than run.timeout allows".to_owned())
        }
        Ended::Stopped => {
            (TaskPhase::Failed, TaskReason::CommandFailed, "its command was stopped from inside the worker".to_owned())
        }
        Ended::CouldNotStart(why) => {
            (TaskPhase::Failed, TaskReason::CouldNotStart, format!("its command could not be started: {why}"))
        }
    };
    Finish { phase, reason, message, end: Some(end.clone()), lost: false }
}

fn by(ending: &Ending, end: Option<&End>) -> Finish {
    Finish { end: end.cloned(), ..Finish::from(ending) }
}

/// Somebody outside works with the worker.
fn lease(task: &OpenTask, place: Place<'_>, refuses: Option<&Unavailable>) -> Option<Act> {
    match (&task.ending, place) {
        (Some(ending), _) => Some(Act::Finish(by(ending, None))),
        (None, Place::Off) if task.begun => {
            Some(lost(task, "the worker's VM was powered off or deleted under the lease"))
        }
        (None, Place::Told { launched: false, .. }) if task.begun => {
            Some(lost(task, "the worker's guest was rebooted under the lease"))
        }
        (None, _) if task.begun => None,
        (None, Place::Told { launched: true, .. }) if refuses.is_none() => Some(Act::Begun),
        (None, Place::Silent) => None,
        (None, _) => unbegun(task, refuses),
    }
}

//! What there is of attempts in a guest, at one look.

use std::time::Duration;

use jiff::Timestamp;

use super::reading::Reading;
use super::{AttemptId, answer};
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::GuestChannel;
use crate::guest::scripts::TASK_LOOK;

/// All attempts of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// Changes with each boot.
    pub boot_id: String,
    /// Every attempt that has a guard, by its name.
    pub attempts: Vec<Attempt>,
    /// Units of ours that are active and have no guard.
    pub strays: Vec<String>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which one.
    pub id: AttemptId,
    /// What became of it.
    pub state: AttemptState,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// Its guard is younger than a minute, and there is no unit yet.
    Starting,
    /// Its unit is there, though it may be on its way to its end.
    Running,
    /// It ended.
    Ended(End),
    /// There is a guard, but neither a unit nor a result, and there never will be: the guest went down in the middle of it.
    Lost,
    /// It was stopped before it began, and never will.
    Stopped,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub result: Ended,
    /// When it began, by the guest's clock.
    pub started: Timestamp,
    /// When it ended, by the guest's clock.
    pub finished: Timestamp,
    /// How long ago that was when the guest was looked at, by a clock that does not jump, so that another can place it. By the
    /// guest's wall clock if the guest booted since.
    pub finished_ago: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(i32),
    /// By a signal that we did not send, such as `KILL`.
    Signalled(String),
    /// It took longer than it may.
    TimedOut,
    /// We stopped it.
    Stopped,
    /// The command could not be started; why, for people.
    CouldNotStart(String),
}

/// Looks at all attempts of a guest, with one question.
pub async fn look(channel: &dyn GuestChannel, deadline: Duration) -> Result<Sight, Fault> {
    let sight = async {
        let output = channel.run(TASK_LOOK, &[], &[], deadline).await?;
        let records = answer::all(TASK_LOOK, &output, FaultKind::Other)?;
        Reading::of(&records).map(Reading::sight).map_err(super::unread(FaultKind::Other))
    };
    sight.await.map_err(|fault| fault.context("looking at the attempts in the guest"))
}

//! Attempts at tasks, as they are seen inside a worker's guest.
//!
//! An attempt leaves a guard in the guest before its command is started, so that it is started once at most, whatever
//! happens to the one who starts it. What became of it is read from the guard and from the unit of its name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// One attempt at one task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The UID of the task.
    pub task: String,
    /// Which attempt it is; the first one is 1.
    pub attempt: u32,
}

/// What is seen of all attempts in one guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The id of the guest's present boot.
    pub boot_id: String,
    /// Every attempt that has a guard.
    pub attempts: Vec<Attempt>,
    /// Units of ours that are active without a guard.
    pub strays: Vec<String>,
}

/// An attempt in a guest.
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
    /// Its guard was made a moment ago; its unit may be about to start.
    Starting,
    /// Its unit is active.
    Running,
    /// It ended, and left its result.
    Ended(End),
    /// Its guard is there, but neither its unit nor a result: the guest was rebooted, or died, in the middle of it.
    Lost,
    /// It was stopped before it began, and can never begin.
    Stopped,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The result.
    pub result: Ended,
    /// When it began, by the guest's clock.
    pub started: Timestamp,
    /// When it ended, by the guest's clock.
    pub finished: Timestamp,
    /// How long ago it ended: the guest's clock need not agree with ours.
    pub finished_ago: Duration,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It ended with this exit code.
    Exited(i32),
    /// This signal ended it, such as `KILL`.
    Signalled(String),
    /// It ran for longer than it may, and was ended.
    TimedOut,
    /// It was ended because we asked for that.
    Stopped,
    /// It never ran: no such program, no such user. The text says which.
    CouldNotStart(String),
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.attempt)
    }
}

/// A text that names no attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an attempt, which is the UID of a task, a dot and a number")]
pub struct NotAnAttempt(String);

impl FromStr for AttemptId {
    type Err = NotAnAttempt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotAnAttempt(text.chars().take(80).collect());
        let (task, attempt) = text.rsplit_once('.').ok_or_else(bad)?;
        let is_uid = !task.is_empty() && task.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let is_number = !attempt.starts_with('0') && attempt.bytes().all(|byte| byte.is_ascii_digit());
        let number = attempt.parse().map_err(|_| bad())?;
        if is_uid && is_number { Ok(Self { task: task.to_owned(), attempt: number }) } else { Err(bad()) }
    }
}

impl Sight {
    /// What became of an attempt; `None` if it has never been heard of here.
    pub fn of(&self, id: &AttemptId) -> Option<&AttemptState> {
        self.attempts.iter().find(|attempt| attempt.id == *id).map(|attempt| &attempt.state)
    }

    /// The attempts that run, or may be about to.
    pub fn active(&self) -> impl Iterator<Item = &AttemptId> {
        let is_active = |attempt: &&Attempt| matches!(attempt.state, AttemptState::Starting | AttemptState::Running);
        self.attempts.iter().filter(is_active).map(|attempt| &attempt.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_attempt_is_read_as_it_is_written() {
        let id = AttemptId { task: "0f3c-9".into(), attempt: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", ".", "a.", ".1", "a.0", "a.01", "a.-1", "a.1x", "g.1", "../a.1", "a.99999999999", "A.1"] {
            assert!(text.parse::<AttemptId>().is_err(), "{text}");
        }
    }
}

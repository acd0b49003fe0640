//! Attempts at tasks, as they are seen inside a worker's guest.
//!
//! An attempt leaves a guard in the guest before its command is started, so that it is started once at most, whatever
//! happens to the one who starts it. What became of it is read from the guard and from the unit of its name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

pub(crate) use crate::api::variables::belongs_to_shells;

/// One attempt at one task. As a text it is `UID.NUMBER`, the name of its guard and a part of its unit's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The UID of the task, as Kubernetes writes it: `0-9`, `a-f` and `-`.
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
    /// Other units of ours that are active: those of attempts without a guard, and of updates.
    pub strays: Vec<String>,
}

/// An attempt in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which one.
    pub id: AttemptId,
    /// How long ago its guard was made. Over a reboot that is as good as the guest's wall clock.
    pub age: Duration,
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
    /// Its guard is of an earlier boot, and there is no result: the guest was rebooted, or died, in the middle of it.
    Lost,
    /// Its guard is of this boot, but there is neither its unit nor a result: that could not be written, or what wrote it was
    /// killed.
    NoResult,
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

impl AttemptId {
    /// The systemd unit that runs it.
    pub fn unit(&self) -> String {
        format!("stevedore-task-{self}.service")
    }

    /// The attempt whose unit this is.
    pub fn of_unit(unit: &str) -> Option<Self> {
        unit.strip_prefix("stevedore-task-")?.strip_suffix(".service")?.parse().ok()
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.attempt)
    }
}

/// A text that names no attempt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not the name of an attempt: a UID, a dot and a number")]
pub struct NoAttempt(String);

impl FromStr for AttemptId {
    type Err = NoAttempt;

    fn from_str(text: &str) -> Result<Self, NoAttempt> {
        let read = || {
            let (task, attempt) = text.split_once('.')?;
            let fits = |letter: char| matches!(letter, '0'..='9' | 'a'..='f' | '-');
            let uid = (1..=64).contains(&task.len()) && task.chars().all(fits);
            let id = uid.then_some(Self { task: task.to_owned(), attempt: attempt.parse().ok()? })?;
            // One attempt has one name: no sign and no zeros in front of the number.
            (id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| NoAttempt(text.to_owned()))
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_read_back() {
        let id = AttemptId { task: "0b5e7c1e-0000-4000-8000-00000000000a".into(), attempt: 12 };
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(id.unit(), "stevedore-task-0b5e7c1e-0000-4000-8000-00000000000a.12.service");
        assert_eq!(AttemptId::of_unit(&id.unit()), Some(id));
        assert_eq!(AttemptId::of_unit("stevedore-task-x.service"), None);
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in ["", "a", ".1", "a.", "a.01", "a.+1", "a.1.2", "A.1", "../x.1", "a b.1", "a.4294967296", "a/b.1"] {
            let error = text.parse::<AttemptId>().unwrap_err().to_string();
            assert!(error.ends_with("is not the name of an attempt: a UID, a dot and a number"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_has_that_name(text in "[0-9a-f.-]{0,12}") {
            if let Ok(id) = text.parse::<AttemptId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}

//! The name of an attempt in its guest.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::domain::fault::{Fault, FaultKind};

/// One attempt at a task. As a text it is `UID.NUMBER`, the name of its guard and a part of its unit's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The UID of the task, as Kubernetes writes it: `0-9`, `a-f` and `-`.
    pub task: String,
    /// The number of the attempt.
    pub attempt: u32,
}

/// A text that names no attempt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not the name of an attempt: a UID, a dot and a number")]
pub struct NoAttempt(String);

impl AttemptId {
    /// The systemd unit that runs it.
    pub fn unit(&self) -> String {
        format!("stevedore-task-{self}.service")
    }

    /// The attempt whose unit this is.
    pub fn of_unit(unit: &str) -> Option<Self> {
        unit.strip_prefix("stevedore-task-")?.strip_suffix(".service")?.parse().ok()
    }

    /// Its name, if that is one that a guest takes.
    pub(super) fn checked(&self) -> Result<String, Fault> {
        let name = self.to_string();
        match name.parse::<Self>() {
            Ok(_) => Ok(name),
            Err(error) => Err(Fault::new(FaultKind::Refused, error.to_string())),
        }
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.attempt)
    }
}

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
        let id = AttemptId { task: "$(reboot)".into(), attempt: 1 };
        assert_eq!(id.checked().unwrap_err().kind, FaultKind::Refused);
        assert!(AttemptId { task: "a".repeat(65), attempt: 1 }.checked().is_err());
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

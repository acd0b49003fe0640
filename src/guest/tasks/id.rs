//! The name of an attempt in its guest.

use crate::domain::attempt::AttemptId;
use crate::domain::fault::{Fault, FaultKind};

/// The name of an attempt, if that is one that a guest takes.
pub(super) fn checked(id: &AttemptId) -> Result<String, Fault> {
    let name = id.to_string();
    match name.parse::<AttemptId>() {
        Ok(_) => Ok(name),
        Err(error) => Err(Fault::new(FaultKind::Refused, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_uid_never_comes_into_a_guest() {
        for task in ["$(reboot)", "", "../x"] {
            assert_eq!(checked(&AttemptId { task: task.into(), attempt: 1 }).unwrap_err().kind, FaultKind::Refused);
        }
        assert!(checked(&AttemptId { task: "a".repeat(65), attempt: 1 }).is_err());
    }
}

//! What the scripts for attempts answer, with their complaints as faults.

use super::unread;
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::{Output, Script};
use crate::guest::records::{BadAnswer, Record, read};

/// The records of an answer. One that cannot be read is of the kind `kind`; one with a `problem` is a fault, too.
pub(super) fn all(script: Script, output: &Output, kind: FaultKind) -> Result<Vec<Record>, Fault> {
    let records = read(script, output).map_err(unread(kind.clone()))?;
    match records.iter().find(|record| record.key() == "problem") {
        Some(record) => Err(problem(record).unwrap_or_else(unread(kind))),
        None => Ok(records),
    }
}

/// The same for a script that answers with one record.
pub(super) fn one(script: Script, output: &Output, kind: FaultKind) -> Result<Record, Fault> {
    let mut records = all(script, output, kind.clone())?;
    match (records.pop(), records.is_empty()) {
        (Some(record), true) => Ok(record),
        _ => Err(unread(kind)(BadAnswer::new(script, "did not answer with one record"))),
    }
}

/// Without systemd nothing can run, however often it is asked.
fn problem(record: &Record) -> Result<Fault, BadAnswer> {
    let [program, text] = record.exactly()?;
    let kind = if program == "systemd-run" { FaultKind::Refused } else { FaultKind::Other };
    Ok(Fault::new(kind, format!("{program}: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::records::tests::printed;
    use crate::guest::scripts::{TASK_START, TASK_STOP};

    fn answer(lines: &str) -> Result<Record, Fault> {
        one(TASK_STOP, &printed(format!("script\ttask_stop\t1\n{lines}end\n")), FaultKind::UnknownOutcome)
    }

    #[test]
    fn a_complaint_of_the_guest_is_no_unknown_outcome() {
        assert_eq!(answer("asked\ta.1\n").unwrap().key(), "asked");
        let fault = answer("problem\tmkdir\tNo space left on device\n").unwrap_err();
        assert_eq!(fault, Fault::new(FaultKind::Other, "mkdir: No space left on device"));
        assert_eq!(answer("problem\tsystemd-run\tsystemd is not there\n").unwrap_err().kind, FaultKind::Refused);
    }

    #[test]
    fn what_cannot_be_read_is_of_the_callers_kind() {
        for lines in ["", "asked\ta.1\nasked\ta.1\n", "problem\tmkdir\n"] {
            assert_eq!(answer(lines).unwrap_err().kind, FaultKind::UnknownOutcome, "{lines}");
        }
        let other = one(TASK_START, &printed("script\ttask_stop\t1\nend\n"), FaultKind::Other);
        assert_eq!(other.unwrap_err().kind, FaultKind::Other);
    }
}

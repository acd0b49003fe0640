//! Updates of a guest's packages, each started once for the operation that wants it, whatever arrives twice or late.
//!
//! As with [`tasks`](super::tasks), a guard in the guest is made before anything is started, and a systemd unit does the
//! work, keeps the time limit and writes down how it ended. The package manager, apt or dnf, is found by itself. A proxy
//! with its password travels by standard input alone, and is in memory only, for as long as the update runs.

use std::time::Duration;

use self::proxy::Ready;
use super::channel::{GuestChannel, Output, Script};
use super::records::{BadAnswer, Record, read};
use super::scripts::{UPDATE, UPDATE_LOOK, UPDATE_REBOOT, UPDATE_UNIT};
use crate::domain::fault::{Fault, FaultKind};

mod proxy;
mod reading;

pub use crate::domain::update::{PackageManager, UpdateEnd, UpdateResult, UpdateSight, UpdateState};
pub use proxy::Proxy;

/// An update that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateOrder {
    /// How long it may take, in whole seconds.
    pub timeout: Duration,
    /// The proxy through which packages are fetched, instead of the one that the guest may name.
    pub proxy: Option<Proxy>,
}

/// Starts the update that an operation wants, unless that was done before. That it was started does not say that it could
/// begin, which [`look`] tells. A fault of the kind [`UnknownOutcome`](FaultKind::UnknownOutcome) says that it may have been
/// started; asking again is always safe. A `deadline` of 60 s or more is wise.
pub async fn start(
    channel: &dyn GuestChannel,
    operation: &str,
    order: &UpdateOrder,
    deadline: Duration,
) -> Result<(), Fault> {
    let started = async {
        let name = named(operation)?;
        let proxy = order.proxy.as_ref().map(Ready::of).transpose();
        let input = proxy.map_err(|why| Fault::new(FaultKind::Refused, why))?.map(Ready::input).unwrap_or_default();
        let seconds = order.timeout.as_secs().max(1).to_string();
        let args = [name, seconds, UPDATE_UNIT.text.to_owned()];
        let output = channel.run(UPDATE, &args, &input, deadline).await?;
        let answer = one(UPDATE, &output, FaultKind::UnknownOutcome)?;
        match answer.key() {
            "started" | "guarded" => Ok(()),
            "unsure" => {
                Err(Fault::new(FaultKind::UnknownOutcome, "systemd did not answer in time; it may have been started"))
            }
            _ => Err(odd(&answer, FaultKind::UnknownOutcome)),
        }
    };
    started.await.map_err(|fault: Fault| fault.context("starting the update of the guest's packages"))
}

/// Looks what became of the update that an operation wants, with one question.
pub async fn look(channel: &dyn GuestChannel, operation: &str, deadline: Duration) -> Result<UpdateSight, Fault> {
    let sight = async {
        let output = channel.run(UPDATE_LOOK, &[named(operation)?], &[], deadline).await?;
        reading::sight(&all(UPDATE_LOOK, &output, FaultKind::Other)?).map_err(unread(FaultKind::Other))
    };
    sight.await.map_err(|fault| fault.context("looking at the update of the guest's packages"))
}

/// Has a guest that is in the boot `boot_id` reboot in a moment. In another boot it has happened already, and nothing is done.
pub async fn reboot(channel: &dyn GuestChannel, boot_id: &str, deadline: Duration) -> Result<(), Fault> {
    let asked = async {
        let output = channel.run(UPDATE_REBOOT, &[boot_id.to_owned()], &[], deadline).await?;
        let answer = one(UPDATE_REBOOT, &output, FaultKind::UnknownOutcome)?;
        match answer.key() {
            "asked" | "over" => Ok(()),
            "unsure" => Err(Fault::new(FaultKind::UnknownOutcome, "systemd did not answer in time; it may reboot yet")),
            _ => Err(odd(&answer, FaultKind::UnknownOutcome)),
        }
    };
    asked.await.map_err(|fault: Fault| fault.context("rebooting the guest after its update"))
}

/// The operation as the name of a folder and a part of a unit's name.
fn named(operation: &str) -> Result<String, Fault> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if (1..=64).contains(&operation.len()) && operation.chars().all(fits) {
        return Ok(operation.to_owned());
    }
    Err(Fault::new(FaultKind::Refused, format!("{operation:?} cannot be the name of an update")))
}

/// The records of an answer. One that cannot be read is of the kind `kind`; one with a `problem` is a fault, too.
fn all(script: Script, output: &Output, kind: FaultKind) -> Result<Vec<Record>, Fault> {
    let records = read(script, output).map_err(unread(kind.clone()))?;
    match records.iter().find(|record| record.key() == "problem") {
        Some(record) => Err(problem(record).unwrap_or_else(unread(kind))),
        None => Ok(records),
    }
}

/// The same for a script that answers with one record.
fn one(script: Script, output: &Output, kind: FaultKind) -> Result<Record, Fault> {
    let mut records = all(script, output, kind.clone())?;
    match (records.pop(), records.is_empty()) {
        (Some(record), true) => Ok(record),
        _ => Err(unread(kind)(BadAnswer::new(script, "did not answer with one record"))),
    }
}

/// What a guest lacks it will lack the next time, too.
fn problem(record: &Record) -> Result<Fault, BadAnswer> {
    let [program, text] = record.exactly()?;
    let kind = if matches!(program, "systemd-run" | "reboot") { FaultKind::Refused } else { FaultKind::Other };
    Ok(Fault::new(kind, format!("{program}: {text}")))
}

fn odd(record: &Record, kind: FaultKind) -> Fault {
    Fault::new(kind, record.bad("nothing of that name is known").to_string())
}

/// A script's answer that cannot be read, as a fault.
fn unread(kind: FaultKind) -> impl FnOnce(BadAnswer) -> Fault {
    move |bad| Fault::new(kind, bad.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::records::tests::printed;

    fn answer(lines: &str) -> Result<Record, Fault> {
        one(UPDATE, &printed(format!("script\tupdate\t1\n{lines}end\n")), FaultKind::UnknownOutcome)
    }

    #[test]
    fn a_complaint_of_the_guest_is_no_unknown_outcome() {
        assert_eq!(answer("started\top-1\n").unwrap().key(), "started");
        let fault = answer("problem\tmkdir\tNo space left on device\n").unwrap_err();
        assert_eq!(fault, Fault::new(FaultKind::Other, "mkdir: No space left on device"));
        assert_eq!(answer("problem\tsystemd-run\tsystemd is not there\n").unwrap_err().kind, FaultKind::Refused);
        for lines in ["", "started\top-1\nstarted\top-1\n", "problem\tmkdir\n"] {
            assert_eq!(answer(lines).unwrap_err().kind, FaultKind::UnknownOutcome, "{lines}");
        }
    }

    #[test]
    fn what_could_leave_its_folder_is_no_name() {
        assert_eq!(named("3f0e-op").unwrap(), "3f0e-op");
        for operation in ["", "a/b", "..", "a b", "*", &"a".repeat(65)] {
            assert_eq!(named(operation).unwrap_err().kind, FaultKind::Refused, "{operation}");
        }
    }
}

//! Attempts at tasks: commands that run in a guest as systemd units, each begun at most once, whatever arrives twice or late.
//!
//! Each attempt has a guard in the guest: a folder that is made once, before anything is started, and that stays on the
//! disk. Who finds it there starts nothing. Its unit is independent of the guest agent, keeps the command's time limit, and
//! writes into the guard how the command ended. So whoever looks again after an hour, or after a reboot, finds all that
//! there is to know; `scripts/tasks.sh` says what a guard holds.

use std::time::Duration;

use self::answer::one;
use self::command::Ready;
use super::channel::{GuestChannel, Script};
use super::records::{BadAnswer, Record};
use super::scripts::{TASK_FORGET, TASK_STAGE, TASK_START, TASK_STOP, TASK_UNIT};
use crate::domain::fault::{Fault, FaultKind};

mod answer;
mod command;
mod id;
mod output;
mod reading;
mod sight;

pub use crate::domain::attempt::{Attempt, AttemptId, AttemptState, End, Ended, Sight};
pub use command::Command;
use id::checked;
pub use output::{LARGEST_PIECE, read, tail};
pub use sight::look;

/// How often the pieces of a command are staged before the start is given up.
const STAGINGS: u32 = 2;
/// How many guards one call removes.
const FORGOTTEN_AT_ONCE: usize = 200;

/// What came of starting an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It was begun now. That does not say that its command could be started, which [`look`] tells.
    Started,
    /// Its guard stood there already: it was begun before, or was stopped before it could begin.
    Guarded,
}

/// Begins an attempt, unless that was done before or it was stopped. A fault of the kind
/// [`UnknownOutcome`](FaultKind::UnknownOutcome) says that it may have begun; asking again is always safe.
///
/// Each question to the guest gets `deadline` (60 s or more are wise); a command of up to 47 KiB takes one.
pub async fn start(
    channel: &dyn GuestChannel,
    id: &AttemptId,
    command: &Command,
    deadline: Duration,
) -> Result<Begun, Fault> {
    let starting = Starting { channel, name: checked(id)?, deadline };
    let command = command.ready().map_err(|why| Fault::new(FaultKind::Refused, why));
    let begun = async {
        let command = command?;
        for _ in 0..STAGINGS {
            if let Some(begun) = starting.stage_and_begin(&command).await? {
                return Ok(begun);
            }
        }
        let why =
            "the pieces of its command do not make a whole: another start came between, or the channel changes them";
        Err(Fault::new(FaultKind::Busy, why))
    };
    begun.await.map_err(|fault| fault.context(format_args!("beginning the attempt {id} in the guest")))
}

/// One start of an attempt.
struct Starting<'a> {
    channel: &'a dyn GuestChannel,
    name: String,
    deadline: Duration,
}

impl Starting<'_> {
    /// Brings the command into the guest and starts it; nothing came of it if the pieces in the guest are not of one command.
    async fn stage_and_begin(&self, command: &Ready) -> Result<Option<Begun>, Fault> {
        let Some((last, others)) = command.pieces.split_last() else { return Ok(None) };
        for (number, piece) in (1..).zip(others) {
            let args = [self.name.clone(), number.to_string()];
            let answer = self.ask(TASK_STAGE, &args, piece, FaultKind::Other).await?;
            match answer.key() {
                "staged" => {}
                "guarded" => return Ok(Some(Begun::Guarded)),
                _ => return Err(odd(&answer, FaultKind::Other)),
            }
        }
        let (pieces, seconds) = (command.pieces.len().to_string(), command.seconds.to_string());
        let args = [self.name.clone(), pieces, command.user.clone(), seconds, TASK_UNIT.text.to_owned()];
        let answer = self.ask(TASK_START, &args, last, FaultKind::UnknownOutcome).await?;
        match answer.key() {
            "started" => Ok(Some(Begun::Started)),
            "guarded" => Ok(Some(Begun::Guarded)),
            "incomplete" => Ok(None),
            "unsure" => Err(Fault::new(FaultKind::UnknownOutcome, "systemd did not answer in time; it may have begun")),
            _ => Err(odd(&answer, FaultKind::UnknownOutcome)),
        }
    }

    /// Runs a script; an answer that cannot be read is of the kind `unread`.
    async fn ask(&self, script: Script, args: &[String], stdin: &[u8], unread: FaultKind) -> Result<Record, Fault> {
        let output = self.channel.run(script, args, stdin, self.deadline).await?;
        one(script, &output, unread)
    }
}

fn odd(record: &Record, kind: FaultKind) -> Fault {
    Fault::new(kind, record.bad("nothing of that name is known").to_string())
}

/// Stops an attempt: SIGTERM, and SIGKILL after 30 s. One that was not begun never will be. Does not wait for its end.
pub async fn stop(channel: &dyn GuestChannel, id: &AttemptId, deadline: Duration) -> Result<(), Fault> {
    let args = [checked(id)?];
    let stopped = async {
        let output = channel.run(TASK_STOP, &args, &[], deadline).await?;
        let answer = one(TASK_STOP, &output, FaultKind::UnknownOutcome)?;
        match answer.key() {
            "asked" | "forestalled" => Ok(()),
            _ => Err(odd(&answer, FaultKind::UnknownOutcome)),
        }
    };
    stopped.await.map_err(|fault: Fault| fault.context(format_args!("stopping the attempt {id} in the guest")))
}

/// Removes the guards of attempts, with their output; not of those that run or are about to.
///
/// A start of one of them that arrives later would begin it. So this is for attempts whose starts cannot be on the way any
/// more, as after a reboot.
pub async fn forget(channel: &dyn GuestChannel, ids: &[AttemptId], deadline: Duration) -> Result<(), Fault> {
    let names = ids.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    for names in names.chunks(FORGOTTEN_AT_ONCE) {
        let forgotten = async {
            let output = channel.run(TASK_FORGET, names, &[], deadline).await?;
            forgotten(&answer::all(TASK_FORGET, &output, FaultKind::UnknownOutcome)?)
        };
        forgotten.await.map_err(|fault| fault.context("forgetting attempts in the guest"))?;
    }
    Ok(())
}

fn forgotten(records: &[Record]) -> Result<(), Fault> {
    match records.iter().find(|record| !matches!(record.key(), "forgotten" | "kept")) {
        Some(record) => Err(odd(record, FaultKind::UnknownOutcome)),
        None => Ok(()),
    }
}

/// A script's answer that cannot be read, as a fault.
fn unread(kind: FaultKind) -> impl FnOnce(BadAnswer) -> Fault {
    move |bad| Fault::new(kind, bad.to_string())
}

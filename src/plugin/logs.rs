//! `kubectl stevedore logs TASK`: all that a task's command has printed, from inside the worker.
//!
//! The output stays in the guest as long as the worker's VM lives. It is read with the person's own right to the Secret of
//! the Hypervisor, and the values of the session's `secretEnv` are masked in it, as they are in the task's status. Where
//! it cannot be read, the end of it is printed as the status keeps it, and why.

mod chosen;
mod guest;
mod lack;
mod pour;
mod secrets;

use std::io::Write;

use kube::{Api, ResourceExt as _};

use self::chosen::Chosen;
use self::guest::Guest;
use self::lack::Lack;
use self::pour::Pour;
use super::{Person, PluginError};
use crate::api::WorkerTask;
use crate::domain::attempt::AttemptId;

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The task.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Which attempt, counted from 1; the latest if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "previous")]
    pub attempt: Option<u32>,
    /// The attempt before the latest.
    #[arg(long, short)]
    pub previous: bool,
    /// Goes on until the attempt ends.
    #[arg(long, short)]
    pub follow: bool,
}

/// Prints what the command of a task has printed to `out`, byte for byte but for masked secrets, and to `notes` what a
/// person should know about it.
///
/// # Errors
///
/// Why there is nothing to print, or not all of it.
pub async fn logs(
    person: &Person,
    args: &Args,
    out: &mut (dyn Write + Send),
    notes: &mut (dyn Write + Send),
) -> Result<(), PluginError> {
    let task = task(person, &args.task).await?;
    let chosen = Chosen::of(&task, args).map_err(PluginError::Nothing)?;
    let id = AttemptId { task: task.uid().unwrap_or_default(), attempt: chosen.attempt };
    let mut pour = Pour::new(person, &task, id, args.follow);
    let lack = match whole(person, &task, &chosen, &mut pour, out).await {
        Ok(()) => return Ok(()),
        Err(Stop::Error(error)) => return Err(error),
        Err(Stop::Lack(lack)) => lack,
    };
    // The task may have ended meanwhile: then there is an end to show.
    let task = self::task(person, &args.task).await?;
    instead(&task, &chosen, pour.has_printed(), &lack, out, notes)
}

/// Why the output is not printed, or not to its end.
enum Stop {
    /// It cannot be read from the guest.
    Lack(Lack),
    /// Something else went wrong.
    Error(PluginError),
}

impl From<Lack> for Stop {
    fn from(lack: Lack) -> Self {
        Self::Lack(lack)
    }
}

impl From<PluginError> for Stop {
    fn from(error: PluginError) -> Self {
        Self::Error(error)
    }
}

async fn task(person: &Person, name: &str) -> Result<WorkerTask, PluginError> {
    let tasks: Api<WorkerTask> = Api::namespaced(person.client.0.clone(), &person.namespace);
    let task = tasks.get_opt(name).await.map_err(PluginError::of(format!("reading WorkerTask {name}")))?;
    task.ok_or_else(|| PluginError::Absent {
        kind: "WorkerTask",
        plural: "workertasks",
        name: name.to_owned(),
        namespace: person.namespace.clone(),
    })
}

/// Prints all of it from inside the guest that has it.
async fn whole(
    person: &Person,
    task: &WorkerTask,
    chosen: &Chosen,
    pour: &mut Pour<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    // Without this nothing is read: what would be printed could not be printed.
    let mut masker = secrets::masker(person, task).await?;
    pour.until_begun(chosen).await?;
    let mut lacks = Vec::new();
    for worker in &chosen.workers {
        match Guest::of(person, worker).await? {
            Ok(guest) if guest.has(&pour.id).await.map_err(Lack::from)? => {
                return pour.from(guest, &mut masker, out).await;
            }
            Ok(_) => lacks.push(Lack::unknown(&worker.name, &pour.id)),
            Err(lack) => lacks.push(lack),
        }
    }
    Err(Lack::all(lacks, chosen, pour.follows()).into())
}

/// Prints the end of the output as the status keeps it, if it does, and says why it is no more.
fn instead(
    task: &WorkerTask,
    chosen: &Chosen,
    has_printed: bool,
    lack: &Lack,
    out: &mut (dyn Write + Send),
    notes: &mut (dyn Write + Send),
) -> Result<(), PluginError> {
    let status = task.status.clone().unwrap_or_default();
    let is_of_it = status.attempt.and_then(|attempt| u32::try_from(attempt).ok()) == Some(chosen.attempt);
    let Some(end) = status.output.filter(|_| is_of_it) else {
        return Err(PluginError::Nothing(format!("{}. The status of the task keeps no output of it either", lack.why)));
    };
    let overlap = if has_printed { ", some of which was printed already" } else { "" };
    let note = format!(
        "{}. This is the end of the output as the task's status keeps it, the last 4 KiB at most{overlap}:",
        lack.why
    );
    let printed = writeln!(notes, "{note}").and_then(|()| out.write_all(end.as_bytes()));
    printed.map_err(PluginError::Output)?;
    if lack.is_usual {
        Ok(())
    } else {
        Err(PluginError::Nothing("only the end of the output was printed, see above".into()))
    }
}

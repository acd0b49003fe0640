//! What became of a task.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::call::Call;
use super::connection::Connection;
use super::images::{self, advice};
use super::lenient::elements;
use super::params::Params;
use super::routes::{TASK_LOG, TASK_STATUS, TASKS};
use super::texts::{kind_of_text, one_line, without_queries};
use super::upid::Upid;
use super::wire::{LogLine, Task, TaskStatus};
use crate::clock::BootTime;
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::vm::{TaskHandle, TaskState};

/// How long a node's list of running tasks serves all who follow one of them.
const LIST_AGE: Duration = Duration::from_secs(1);
/// Entries of that list, at most.
const LIST_LENGTH: u32 = 1000;
/// Lines of a log that tell of a failure, at most.
const LAST_LINES: usize = 3;

/// The running tasks of each node, as listed a moment ago: many tasks are followed with one call that occupies no API
/// worker. Who comes while a list is under way waits for it, and shares what comes of it, a failure as well.
#[derive(Debug, Default)]
pub(super) struct RunningTasks(Mutex<HashMap<String, Arc<Mutex<Option<Listed>>>>>);

#[derive(Debug)]
struct Listed {
    at: BootTime,
    upids: Result<HashSet<String>, Fault>,
}

impl RunningTasks {
    async fn contains(&self, connection: &Connection, node: &str, upid: &str) -> Result<bool, Fault> {
        let listed = self.0.lock().await.entry(node.to_owned()).or_default().clone();
        let mut listed = timeout(connection.deadline, listed.lock()).await.map_err(|_| {
            let call = Call::new(&TASKS, &[node]);
            call.fault(call.unsent(), "not sent, others have asked the same and have no answer yet")
        })?;
        let young = listed.take().filter(|listed| connection.clock.boot().since(listed.at) < LIST_AGE);
        let latest = if let Some(young) = young {
            young
        } else {
            let upids = running(connection, node).await;
            let upids = upids.map(|tasks| tasks.into_iter().filter_map(|task| task.upid).collect());
            Listed { at: connection.clock.boot(), upids }
        };
        let Listed { upids, .. } = listed.insert(latest);
        upids.as_ref().map(|upids| upids.contains(upid)).map_err(Clone::clone)
    }
}

/// The tasks that run on `node` now.
pub(super) async fn running(connection: &Connection, node: &str) -> Result<Vec<Task>, Fault> {
    let params = Params::default().with("source", "active").with("limit", LIST_LENGTH);
    let tasks: Vec<Task> = elements(connection.value(&Call::new(&TASKS, &[node]).with(params)).await?);
    // The list has tasks that ended a moment ago, too, with their end as status.
    Ok(tasks.into_iter().filter(|task| task.status.as_deref() == Some("RUNNING")).collect())
}

/// The state of a task.
pub(super) async fn state(
    connection: &Connection,
    running: &RunningTasks,
    task: &TaskHandle,
) -> Result<TaskState, Fault> {
    let upid = Upid::parse(&task.0)?;
    if running.contains(connection, upid.node, &task.0).await? {
        return Ok(TaskState::Running);
    }
    let call = Call::new(&TASK_STATUS, &[upid.node, &task.0]);
    let status: TaskStatus = match connection.call(call).await {
        // Forgotten, or its node's disk was replaced (recorded 110).
        Err(fault) if fault.kind == FaultKind::Refused && fault.message.contains("no such task") => {
            return Ok(TaskState::Lost);
        }
        other => other?,
    };
    if status.status.as_deref() != Some("stopped") {
        return Ok(TaskState::Running);
    }
    ended(connection, &upid, task, status.exitstatus.as_deref().unwrap_or_default()).await
}

async fn ended(connection: &Connection, upid: &Upid<'_>, task: &TaskHandle, end: &str) -> Result<TaskState, Fault> {
    match end {
        "OK" if upid.kind != "qmdestroy" => Ok(TaskState::Succeeded { warnings: Vec::new() }),
        // A disk that was not removed shows in the log only: 8.4 ends with OK all the same (recorded 808).
        end if end == "OK" || end.starts_with("WARNINGS") => {
            let lines = log(connection, upid, task).await?;
            let warnings = lines.into_iter().filter(|line| is_warning(line)).collect();
            Ok(TaskState::Succeeded { warnings })
        }
        // Killed, or the node went down under it (recorded 340).
        "" | "unexpected status" => Ok(TaskState::Lost),
        end if end.starts_with("unable to get last line") || end.starts_with("unable to open") => Ok(TaskState::Lost),
        end => {
            let kind = kind_of_text(end).unwrap_or(FaultKind::Other);
            // The log only explains; that it cannot be read hides nothing of the outcome.
            let lines = log(connection, upid, task).await.unwrap_or_default();
            let mut message = explained(end, &lines);
            if upid.kind == images::TASK {
                message = format!("{}; {}", without_queries(&message), advice(end));
            }
            Ok(TaskState::Failed { message, kind })
        }
    }
}

/// The lines of a task's log but the last one, which repeats the status.
async fn log(connection: &Connection, upid: &Upid<'_>, task: &TaskHandle) -> Result<Vec<String>, Fault> {
    let call = Call::new(&TASK_LOG, &[upid.node, &task.0]).with(Params::default().with("limit", 0));
    let lines: Vec<LogLine> = elements(connection.value(&call).await?);
    let texts = lines.into_iter().filter_map(|line| line.t);
    Ok(texts.map(|text| one_line(&text)).filter(|text| !text.is_empty() && !text.starts_with("TASK ")).collect())
}

fn is_warning(line: &str) -> bool {
    let line = line.to_lowercase();
    ["could not remove", "warn", "unable to", "cannot", "can't"].iter().any(|sign| line.contains(sign))
}

/// The reason of a failed start stands one line above its error (recorded 820, 821).
fn explained(end: &str, lines: &[String]) -> String {
    let end = one_line(end);
    let said: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.starts_with("transferred ")).collect();
    let last = &said[said.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() { end } else { format!("{end} (log: {})", last.join(" / ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_the_log_above_it() {
        let lines = ["transferred 1 B".to_owned(), "bridge 'vmbr77' does not exist".to_owned()];
        assert_eq!(
            explained("start failed: QEMU exited with code 1\n", &lines),
            "start failed: QEMU exited with code 1 (log: bridge 'vmbr77' does not exist)"
        );
        assert_eq!(explained("x", &[]), "x");
    }
}

//! What the person who watches is shown, and has seen.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::goal::Goal;
use super::table::Table;
use super::{DemoError, EXAMPLES, kubectl, say};
use crate::api::worker_status::Phase;
use crate::controlplane::{ControlPlane, OperatorProcess};

/// What a demo must have shown of its workers.
const WAY: [Phase; 4] = [Phase::Configured, Phase::Testing, Phase::Working, Phase::ShutDown];

/// Who watches workers and tasks.
pub(super) struct Audience<'a> {
    plane: &'a ControlPlane,
    operator: &'a mut OperatorProcess,
    workers: Table,
    tasks: Table,
    /// The phases that stood in rows of workers.
    seen: BTreeSet<String>,
}

impl<'a> Audience<'a> {
    pub(super) fn new(plane: &'a ControlPlane, operator: &'a mut OperatorProcess) -> Self {
        let (workers, tasks) = (Table::default(), Table::default());
        Self { plane, operator, workers, tasks, seen: BTreeSet::new() }
    }

    /// Shows what changes until all is where it should be.
    pub(super) async fn follow(&mut self, goal: Goal, patience: Duration) -> Result<(), DemoError> {
        let end = Instant::now() + patience;
        loop {
            self.show().await?;
            let list = ["-n", EXAMPLES, "get", "workers,workersessions", "-o", "json"];
            let objects = kubectl(self.plane, &list).await?;
            let Some(missing) = goal.missing(&objects) else { return self.show().await };
            if let Some(status) = self.operator.ended() {
                return Err(DemoError::OperatorEnded { status: status.to_string(), log: self.operator.log_end() });
            }
            if goal.is_lost(&objects) {
                let why = kubectl(self.plane, &["-n", EXAMPLES, "describe", "workersessions,workertasks"]).await?;
                return Err(DemoError::Lost { missing, why });
            }
            if Instant::now() > end {
                say(&self.operator.log_end());
                return Err(DemoError::TooLong { patience, missing });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn show(&mut self) -> Result<(), DemoError> {
        let workers = kubectl(self.plane, &["-n", EXAMPLES, "get", "workers"]).await?;
        if let Some(text) = self.workers.changed(&workers) {
            self.seen.extend(second_cells(&text).map(str::to_owned));
            say(&text);
        }
        let tasks = kubectl(self.plane, &["-n", EXAMPLES, "get", "workertasks"]).await?;
        if let Some(text) = self.tasks.changed(&tasks) {
            say(&text);
        }
        Ok(())
    }

    /// That no phase of a worker's way was left out.
    pub(super) fn has_seen_all(&self) -> Result<(), DemoError> {
        let unseen = WAY.map(Phase::as_str).into_iter().filter(|phase| !self.seen.contains(*phase));
        let unseen: Vec<&str> = unseen.collect();
        if unseen.is_empty() {
            say(&format!("workers were seen in each of {}", WAY.map(Phase::as_str).join(", ")));
            return Ok(());
        }
        Err(DemoError::Unseen { phases: unseen.join(", ") })
    }
}

/// The second cell of each row below the header.
fn second_cells(table: &str) -> impl Iterator<Item = &str> {
    table.lines().skip(1).filter_map(|row| row.split_whitespace().nth(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_second_cell() {
        let table = "NAME       STATUS     READY\nworker-1   Working    True\nworker-2   ShutDown   True\n";
        assert_eq!(second_cells(table).collect::<Vec<_>>(), ["Working", "ShutDown"]);
        assert_eq!(second_cells("").count(), 0);
    }
}

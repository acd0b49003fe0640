//! What the tasks of a session add up to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::belonging::task_name;
use super::ending::{is_late, phase};
use crate::api::reasons::TaskReason;
use crate::api::session::SessionState;
use crate::api::session_status::{MAX_FAILED, MAX_WAITING, TaskCounts, WaitingTasks};
use crate::api::task::TaskPhase;
use crate::api::{WorkerSession, WorkerTask};

#[cfg(test)]
mod tests;

/// The longest message of a reason for waiting.
const LONGEST: usize = 1000;

/// What the tasks of a session add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there are in each phase.
    pub counts: TaskCounts,
    /// The names of the workers that tasks are on.
    pub workers: BTreeSet<String>,
    /// Why tasks wait, the most frequent reasons first.
    pub waiting: Vec<WaitingTasks>,
    /// The names of tasks that failed.
    pub failed: Vec<String>,
    /// When the first task began.
    pub started: Option<Timestamp>,
    /// Tasks whose worker is ready, with its address.
    pub ready: i32,
    /// Whether a task failed because a deadline had passed.
    pub late: bool,
}

/// The tasks of a session.
#[derive(Debug, Clone, Copy)]
pub struct Roll<'a, T> {
    /// The task for each of its VMs, if there is one.
    pub slots: &'a [Option<T>],
    /// Places of which the task cannot be made, because somebody else's has its name.
    pub blocked: &'a BTreeSet<usize>,
}

impl<T: AsRef<WorkerTask>> Roll<'_, T> {
    /// Adds up.
    pub fn tally(self, session: &WorkerSession, now: Timestamp) -> Tally {
        let mut tally = Tally::default();
        let mut waiting: BTreeMap<&str, WaitingTasks> = BTreeMap::new();
        for task in self.slots.iter().flatten().map(AsRef::as_ref) {
            tally.add(task);
            if let Some((reason, message)) = waits_for(task) {
                let entry = waiting.entry(reason).or_insert_with(|| first(task, reason, message));
                entry.tasks += 1;
            }
        }
        tally.waiting = waiting.into_values().collect();
        tally.waiting.sort_by_key(|one| std::cmp::Reverse(one.tasks));
        tally.waiting.truncate(MAX_WAITING);
        self.add_absent(&mut tally, session, now);
        tally
    }

    /// Of tasks that are not there only the status knows something: those that were deleted count as cancelled, unless
    /// they were seen to end before.
    fn add_absent(self, tally: &mut Tally, session: &WorkerSession, now: Timestamp) {
        let name = session.metadata.name.as_deref().unwrap_or_default();
        let status = session.status.clone().unwrap_or_default();
        let (before, known): (TaskCounts, BTreeSet<&String>) =
            (status.tasks.unwrap_or_default(), status.failed.iter().collect());
        let absent: Vec<usize> = (0..self.slots.len()).filter(|index| self.slots[*index].is_none()).collect();
        let has_failed = |index: &usize| self.blocked.contains(index) || known.contains(&task_name(name, *index));
        let mut failed: BTreeSet<usize> = absent.iter().copied().filter(has_failed).collect();
        let counts = &mut tally.counts;
        counts.total = count(self.slots.len());
        let mut left = count(absent.len());
        let mut take = |into: &mut i32, most: i32| {
            let taken = most.clamp(0, left);
            *into += taken;
            left -= taken;
            taken
        };
        let seen_to_fail = count(failed.len()).max(before.failed - counts.failed);
        take(&mut counts.failed, seen_to_fail);
        let succeeded = before.succeeded - counts.succeeded;
        take(&mut counts.succeeded, succeeded);
        match fate(session, status.tasks_created == Some(true), now) {
            TaskPhase::Pending => take(&mut counts.pending, i32::MAX),
            TaskPhase::Failed => {
                let late = take(&mut counts.failed, i32::MAX);
                tally.late |= late > 0;
                late
            }
            _ => take(&mut counts.cancelled, i32::MAX),
        };
        let is_failed = |task: &T| phase(task.as_ref()) == TaskPhase::Failed;
        failed.extend((0..self.slots.len()).filter(|index| self.slots[*index].as_ref().is_some_and(is_failed)));
        tally.failed = failed.into_iter().take(MAX_FAILED).map(|index| task_name(name, index)).collect();
    }
}

/// What becomes of tasks that are not there. `created`: all have been made once.
fn fate(session: &WorkerSession, created: bool, now: Timestamp) -> TaskPhase {
    if created || session.spec.state != SessionState::Active {
        TaskPhase::Cancelled
    } else if is_late(session, now) {
        TaskPhase::Failed
    } else {
        TaskPhase::Pending
    }
}

impl Tally {
    /// How many have ended.
    pub fn ended(&self) -> i32 {
        self.counts.succeeded + self.counts.failed + self.counts.cancelled
    }

    fn add(&mut self, task: &WorkerTask) {
        let status = task.status.as_ref();
        let phase = phase(task);
        *match phase {
            TaskPhase::Pending => &mut self.counts.pending,
            TaskPhase::Starting => &mut self.counts.starting,
            TaskPhase::Running => &mut self.counts.running,
            TaskPhase::Succeeded => &mut self.counts.succeeded,
            TaskPhase::Failed => &mut self.counts.failed,
            TaskPhase::Cancelled => &mut self.counts.cancelled,
        } += 1;
        if phase.has_worker() {
            self.workers.extend(status.and_then(|status| status.worker.clone()));
        }
        if phase == TaskPhase::Running && status.is_some_and(|status| status.address.is_some()) {
            self.ready += 1;
        }
        let began = status.and_then(|status| status.started_at.as_ref()).map(|time| time.0);
        self.started = [self.started, began].into_iter().flatten().min();
        self.late |= phase == TaskPhase::Failed && has_reason(task, TaskReason::DeadlineExceeded);
    }
}

fn has_reason(task: &WorkerTask, reason: TaskReason) -> bool {
    task.status.as_ref().and_then(|status| status.reason.as_deref()) == Some(reason.as_str())
}

fn waits_for(task: &WorkerTask) -> Option<(&str, &str)> {
    let status = task.status.as_ref().filter(|_| phase(task) == TaskPhase::Pending)?;
    Some((status.reason.as_deref()?, status.message.as_deref().unwrap_or_default()))
}

fn first(task: &WorkerTask, reason: &str, message: &str) -> WaitingTasks {
    WaitingTasks {
        reason: reason.to_owned(),
        tasks: 0,
        example: task.metadata.name.clone().unwrap_or_default(),
        message: message.chars().take(LONGEST).collect(),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

//! What holds a task back although there may be a worker for it.

use std::fmt;

use super::roll::Member;
use crate::api::reasons::TaskReason;

/// One thing that holds a task back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Its session has as many tasks as it wants at once.
    Parallelism {
        /// The tasks that it has.
        running: usize,
        /// The most that it wants.
        most: usize,
    },
    /// Another task processes the same VM.
    VmProcessed {
        /// Whose task, for people.
        by: String,
    },
    /// A task that comes first waits to process the same VM.
    VmAwaited {
        /// Whose task, for people.
        by: String,
    },
    /// A storage has as many tasks as it may have.
    StorageFull {
        /// The storage.
        storage: String,
        /// The tasks that it has.
        running: usize,
        /// The most that it may have.
        most: usize,
    },
    /// The last slot of a storage is held back for a task that comes first.
    StorageHeld {
        /// The storage.
        storage: String,
        /// The tasks that it has.
        running: usize,
        /// The most that it may have.
        most: usize,
        /// Whose task, for people.
        by: String,
    },
}

impl Limit {
    /// The reason for which the task waits.
    pub const fn reason(&self) -> TaskReason {
        match self {
            Self::Parallelism { .. } => TaskReason::Parallelism,
            Self::VmProcessed { .. } | Self::VmAwaited { .. } => TaskReason::VmBusy,
            Self::StorageFull { .. } | Self::StorageHeld { .. } => TaskReason::StorageLimit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parallelism { running, most } => {
                write!(f, "{running} of the session's tasks run already, and its parallelism is {most}")
            }
            Self::VmProcessed { by } => write!(f, "the same VM is processed by {by}"),
            Self::VmAwaited { by } => write!(f, "the same VM is held back for {by}"),
            Self::StorageFull { storage, running, most } => {
                write!(
                    f,
                    "{} on storage {storage}, and limits.tasksPerStorage of the Hypervisor is {most}",
                    at_work(*running)
                )
            }
            Self::StorageHeld { storage, running, most, by } => {
                write!(
                    f,
                    "{} on storage {storage}, limits.tasksPerStorage of the Hypervisor is {most}, and the last slot is held \
                     back for {by}",
                    at_work(*running)
                )
            }
        }
    }
}

fn at_work(tasks: usize) -> String {
    if tasks == 1 { "1 task works".to_owned() } else { format!("{tasks} tasks work") }
}

/// What a person who looks at the task `asker` is told of another task. How those of other namespaces are called is none
/// of their business.
pub(super) fn whose(task: Member<'_>, asker: Member<'_>) -> String {
    if task.at == asker.at {
        return format!("task {} of the same session", task.task.name);
    }
    if task.session.namespace == asker.session.namespace {
        return format!("{} {}", task.session.kind, task.session.name);
    }
    format!("a {} of another namespace", task.session.kind)
}

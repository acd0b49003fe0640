//! What a schedule is made from: sessions with their tasks, and workers, as plain data.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use crate::domain::availability::Availability;

/// All that shares the workers and storages of one hypervisor. The order of sessions and workers in it means nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// The sessions that have tasks which wait, run or may run.
    pub sessions: Vec<Session>,
    /// The workers of the hypervisor.
    pub workers: Vec<Worker>,
    /// The most tasks that may use a storage at once, counted over all sessions and workers.
    pub tasks_per_storage: usize,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its UID.
    pub uid: String,
    /// Its namespace: what it is called is no business of those of other namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// What it does.
    pub kind: Kind,
    /// How much the host of a worker matters.
    pub placement: Placement,
    /// The most of its tasks at once, if it says so.
    pub parallelism: Option<usize>,
    /// The names of the workers that its selector selects.
    pub workers: BTreeSet<String>,
    /// Its tasks that have not ended, in their order.
    pub tasks: Vec<Task>,
}

/// What a session does. Restores come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It brings VMs back.
    Restore,
    /// It backs VMs up.
    Backup,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restore => "restore",
            Self::Backup => "backup",
        })
    }
}

/// How much the host of a worker matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// One on the host of the VM is better.
    PreferSameHost,
    /// Only one on the host of the VM will do.
    RequireSameHost,
}

/// The processing of one protected VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The id of the protected VM; `None` for a restore to a new one.
    pub vm: Option<String>,
    /// The host where that VM is now, or is to be; `None` if it is not known.
    pub host: Option<String>,
    /// What tells the storages of its disks apart: the name of a shared one, and host and name of a local one.
    pub storages: BTreeSet<String>,
    /// Where it stands.
    pub state: TaskState,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It wants a worker.
    Waiting {
        /// The workers where earlier attempts failed: it goes to another one if there is one.
        avoid: BTreeSet<String>,
    },
    /// It holds, or may hold, a slot.
    Holding {
        /// The worker's name.
        worker: String,
    },
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its name, which nobody else has: with its namespace and a slash in front where several namespaces share a
    /// hypervisor.
    pub name: String,
    /// The host that it is on, or will be made on; `None` if it is not known.
    pub host: Option<String>,
    /// The most tasks that it runs at once.
    pub slots: usize,
    /// Slots that are claimed by what is no task of a session here.
    pub foreign_claims: usize,
    /// Whether it takes tasks.
    pub availability: Availability,
}

/// What people of its namespace call the worker of this name in a world.
pub fn short_name(worker: &str) -> &str {
    worker.rsplit_once('/').map_or(worker, |(_, name)| name)
}

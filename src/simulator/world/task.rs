//! Tasks: what an answer with a UPID stands for.

use std::fmt::{self, Display};
use std::time::Duration;

use super::World;
use crate::clock::BootTime;

/// Number of a task in its world.
pub(crate) type TaskId = u64;

/// A task's identifier, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upid {
    pub(crate) node: String,
    pub(crate) pid: u32,
    pub(crate) pstart: u64,
    pub(crate) start: i64,
    pub(crate) kind: String,
    pub(crate) target: String,
    pub(crate) user: String,
}

impl Upid {
    /// Reads an identifier; absent if it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_prefix("UPID:")?.strip_suffix(':')?.split(':').collect();
        let [node, pid, pstart, start, kind, target, user] = parts.as_slice() else { return None };
        Some(Self {
            node: (*node).to_owned(),
            pid: u32::from_str_radix(pid, 16).ok()?,
            pstart: u64::from_str_radix(pstart, 16).ok()?,
            start: i64::from_str_radix(start, 16).ok()?,
            kind: (*kind).to_owned(),
            target: (*target).to_owned(),
            user: (*user).to_owned(),
        })
    }
}

impl Display for Upid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, start, kind, target, user } = self;
        write!(formatter, "UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{target}:{user}:")
    }
}

/// A task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) upid: Upid,
    pub(crate) log: Vec<String>,
    pub(crate) warnings: u32,
    /// How it ended, and when (seconds since 1970).
    pub(crate) end: Option<(String, i64)>,
    /// When it began and ended, more exactly than clients are told.
    pub(crate) times: (BootTime, Option<BootTime>),
    pub(crate) job: Option<Box<dyn Job>>,
    /// File locks that it holds.
    pub(crate) held: Vec<u32>,
    /// What it waits for, if it waits for a lock; the number tells one wait from the next.
    pub(crate) wish: Option<(LockWish, u64)>,
}

impl Task {
    pub(crate) fn is_running(&self) -> bool {
        self.end.is_none()
    }
}

/// A file lock that a job wants before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockWish {
    pub(crate) vmid: u32,
    pub(crate) shared: bool,
    pub(crate) within: Duration,
}

impl LockWish {
    /// An exclusive lock.
    pub(crate) fn on(vmid: u32, within: Duration) -> Self {
        Self { vmid, shared: false, within }
    }
}

/// What a job does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Come back after this time.
    Wait(Duration),
    /// Come back with this lock.
    Lock(LockWish),
    /// It is done.
    Done,
    /// It failed, with this exit status.
    Fail(String),
}

/// The work behind a task, one step at a time.
pub(crate) trait Job: fmt::Debug + Send {
    /// Does the next step.
    fn step(&mut self, world: &mut World, task: TaskId) -> Step;

    /// Cleans up after a polite termination and says the exit status; absent: the worker just dies.
    fn cancel(&mut self, _world: &mut World, _task: TaskId) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_both_ways() {
        let text = "UPID:pve1:000004BC:00042FFA:6B02567E:qmclone:200:dev@pve!t1:";
        let upid = Upid::parse(text).unwrap();
        assert_eq!((upid.pid, upid.start, upid.user.as_str()), (1212, 0x6B02_567E, "dev@pve!t1"));
        assert_eq!(upid.to_string(), text);
        assert_eq!(Upid::parse("garbage"), None);
    }
}

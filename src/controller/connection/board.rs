//! What workers and the scheduler tell each other: whether each worker takes tasks, which are waited for, and when the
//! scheduler has decided last.

use std::collections::{BTreeSet, HashMap};

use crate::clock::BootTime;
use crate::domain::availability::Availability;

/// What a worker has told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Whether it takes tasks.
    pub availability: Availability,
    /// The host that its VM is on, or is to be on.
    pub host: String,
}

/// What is told.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// By the UID of the worker.
    posted: HashMap<String, Posted>,
    /// Workers (UIDs) that a waiting task could use if they passed a test.
    needed: BTreeSet<String>,
    decided: Option<BootTime>,
}

impl Board {
    /// A worker tells; whether that is news.
    pub(super) fn post(&mut self, uid: &str, posted: Posted) -> bool {
        self.posted.insert(uid.to_owned(), posted.clone()) != Some(posted)
    }

    pub(super) fn posted(&self, uid: &str) -> Option<Posted> {
        self.posted.get(uid).cloned()
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.posted.remove(uid);
        self.needed.remove(uid);
    }

    /// The scheduler has decided from what was told before `begun`; the workers that are needed now and were not.
    pub(super) fn decide(&mut self, begun: BootTime, needed: BTreeSet<String>) -> Vec<String> {
        self.decided = Some(begun);
        let new = needed.difference(&self.needed).cloned().collect();
        self.needed = needed;
        new
    }

    pub(super) fn is_needed(&self, uid: &str) -> bool {
        self.needed.contains(uid)
    }

    /// Whether the scheduler has decided from what was told by `since`.
    pub(super) fn has_decided(&self, since: BootTime) -> bool {
        self.decided.is_some_and(|decided| decided >= since)
    }
}

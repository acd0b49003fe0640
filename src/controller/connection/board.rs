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
    /// What was declared of each worker (UID), as a number that differs if it does.
    declared: HashMap<String, u64>,
}

impl Board {
    /// A worker tells; whether that is news.
    pub(super) fn post(&mut self, uid: &str, posted: Posted) -> bool {
        self.posted.insert(uid.to_owned(), posted.clone()) != Some(posted)
    }

    /// A worker is declared like this; whether that is news.
    pub(super) fn declare(&mut self, uid: &str, declared: u64) -> bool {
        self.declared.insert(uid.to_owned(), declared) != Some(declared)
    }

    pub(super) fn posted(&self, uid: &str) -> Option<Posted> {
        self.posted.get(uid).cloned()
    }

    /// Forgets workers (UIDs) that are not there any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.posted.retain(|uid, _| is_there(uid));
        self.needed.retain(|uid| is_there(uid));
        self.declared.retain(|uid, _| is_there(uid));
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

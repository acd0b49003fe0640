//! What workers and the scheduler tell each other: whether each worker takes tasks, which are waited for, and when the
//! scheduler has decided last.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::api::reasons::TaskReason;
use crate::clock::BootTime;
use crate::domain::availability::{Availability, Unavailable};

/// For this long nothing is decided because of workers that are not known yet.
const STRANGE: Duration = Duration::from_secs(10);

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
    /// Workers (UIDs) of which it was known at some time whether they take tasks.
    known: HashSet<String>,
    /// Since when there are workers of which that is not known yet.
    strange_since: Option<BootTime>,
    /// What was declared of each worker (UID), as a number that differs if it does.
    declared: HashMap<String, u64>,
}

impl Board {
    /// A worker tells; whether that is news.
    pub(super) fn post(&mut self, uid: &str, posted: Posted) -> bool {
        if !matches!(&posted.availability, Availability::Not(Unavailable { reason: TaskReason::Unavailable, .. })) {
            self.known.insert(uid.to_owned());
        }
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
        self.known.retain(|uid| is_there(uid));
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

    /// Whether it was known at some time whether a worker takes tasks.
    pub(super) fn is_known(&self, uid: &str) -> bool {
        self.known.contains(uid)
    }

    /// Whether to decide later, because there are `strange` workers that will be known soon.
    pub(super) fn holds_off(&mut self, strange: bool, now: BootTime) -> bool {
        if !strange {
            self.strange_since = None;
            return false;
        }
        now.since(*self.strange_since.get_or_insert(now)) < STRANGE
    }

    pub(super) fn is_needed(&self, uid: &str) -> bool {
        self.needed.contains(uid)
    }

    /// Whether the scheduler has decided from what was told by `since`.
    pub(super) fn has_decided(&self, since: BootTime) -> bool {
        self.decided.is_some_and(|decided| decided >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(availability: Availability) -> Posted {
        Posted { availability, host: "pve1".into() }
    }

    #[test]
    fn a_worker_is_strange_until_it_is_known_once() {
        let mut board = Board::default();
        let unsure = Availability::Not(Unavailable::new(TaskReason::Unavailable, "not looked at"));
        board.post("u", posted(unsure.clone()));
        assert!(!board.is_known("u"));
        board.post("u", posted(Availability::Off));
        board.post("u", posted(unsure));
        assert!(board.is_known("u"), "it may not be sure for a moment");
        board.keep(|uid| uid != "u");
        assert!(!board.is_known("u"));
    }

    #[test]
    fn strangers_are_not_waited_for_for_ever() {
        let (mut board, begun) = (Board::default(), BootTime::default());
        let after = |seconds| begun.plus(Duration::from_secs(seconds));
        assert!(!board.holds_off(false, begun));
        assert!(board.holds_off(true, begun) && board.holds_off(true, after(9)));
        assert!(!board.holds_off(true, after(10)));
        assert!(!board.holds_off(false, after(11)) && board.holds_off(true, after(12)), "others are new");
    }
}

//! What this process remembers of each session between two passes. None of it is needed after a restart: it only saves
//! requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::api::WorkerTask;
use crate::clock::BootTime;

/// The least time between two writes of a session's status.
const PACE: Duration = Duration::from_secs(1);

/// What is remembered of all sessions, by their UIDs.
#[derive(Debug, Default)]
pub struct Runs(Mutex<HashMap<String, Run>>);

/// What is remembered of one session.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// When it was first seen.
    seen: Option<BootTime>,
    /// When its status was written last.
    written: Option<BootTime>,
    /// Since when the caches lack tasks of which nobody has seen that they are gone.
    lacking_since: Option<BootTime>,
    /// Places of which the task was asked for, and was not there. It is never made again.
    pub(super) gone: BTreeSet<usize>,
    /// The making of its tasks.
    pub(super) making: Making,
}

/// How far the tasks of a session are made.
#[derive(Debug, Default)]
pub(super) struct Making {
    /// Whether the tasks that there are were asked for.
    pub(super) listed: bool,
    /// The tasks that exist, by their places.
    pub(super) made: BTreeMap<usize, WorkerTask>,
    /// Places of which the task cannot be made, because somebody else's has its name.
    pub(super) blocked: BTreeSet<usize>,
}

impl Runs {
    /// Reads or changes what is remembered of the session with this UID.
    pub(super) fn with<R>(&self, uid: &str, change: impl FnOnce(&mut Run) -> R) -> R {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(runs.entry(uid.to_owned()).or_default())
    }

    /// Forgets sessions that are not there any more.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|uid, _| is_there(uid));
    }
}

impl Run {
    /// When the session was first seen: now, if it has not been.
    pub(super) fn seen(&mut self, now: BootTime) -> BootTime {
        *self.seen.get_or_insert(now)
    }

    /// How long it has been known here.
    pub(super) fn age(&mut self, now: BootTime) -> Duration {
        now.since(self.seen(now))
    }

    /// How long its status must not be written yet.
    pub(super) fn rests(&self, now: BootTime) -> Duration {
        self.written.map_or(Duration::ZERO, |written| PACE.saturating_sub(now.since(written)))
    }

    /// Its status is being written.
    pub(super) fn writes(&mut self, now: BootTime) {
        self.written = Some(now);
    }

    /// How long the caches have lacked a task.
    pub(super) fn lacks(&mut self, now: BootTime) -> Duration {
        now.since(*self.lacking_since.get_or_insert(now))
    }

    /// The caches lack nothing, or what they lack was asked for.
    pub(super) fn lacks_nothing(&mut self) {
        self.lacking_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_status_is_written_once_a_second_at_most() {
        let mut run = Run::default();
        assert_eq!(run.rests(at(0)), Duration::ZERO);
        run.writes(at(100));
        assert_eq!(run.rests(at(400)), Duration::from_millis(700));
        assert_eq!(run.rests(at(1100)), Duration::ZERO);
    }

    #[test]
    fn what_is_lacked_is_lacked_since_the_first_time() {
        let mut run = Run::default();
        assert_eq!([run.lacks(at(100)), run.lacks(at(900))], [0, 800].map(Duration::from_millis));
        run.lacks_nothing();
        assert_eq!(run.lacks(at(1000)), Duration::ZERO);
    }

    #[test]
    fn sessions_that_are_gone_are_forgotten() {
        let runs = Runs::default();
        for uid in ["a", "b"] {
            runs.with(uid, |run| run.writes(at(100)));
        }
        runs.keep(|uid| uid == "a");
        assert_ne!(runs.with("a", |run| run.rests(at(100))), Duration::ZERO);
        assert_eq!(runs.with("b", |run| run.rests(at(100))), Duration::ZERO);
    }
}

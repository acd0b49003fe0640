//! What there is to say of one task.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::groups::{Place, Told};
use super::reading::Read;
use crate::api::task::{TaskMode, TaskPhase};
use crate::api::{WorkerTask, WorkerTaskStatus};
use crate::controller::scheduling::gather::is_open;
use crate::domain::belonging::{belongs, had_worker};
use crate::domain::ending::{ending, phase};
use crate::domain::schedule::{Explanation, Outcome, Seen, short_name};
use crate::plugin::Person;

/// Names in one line; the others are counted.
const MOST_NAMES: usize = 10;

/// Finds words for tasks.
pub(super) struct Words<'a> {
    pub(super) person: &'a Person,
    pub(super) read: &'a Read,
    /// What the scheduler makes of the tasks that have not ended, by their names.
    pub(super) explained: &'a BTreeMap<String, Explanation>,
}

impl Words<'_> {
    pub(super) fn of(&self, task: &WorkerTask) -> Told {
        let status = task.status.clone().unwrap_or_default();
        let at = phase(task);
        match at {
            TaskPhase::Pending => self.pending(task, &status),
            TaskPhase::Starting => Told::new(Place::Starting, self.with_worker("starting", &status), Vec::new()),
            TaskPhase::Running => {
                let what = match task.spec.mode {
                    TaskMode::Command => "running",
                    TaskMode::Lease => {
                        "leased: its worker is ready, and whoever leased it is to report the end in spec.result"
                    }
                };
                Told::new(Place::Running, self.with_worker(what, &status), Vec::new())
            }
            TaskPhase::Failed => Told::new(Place::Failed, ended("failed", &status), Vec::new()),
            TaskPhase::Cancelled => Told::new(Place::Cancelled, ended("cancelled", &status), Vec::new()),
            TaskPhase::Succeeded => Told::new(Place::Succeeded, "succeeded".to_owned(), Vec::new()),
        }
    }

    fn with_worker(&self, what: &str, status: &WorkerTaskStatus) -> String {
        let name = status.worker.as_deref().unwrap_or("that is not told");
        let worker = self.read.workers.iter().find(|worker| worker.name_any() == name);
        let phase = worker.and_then(|worker| worker.status.as_ref()?.phase.clone());
        let is = match (worker, phase) {
            (None, _) => " (which is not there any more)".to_owned(),
            (Some(_), Some(phase)) => format!(" ({phase})"),
            (Some(_), None) => String::new(),
        };
        format!("{what}, on worker {name}{is}, attempt {}", status.attempt.unwrap_or(1))
    }

    /// It waits, or will be ended in a moment.
    fn pending(&self, task: &WorkerTask, status: &WorkerTaskStatus) -> Told {
        let session = &self.read.session;
        let told = |text: String| Told::new(Place::Waiting, text, status_says(status, None));
        if !belongs(task, session) && !had_worker(task) {
            let text = "not one of the session's: the operator has not made it, and does nothing about it; delete it";
            return told(text.to_owned());
        }
        if let Some(ending) = ending(task, Some(session), self.person.clock.wall()) {
            return told(format!("about to end as {} ({}): {}", ending.phase, ending.reason, ending.message));
        }
        if !is_open(session, self.person.clock.wall()) {
            return told(
                "waiting: the session does not give tasks to workers now; it is still being prepared, or about to end"
                    .to_owned(),
            );
        }
        match self.explained.get(&task.name_any()) {
            Some(explanation) => explained(status, explanation),
            None => told("waiting".to_owned()),
        }
    }
}

/// What the scheduler makes of a task that waits.
fn explained(status: &WorkerTaskStatus, explanation: &Explanation) -> Told {
    let (head, reason) = match &explanation.outcome {
        Outcome::Waits { reason, message } => (format!("waiting ({reason}): {message}"), Some(reason.as_str())),
        Outcome::Assigned { worker, local } => {
            let place = if *local { "on" } else { "not on" };
            let text = "the operator gives it the slot in a moment; if it does not, see whether it runs";
            let worker = short_name(worker);
            (format!("next: worker {worker} has a free slot for it, {place} the VM's host; {text}"), None)
        }
        Outcome::Holds { worker } => (format!("on worker {}", short_name(worker)), None),
    };
    let mut lines = Vec::new();
    // The first is in the head already.
    let limits = explanation.limits.iter().map(ToString::to_string);
    lines.extend(limits.filter(|limit| !head.contains(limit)).map(|limit| format!("also: {limit}")));
    lines.extend(by_word(&explanation.workers));
    lines.extend(status_says(status, reason));
    Told::new(Place::Waiting, head, lines)
}

/// What the operator has written, unless it is the same.
fn status_says(status: &WorkerTaskStatus, known: Option<&str>) -> Vec<String> {
    let said = status.reason.as_ref().filter(|reason| Some(reason.as_str()) != known);
    let message = status.message.clone().unwrap_or_default();
    said.map(|reason| format!("its status says ({reason}): {message}")).into_iter().collect()
}

fn ended(what: &str, status: &WorkerTaskStatus) -> String {
    let (reason, message) = (status.reason.clone().unwrap_or_default(), status.message.clone().unwrap_or_default());
    format!("{what} ({reason}): {message}")
}

/// Workers of which the same is to be said, in one line.
fn by_word(workers: &[(String, Seen)]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, seen) in workers {
        let word = seen.to_string();
        match lines.iter_mut().find(|(known, _)| *known == word) {
            Some((_, names)) => names.push(short_name(name)),
            None => lines.push((word, vec![short_name(name)])),
        }
    }
    lines.into_iter().map(|(word, names)| said(&word, &names)).collect()
}

fn said(word: &str, names: &[&str]) -> String {
    if let [name] = names {
        return format!("worker {name}: {word}");
    }
    let mut shown = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMES {
        shown = format!("{shown} and {} more", names.len() - MOST_NAMES);
    }
    format!("each of {} workers ({shown}): {word}", names.len())
}

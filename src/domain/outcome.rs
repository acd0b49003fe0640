//! Where a session is on its way, and how it ends.

use jiff::Timestamp;

use super::ending::{self, has_missed_its_start};
use super::tally::Tally;
use crate::api::WorkerSession;
use crate::api::reasons::SessionReason;
use crate::api::session::SessionState;
use crate::api::session_status::SessionPhase;

/// The longest message taken over from a task.
const LONGEST: usize = 500;

/// Where a session is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its phase.
    pub phase: SessionPhase,
    /// Why.
    pub reason: SessionReason,
    /// Why, for people.
    pub message: String,
}

/// What keeps a session from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reason, as it stands in the conditions.
    pub reason: SessionReason,
    /// The same for people.
    pub message: String,
}

/// Where a session is, by what its tasks add up to.
pub fn outcome(session: &WorkerSession, tally: &Tally, trouble: Option<&Trouble>, now: Timestamp) -> Outcome {
    if session.metadata.deletion_timestamp.is_none() && tally.ended() == tally.counts.total {
        return end(session, tally);
    }
    let phase = phase(session, tally);
    let (reason, message) = going(session, tally, phase, trouble, now);
    Outcome { phase, reason, message }
}

/// How a session ended that has ended before, if it has.
pub fn ended(session: &WorkerSession) -> Option<SessionPhase> {
    let phase = session.status.as_ref()?.phase.as_deref()?;
    SessionPhase::parse(phase).filter(|phase| phase.has_ended())
}

/// Whether no task is made for a session any more.
pub fn is_over(session: &WorkerSession, now: Timestamp) -> bool {
    session.metadata.deletion_timestamp.is_some()
        || session.spec.state != SessionState::Active
        || ending::is_late(session, now)
        || ended(session).is_some()
}

/// Whether a session's first task should have begun by now, and none has.
pub fn misses_its_start(session: &WorkerSession, tally: &Tally, now: Timestamp) -> bool {
    let begun = session.status.as_ref().is_some_and(|status| status.started_at.is_some()) || tally.started.is_some();
    let over = session.spec.state != SessionState::Active || tally.ended() == tally.counts.total;
    !begun && !over && ending::start_deadline(session).is_some_and(|deadline| now > deadline)
}

fn phase(session: &WorkerSession, tally: &Tally) -> SessionPhase {
    let has_begun = session.status.as_ref().is_some_and(|status| status.started_at.is_some());
    if let Some(ended) = ended(session) {
        ended
    } else if has_begun || tally.started.is_some() || tally.counts.running > 0 {
        SessionPhase::Running
    } else if tally.counts.starting > 0 {
        SessionPhase::Starting
    } else {
        SessionPhase::Pending
    }
}

fn going(
    session: &WorkerSession,
    tally: &Tally,
    phase: SessionPhase,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> (SessionReason, String) {
    let counts = &tally.counts;
    if session.metadata.deletion_timestamp.is_some() {
        let left = counts.total - tally.ended();
        return (SessionReason::Deleting, format!("it is being deleted; {left} of its tasks have not ended"));
    }
    if has_missed_its_start(session) || misses_its_start(session, tally, now) {
        return (SessionReason::StartDeadlineExceeded, missed(session));
    }
    if let Some(trouble) = trouble.filter(|_| phase == SessionPhase::Pending) {
        return (trouble.reason, trouble.message.clone());
    }
    let created = session.status.as_ref().is_some_and(|status| status.tasks_created == Some(true));
    let of = format!("{} of {} tasks have ended", tally.ended(), counts.total);
    match phase {
        SessionPhase::Pending if !created => {
            (SessionReason::Preparing, "its VMs are looked for, and its tasks are made".to_owned())
        }
        SessionPhase::Pending => (SessionReason::WaitingForWorkers, waiting(tally)),
        SessionPhase::Starting => {
            let text = format!("{} of {} tasks have workers, which are launched", counts.starting, counts.total);
            (SessionReason::Starting, text)
        }
        _ => {
            (SessionReason::Running, format!("{of}; {} run, {} wait", counts.running, counts.pending + counts.starting))
        }
    }
}

fn waiting(tally: &Tally) -> String {
    match tally.waiting.first() {
        None => "its tasks wait for workers".to_owned(),
        Some(most) => {
            let why: String = most.message.chars().take(LONGEST).collect();
            format!("no task has a worker yet; {} wait because of {}: {why}", most.tasks, most.reason)
        }
    }
}

fn missed(session: &WorkerSession) -> String {
    let deadline = ending::start_deadline(session).map_or_else(String::new, |deadline| format!(" by {deadline}"));
    format!("no task had started{deadline} (startDeadline)")
}

fn end(session: &WorkerSession, tally: &Tally) -> Outcome {
    let counts = &tally.counts;
    let all = format!(
        "of {} tasks {} succeeded, {} failed, {} were cancelled",
        counts.total, counts.succeeded, counts.failed, counts.cancelled
    );
    let (phase, reason, message) = if counts.failed > 0 {
        let (reason, message) = failure(session, tally, &all);
        (SessionPhase::Failed, reason, message)
    } else if session.spec.state == SessionState::Cancelled && counts.cancelled > 0 {
        (SessionPhase::Cancelled, SessionReason::Cancelled, all)
    } else if counts.cancelled == counts.total {
        (SessionPhase::Cancelled, SessionReason::Cancelled, "all of its tasks were cancelled".to_owned())
    } else {
        (SessionPhase::Succeeded, SessionReason::Succeeded, all)
    };
    Outcome { phase, reason, message }
}

fn failure(session: &WorkerSession, tally: &Tally, all: &str) -> (SessionReason, String) {
    if has_missed_its_start(session) {
        return (SessionReason::StartDeadlineExceeded, missed(session));
    }
    let names = tally.failed.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if tally.counts.failed > 3 { ", …" } else { "" };
    let text = format!("{all} (failed: {names}{more})");
    if tally.late {
        let deadline = session.spec.active_deadline.0.as_str();
        return (SessionReason::DeadlineExceeded, format!("activeDeadline ({deadline}) passed; {text}"));
    }
    (SessionReason::TasksFailed, text)
}

#[cfg(test)]
mod tests;

//! What a session's status says; nothing is written here.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::{self, Answer, NewCondition};
use crate::api::reasons::SessionReason;
use crate::api::session_status::MAX_WORKERS;
use crate::api::session_status::SessionPhase;
use crate::api::{WorkerSession, WorkerSessionStatus};
use crate::controller::snapshot::whole_seconds;
use crate::domain::outcome::Outcome;
use crate::domain::tally::Tally;

/// One order, so that the status reads the same whichever condition came first.
const ORDER: [&str; 5] = [
    conditions::READY,
    conditions::WORKERS_AVAILABLE,
    conditions::FINISHED,
    conditions::RECONCILING,
    conditions::STALLED,
];

/// The status of a session that goes on, or ends now. `created`: all tasks are made.
pub(super) fn render(
    session: &WorkerSession,
    tally: &Tally,
    outcome: &Outcome,
    created: bool,
    now: Timestamp,
) -> WorkerSessionStatus {
    let before = session.status.clone().unwrap_or_default();
    let in_use = i32::try_from(tally.workers.len()).unwrap_or(i32::MAX);
    let mut status = WorkerSessionStatus {
        observed_generation: session.metadata.generation,
        phase: Some(outcome.phase.to_string()),
        conditions: before.conditions,
        tasks_created: before.tasks_created.or(created.then_some(true)),
        tasks: Some(tally.counts),
        done: Some(format!("{}/{}", tally.ended(), tally.counts.total)),
        workers: tally.workers.iter().take(MAX_WORKERS).cloned().collect(),
        workers_in_use: Some(in_use),
        waiting: tally.waiting.clone(),
        failed: tally.failed.clone(),
        started_at: before.started_at.or_else(|| tally.started.map(|began| Time(whole_seconds(began)))),
        finished_at: outcome.phase.has_ended().then(|| before.finished_at.unwrap_or(Time(whole_seconds(now)))),
    };
    judge(&mut status, session.metadata.generation, tally, outcome, now);
    status
}

/// The status of a session that has ended: nothing of it changes any more but the generation that it speaks of.
pub(super) fn kept(session: &WorkerSession, now: Timestamp) -> WorkerSessionStatus {
    let mut status = session.status.clone().unwrap_or_default();
    status.observed_generation = session.metadata.generation;
    for condition in &mut status.conditions {
        condition.observed_generation = session.metadata.generation;
    }
    status.finished_at.get_or_insert(Time(whole_seconds(now)));
    status
}

/// The status of a session that is being deleted, which waits for what `text` says: how far its tasks were is not counted
/// any more.
pub(super) fn leaving(session: &WorkerSession, text: &str, now: Timestamp) -> WorkerSessionStatus {
    let mut status = session.status.clone().unwrap_or_default();
    status.observed_generation = session.metadata.generation;
    for (kind, answer) in [(conditions::READY, Answer::False), (conditions::RECONCILING, Answer::True)] {
        let condition = NewCondition::new(kind, answer, SessionReason::Deleting, text);
        conditions::set(&mut status.conditions, condition.observed(session.metadata.generation), now);
    }
    conditions::remove(&mut status.conditions, conditions::STALLED);
    sort(&mut status);
    status
}

/// How a session ended, with numbers, for people.
pub(super) fn summary(status: &WorkerSessionStatus) -> String {
    conditions::find(&status.conditions, conditions::READY).map(|ready| ready.message.clone()).unwrap_or_default()
}

fn judge(status: &mut WorkerSessionStatus, generation: Option<i64>, tally: &Tally, outcome: &Outcome, now: Timestamp) {
    let list = &mut status.conditions;
    let mut set = |kind, answer: bool, reason: SessionReason, message: &str| {
        let condition = NewCondition::new(kind, Answer::from(answer), reason, message);
        conditions::set(list, condition.observed(generation), now);
    };
    let (reason, message) = (outcome.reason, outcome.message.as_str());
    set(conditions::READY, outcome.phase == SessionPhase::Succeeded, reason, message);
    set(conditions::FINISHED, outcome.phase.has_ended(), reason, message);
    if tally.ready > 0 {
        let text = format!("{} tasks have workers that are ready; the tasks' statuses have the addresses", tally.ready);
        set(conditions::WORKERS_AVAILABLE, true, SessionReason::WorkerReady, &text);
    } else {
        set(conditions::WORKERS_AVAILABLE, false, SessionReason::NoWorkerReady, "no task has a worker that is ready");
    }
    if !outcome.phase.has_ended() {
        set(conditions::RECONCILING, true, reason, message);
    }
    if outcome.phase.has_ended() && outcome.phase != SessionPhase::Succeeded {
        // Tools that wait for success would wait for ever.
        set(conditions::STALLED, true, reason, message);
    }
    if outcome.phase.has_ended() {
        conditions::remove(list, conditions::RECONCILING);
    } else {
        conditions::remove(list, conditions::STALLED);
    }
    sort(status);
}

fn sort(status: &mut WorkerSessionStatus) {
    let place = |kind: &str| ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len());
    status.conditions.sort_by_key(|condition| place(&condition.type_));
}

#[cfg(test)]
mod tests;

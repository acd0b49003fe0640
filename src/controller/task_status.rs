//! What the status of a task says at each turn of its way; nothing is written here.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::snapshot::whole_seconds;
use crate::api::conditions::{self, Answer, NewCondition};
use crate::api::reasons::TaskReason;
use crate::api::task::{TaskMode, TaskPhase};
use crate::api::task_status::MAX_AVOIDED;
use crate::api::{Worker, WorkerTask, WorkerTaskStatus};
use crate::domain::attempt::{End, Ended};
use crate::domain::attend::{Finish, Requeue};

/// What an attempt left behind.
#[derive(Debug, Clone, Default)]
pub struct Result {
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The exit code of its command.
    pub exit_code: Option<i32>,
    /// The end of what its command has printed.
    pub output: Option<String>,
}

impl Result {
    /// The result of an attempt that ends so, its times by our own clock.
    pub fn of(finish: &Finish, output: Option<String>, now: Timestamp) -> Self {
        let Some(end) = &finish.end else { return Self { finished: Some(whole_seconds(now)), ..Self::default() } };
        let (started, finished) = times(end, now);
        let exit_code = match end.result {
            Ended::Exited(code) => Some(code),
            _ => None,
        };
        Self { started: Some(started), finished: Some(finished), exit_code, output }
    }
}

/// When a command began and ended, by our clock: by the guest's only how long it took, and how long ago that was.
fn times(end: &End, now: Timestamp) -> (Timestamp, Timestamp) {
    let ago = SignedDuration::try_from(end.finished_ago).unwrap_or(SignedDuration::ZERO);
    let finished = now.checked_sub(ago).unwrap_or(now);
    let took = end.finished.duration_since(end.started).max(SignedDuration::ZERO);
    let started = finished.checked_sub(took).unwrap_or(finished);
    (whole_seconds(started), whole_seconds(finished))
}

/// The status before, or an empty one.
fn before(task: &WorkerTask) -> WorkerTaskStatus {
    WorkerTaskStatus { observed_generation: task.metadata.generation, ..task.status.clone().unwrap_or_default() }
}

fn says(status: &mut WorkerTaskStatus, phase: TaskPhase, reason: TaskReason, message: &str) {
    status.phase = Some(phase.to_string());
    status.reason = Some(reason.to_string());
    status.message = Some(message.chars().take(1000).collect());
}

/// It waits, for this reason.
pub fn waiting(task: &WorkerTask, reason: TaskReason, message: &str) -> WorkerTaskStatus {
    let mut status = before(task);
    says(&mut status, TaskPhase::Pending, reason, message);
    status
}

/// It is none of ours: nothing is done about it.
pub fn foreign(task: &WorkerTask, now: Timestamp) -> WorkerTaskStatus {
    let mut status = before(task);
    let text = "the operator has not made this task for the session that it names, and does nothing about it: delete it, \
                and create a WorkerSession, for which tasks are made";
    status.reason = Some(TaskReason::NotOurs.to_string());
    status.message = Some(text.to_owned());
    for (kind, answer) in [(conditions::READY, Answer::False), (conditions::STALLED, Answer::True)] {
        let condition = NewCondition::new(kind, answer, TaskReason::NotOurs, text);
        conditions::set(&mut status.conditions, condition.observed(task.metadata.generation), now);
    }
    status
}

/// Where a task is to be worked on, and what is known of its VM.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Whether the worker is on the VM's host.
    pub local: bool,
    /// The VM's host.
    pub vm_host: Option<String>,
    /// The storages that its disks are on.
    pub storages: Vec<String>,
    /// The worker's host.
    pub worker_host: Option<String>,
}

/// It is given to a worker, as a new attempt. The claim follows.
pub fn assigned(task: &WorkerTask, worker: &Worker, placed: &Placed) -> WorkerTaskStatus {
    let mut status = before(task);
    let text = format!("it goes to worker {}", worker.name_any());
    says(&mut status, TaskPhase::Starting, TaskReason::Launching, &text);
    status.attempt = Some(status.attempt.unwrap_or(0).saturating_add(1));
    status.worker = Some(worker.name_any());
    status.worker_uid = worker.uid();
    status.worker_host.clone_from(&placed.worker_host);
    status.local = Some(placed.local);
    status.vm_host.clone_from(&placed.vm_host);
    status.storages.clone_from(&placed.storages);
    (status.started_at, status.finished_at, status.exit_code, status.output) = (None, None, None, None);
    status
}

/// Its command runs, or its worker is ready for whom it is leased to.
pub fn running(task: &WorkerTask, worker: &Worker, now: Timestamp) -> WorkerTaskStatus {
    let mut status = before(task);
    let vm = worker.status.as_ref().and_then(|status| status.vm.as_ref());
    let text = match task.spec.mode {
        TaskMode::Command => "its command runs",
        TaskMode::Lease => "its worker is ready; report the end in spec.result",
    };
    says(&mut status, TaskPhase::Running, TaskReason::Running, text);
    status.worker_host = vm.and_then(|vm| vm.host.clone()).or(status.worker_host);
    status.address = vm.and_then(|vm| vm.addresses.first().cloned());
    status.started_at = Some(Time(whole_seconds(now)));
    status
}

/// It is over.
pub fn finished(task: &WorkerTask, finish: &Finish, result: &Result) -> WorkerTaskStatus {
    let mut status = before(task);
    says(&mut status, finish.phase, finish.reason, &finish.message);
    takes(&mut status, result);
    status.address = None;
    let (generation, now) = (task.metadata.generation, result.finished.unwrap_or(Timestamp::UNIX_EPOCH));
    let succeeded = finish.phase == TaskPhase::Succeeded;
    let mut set = |kind, answer: bool| {
        let condition = NewCondition::new(kind, Answer::from(answer), finish.reason, finish.message.clone());
        conditions::set(&mut status.conditions, condition.observed(generation), now);
    };
    set(conditions::READY, succeeded);
    if !succeeded {
        // Tools that wait for it would wait for ever.
        set(conditions::STALLED, true);
    }
    status
}

/// This attempt is over, and it waits for another one.
pub fn requeued(task: &WorkerTask, why: &Requeue, result: &Result) -> WorkerTaskStatus {
    let mut status = before(task);
    let worker = status.worker.take();
    let mut shun = || {
        let known = worker.as_ref().is_some_and(|worker| status.avoid.contains(worker));
        status.avoid.extend(worker.clone().filter(|_| !known && status.avoid.len() < MAX_AVOIDED));
    };
    match why {
        Requeue::GivenBack(why) => {
            let worker = worker.map_or_else(|| "its worker".to_owned(), |name| format!("worker {name}"));
            says(&mut status, TaskPhase::Pending, why.reason, &why.sentence(&worker));
        }
        Requeue::Failed(finish) => {
            shun();
            status.failed_attempts = Some(status.failed_attempts.unwrap_or(0).saturating_add(1));
            let text = format!("{}; it is tried again", finish.message);
            says(&mut status, TaskPhase::Pending, finish.reason, &text);
        }
        Requeue::Lost(why) => {
            shun();
            status.lost_attempts = Some(status.lost_attempts.unwrap_or(0).saturating_add(1));
            let text = format!("{why}; it is done again on another worker");
            says(&mut status, TaskPhase::Pending, TaskReason::WorkerLost, &text);
        }
    }
    takes(&mut status, result);
    status.finished_at = None;
    (status.worker_uid, status.worker_host, status.address, status.local) = (None, None, None, None);
    status
}

fn takes(status: &mut WorkerTaskStatus, result: &Result) {
    status.started_at = result.started.map(Time).or_else(|| status.started_at.take());
    status.finished_at = result.finished.map(Time);
    status.exit_code = result.exit_code;
    status.output.clone_from(&result.output);
}

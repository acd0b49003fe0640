//! The slots of a Worker that are held, with what is known of the tasks that hold them; and the writer of
//! `Worker.status.assignments`.

use std::collections::HashMap;

use jiff::Timestamp;
use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation};
use kube::ResourceExt;
use kube::api::{Api, Patch};
use serde_json::json;

use super::context::Context;
use super::index::{name_of, stored};
use super::record::{WriteError, guard, has_moved, pointer, recover, write_params};
use super::tasks::session_key;
use crate::api::reasons::TaskReason;
use crate::api::task::{TaskMode, TaskPhase};
use crate::api::worker_status::Assignment;
use crate::api::{Worker, WorkerSession, WorkerTask, names};
use crate::domain::belonging::is_named;
use crate::domain::claims::{Claim, Ending, Held, OpenTask, TaskSight};
use crate::domain::ending::{self, phase};

/// What was read live of tasks that the caches do not know, by the UID of the task.
pub type Asked = HashMap<String, Live>;

/// A task and its session as they were read live; `None` if there is none.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// The task.
    pub task: Option<WorkerTask>,
    /// The session that it names.
    pub session: Option<WorkerSession>,
}

/// The slots that are held, by the Worker's status or by the word of the tasks themselves.
pub fn held(context: &Context, worker: &Worker, asked: &Asked) -> Vec<Held> {
    let listed = listed(worker);
    let mut all: Vec<Held> = listed
        .iter()
        .map(|claim| Held { claim: claim.clone(), listed: true, task: sight(context, worker, claim, asked) })
        .collect();
    for task in context.tasks.of_worker(&name_of(worker)) {
        let Some(claim) = own_word(&task, worker) else { continue };
        if !listed.contains(&claim) {
            let sight = sight(context, worker, &claim, asked);
            all.push(Held { claim, listed: false, task: sight });
        }
    }
    all
}

/// The claims that stand in a Worker's status.
pub fn listed(worker: &Worker) -> Vec<Claim> {
    let assignments = worker.status.as_ref().map_or(&[][..], |status| &status.assignments);
    assignments.iter().map(of_assignment).collect()
}

fn of_assignment(assignment: &Assignment) -> Claim {
    Claim {
        task: assignment.task.clone(),
        uid: assignment.uid.clone(),
        session: assignment.session.clone(),
        attempt: u32::try_from(assignment.attempt).unwrap_or(0),
    }
}

/// The claim that a task itself says it has on a Worker.
pub fn own_word(task: &WorkerTask, worker: &Worker) -> Option<Claim> {
    let status = task.status.as_ref()?;
    let with = phase(task).has_worker();
    let here = status.worker.as_deref() == Some(&worker.name_any()) && status.worker_uid == worker.uid();
    (with && here).then(|| Claim::of(task))
}

fn sight(context: &Context, worker: &Worker, claim: &Claim, asked: &Asked) -> TaskSight {
    let namespace = worker.namespace().unwrap_or_default();
    let is_it = |task: &WorkerTask| task.uid().as_ref() == Some(&claim.uid);
    let known = context.tasks.get(&(namespace, claim.task.clone())).map(|task| (*task).clone()).filter(is_it);
    let live = asked.get(&claim.uid);
    let Some(task) = known.or_else(|| live.and_then(|live| live.task.clone()).filter(is_it)) else {
        return if live.is_some() { TaskSight::Gone } else { TaskSight::Missing };
    };
    if own_word(&task, worker).as_ref() != Some(claim) {
        return TaskSight::Over;
    }
    let its_own = |session: &WorkerSession| is_named(&task, session);
    let session = stored(&context.sessions, &session_key(&task)).map(|session| (*session).clone()).filter(its_own);
    let session = session.or_else(|| live.and_then(|live| live.session.clone()).filter(its_own));
    // A cache that is behind is no proof that a session was deleted.
    if session.is_none() && live.is_none() {
        return TaskSight::Missing;
    }
    TaskSight::Open(open(context, worker, &task, session.as_ref()))
}

fn open(context: &Context, worker: &Worker, task: &WorkerTask, session: Option<&WorkerSession>) -> OpenTask {
    let status = task.status.clone().unwrap_or_default();
    let retries = session.and_then(|session| session.spec.run.as_ref()).map_or(0, |run| run.retries);
    OpenTask {
        begun: ending::has_begun(task),
        command: task.spec.mode == TaskMode::Command,
        ending: ending::ending(task, session, context.clock.wall()).or_else(|| forced(worker)),
        retries_left: status.failed_attempts.unwrap_or(0) < retries,
        was_lost: status.lost_attempts.unwrap_or(0) > 0,
    }
}

/// Whether a command may be started for a claim, by what was read live just now: nobody has ended task or session, and the
/// task is at this very attempt with this worker, and has not begun.
pub fn may_start(task: &WorkerTask, session: &WorkerSession, worker: &Worker, claim: &Claim, now: Timestamp) -> bool {
    own_word(task, worker).as_ref() == Some(claim)
        && phase(task) == TaskPhase::Starting
        && ending::ending(task, Some(session).filter(|session| is_named(task, session)), now).is_none()
}

/// Who deletes a Worker may say that its tasks end.
fn forced(worker: &Worker) -> Option<Ending> {
    let meta = &worker.metadata;
    let is_so = meta.deletion_timestamp.is_some() && names::is_set(meta.annotations.as_ref(), names::FORCE_DELETE);
    is_so.then(|| Ending {
        phase: TaskPhase::Failed,
        reason: TaskReason::Deleting,
        message: format!("its worker was deleted with {}", names::FORCE_DELETE),
        deadline: None,
    })
}

/// Writes the claims of a Worker, if it is still as it was read; the answer is the Worker as it is now.
pub async fn write(api: &Api<Worker>, worker: &Worker, claims: &[Claim]) -> Result<Worker, WriteError> {
    if listed(worker) == claims {
        return Ok(worker.clone());
    }
    let mut steps = vec![guard(worker)];
    let mut add = |path: &[&str], value| steps.push(PatchOperation::Add(AddOperation { path: pointer(path), value }));
    if worker.status.is_none() {
        add(&["status"], json!({}));
    }
    let assignments: Vec<Assignment> = claims.iter().map(assignment).collect();
    add(&["status", "assignments"], json!(assignments));
    add(&["status", "tasks"], json!(format!("{}/{}", claims.len(), worker.spec.max_concurrent_tasks)));
    let answer = match api.patch_status(&worker.name_any(), &write_params(), &Patch::Json::<()>(JsonPatch(steps))).await
    {
        Ok(answer) => answer,
        Err(error) => {
            let is_ours = |live: &Worker| listed(live) == claims && has_moved(live, worker);
            recover(api, worker, error, is_ours).await?
        }
    };
    let kept = listed(&answer) == claims;
    kept.then_some(answer).ok_or(WriteError::Pruned { field: "status.assignments" })
}

fn assignment(claim: &Claim) -> Assignment {
    Assignment {
        task: claim.task.clone(),
        uid: claim.uid.clone(),
        session: claim.session.clone(),
        attempt: i32::try_from(claim.attempt).unwrap_or(i32::MAX),
    }
}

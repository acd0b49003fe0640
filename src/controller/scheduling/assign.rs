//! Gives tasks to a worker: the attempt into the status of each task, then one claim for all of them into the worker's,
//! by compare-and-swap. A claim that does not come about leaves tasks that say so; they are settled by the next decision.

use std::sync::Arc;

use kube::{Api, ResourceExt};

use super::Error;
use super::failures::Failures;
use crate::api::task::TaskPhase;
use crate::api::{Worker, WorkerTask, WorkerTaskStatus};
use crate::controller::claims;
use crate::controller::context::Context;
use crate::controller::record::WriteError;
use crate::controller::snapshot;
use crate::controller::task_record;
use crate::domain::claims::Claim;
use crate::domain::ending::phase;
use crate::domain::operation::Kind;

/// How often a claim is tried that others get in the way of.
const TRIES: usize = 3;

/// A task, and what its status is to say when it has the worker.
pub(super) struct Gift {
    pub(super) task: Arc<WorkerTask>,
    pub(super) status: WorkerTaskStatus,
}

/// Gives these tasks to a worker, as far as it takes them.
pub(super) async fn assign(context: &Context, worker: &Worker, gifts: Vec<Gift>) -> Result<(), Error> {
    let api = Api::namespaced(context.client.clone(), &worker.namespace().unwrap_or_default());
    let Some(live) = read(&api, worker).await? else { return Ok(()) };
    let free = free(&live);
    let (mut claimed, mut failures) = (Vec::new(), Failures::default());
    for gift in gifts {
        if claimed.len() < free && failures.go_on() {
            let told = tell(context, gift, worker).await;
            failures.note(told.map(|claim| claimed.extend(claim)));
        }
    }
    // Those that say already that they have the worker get it.
    claim(context, &api, live, &claimed).await?;
    failures.ended()
}

/// Claims a slot for a task that says it has the worker, if there is one.
pub(super) async fn claim_again(context: &Context, worker: &Worker, task: &WorkerTask) -> Result<(), Error> {
    let api = Api::namespaced(context.client.clone(), &worker.namespace().unwrap_or_default());
    match read(&api, worker).await? {
        Some(live) if free(&live) > 0 || is_there(&live, task) => claim(context, &api, live, &own(task, worker)).await,
        // What does not fit any more the worker gives back itself.
        Some(live) => {
            context.wake_worker(&live);
            Ok(())
        }
        None => Ok(()),
    }
}

fn is_there(worker: &Worker, task: &WorkerTask) -> bool {
    own(task, worker).iter().all(|claim| claims::listed(worker).contains(claim))
}

fn own(task: &WorkerTask, worker: &Worker) -> Vec<Claim> {
    claims::own_word(task, worker).into_iter().collect()
}

/// Writes the attempt into a task's status; nothing if somebody else has changed the task meanwhile.
async fn tell(context: &Context, gift: Gift, worker: &Worker) -> Result<Option<Claim>, Error> {
    let Gift { task, status } = gift;
    let api = Api::namespaced(context.client.clone(), &task.namespace().unwrap_or_default());
    match task_record::write(&api, &task, status).await {
        Ok(task) => {
            context.tasks.note(&task);
            context.wake_session(&task);
            Ok(claims::own_word(&task, worker).filter(|_| phase(&task) == TaskPhase::Starting))
        }
        Err(WriteError::Conflict | WriteError::Gone) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn claim(context: &Context, api: &Api<Worker>, live: Worker, claimed: &[Claim]) -> Result<(), Error> {
    let mut live = live;
    for _ in 0..TRIES {
        let known = claims::listed(&live);
        let new = claimed.iter().filter(|claim| !known.contains(claim)).take(free(&live)).cloned();
        let all: Vec<Claim> = known.iter().cloned().chain(new).collect();
        match claims::write(api, &live, &all).await {
            Ok(worker) => {
                context.workers.note(&worker);
                context.wake_worker(&worker);
                return Ok(());
            }
            Err(WriteError::Conflict) => match read(api, &live).await? {
                Some(again) => live = again,
                None => return Ok(()),
            },
            Err(WriteError::Gone) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    // Whoever writes it so often will be looked at again soon.
    Err(WriteError::Conflict.into())
}

/// The worker as it is now, if it is still the one that was meant.
async fn read(api: &Api<Worker>, worker: &Worker) -> Result<Option<Worker>, Error> {
    let live = api.get_opt(&worker.name_any()).await?;
    Ok(live.filter(|live| live.uid() == worker.uid()))
}

/// The slots that may be claimed by what stands in the worker now: none if it is about to be taken away.
fn free(worker: &Worker) -> usize {
    let leaves = worker.metadata.deletion_timestamp.is_some() || worker.spec.paused || !worker.spec.enabled;
    let taken_away = match snapshot::operation(worker) {
        None => false,
        Some(Ok(operation)) => !matches!(operation.kind, Kind::Test | Kind::Launch | Kind::Apply),
        Some(Err(_)) => true,
    };
    if leaves || taken_away {
        return 0;
    }
    usize::try_from(worker.spec.max_concurrent_tasks).unwrap_or(0).saturating_sub(claims::listed(worker).len())
}

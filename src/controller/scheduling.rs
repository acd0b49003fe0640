//! Gives the tasks of sessions to workers: one decision at a time for each cluster, on a view that is never older than
//! what this process has written itself.

mod assign;
pub mod disks;
pub mod gather;
mod material;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};
use tokio::sync::mpsc::UnboundedReceiver;

use self::assign::{Gift, assign, claim_again};
use self::disks::Watched;
use self::gather::{Gathered, gather, label};
use self::material::material;
use super::connection::Key;
use super::context::Context;
use super::record::WriteError;
pub use super::session::Error;
use super::snapshot::hypervisor_key;
use super::task_status::Placed;
use super::{task_record, task_status};
use crate::api::task_status::MAX_STORAGES;
use crate::api::{Worker, WorkerSession};
use crate::clock::BootTime;
use crate::domain::schedule::{Assignment, Plan, Task, decide};

/// Namespace and name of the Hypervisor that a session names.
pub fn hypervisor_of(session: &WorkerSession) -> Key {
    (session.namespace().unwrap_or_default(), session.spec.hypervisor_ref.name.clone())
}

/// What is asked for within this time is decided together.
const GATHERS: Duration = Duration::from_millis(100);
/// Until the next look whether all workers are known.
const SETTLES: Duration = Duration::from_millis(500);
/// Until the next try after one that failed, or that may not be made now.
const AGAIN: Duration = Duration::from_secs(2);
/// Tasks that are told why they wait before the next decision: who gets a worker goes first.
const EXPLAINED: usize = 50;
/// Those of them, at most, whose reason is the same as before and only its words are others.
const REWORDED: usize = 5;

/// Decides whenever it is asked for, for ever.
pub async fn run(context: &Arc<Context>, mut asked: UnboundedReceiver<Key>) {
    context.workers_listed.come().await;
    context.sessions_listed.come().await;
    while let Some(first) = asked.recv().await {
        tokio::time::sleep(GATHERS).await;
        let mut keys = BTreeSet::from([first]);
        while let Ok(key) = asked.try_recv() {
            keys.insert(key);
        }
        futures::future::join_all(keys.into_iter().map(|key| turn(context, key))).await;
    }
}

async fn turn(context: &Arc<Context>, key: Key) {
    // Nobody is given anything by a process that does not lead; whoever leads begins anew.
    if !context.gate.may_change(Duration::ZERO) {
        return;
    }
    if let Err(error) = schedule(context, &key).await {
        tracing::info!(namespace = %key.0, hypervisor = %key.1, %error, retry_in = ?AGAIN, "scheduling failed");
        ask_again(context, &key, AGAIN);
    }
}

/// Decides for the Hypervisor `key`, and for all that reach the same cluster, and carries the decision out.
pub async fn schedule(context: &Context, key: &Key) -> Result<(), Error> {
    let Some(own) = context.connections.get(key) else { return Ok(()) };
    let keys = own.sharers();
    // One decision at a time for all of them: that of the first one's.
    let first = keys.first().cloned().unwrap_or_else(|| key.clone());
    let connection = context.connections.get_or_make(&first);
    let _turn = connection.scheduler.lock().await;
    let begun = context.clock.boot();
    let watched = Watched { connection: &own, disks: &context.disks };
    let mut gathered = gather(&material(context, &keys, &own), &watched);
    if !gathered.unknown.is_empty() {
        let wanted = std::mem::take(&mut gathered.unknown);
        let more = context.disks.look_up(&own, wanted).await;
        gathered = gather(&material(context, &keys, &own), &watched);
        if more {
            ask_again(context, key, GATHERS);
        }
    }
    // Just after the start of this process, or of a worker, those that are known first would get all tasks.
    if own.holds_off(has_strangers(context, &gathered), begun) {
        ask_again(context, key, SETTLES);
        return Ok(());
    }
    let plan = decide(&gathered.world);
    settle(context, &gathered).await?;
    hand_out(context, &gathered, &plan).await?;
    need(context, &keys, &gathered, &plan, begun);
    explain(context, key, &gathered, &plan).await
}

/// Whether there are workers of which it was never known whether they take tasks.
fn has_strangers(context: &Context, gathered: &Gathered) -> bool {
    gathered.workers.values().any(|worker| {
        let connection = context.connections.get(&hypervisor_key(worker));
        !connection.is_some_and(|connection| connection.is_known(&worker.uid().unwrap_or_default()))
    })
}

/// Tasks that say they are with a worker that knows nothing of it: the claim was never written, or was taken out by
/// somebody. It is written now; should the worker not take the task any more, it gives it back itself.
async fn settle(context: &Context, gathered: &Gathered) -> Result<(), Error> {
    for task in &gathered.unclaimed {
        let status = task.status.clone().unwrap_or_default();
        let name = label(&task.namespace().unwrap_or_default(), &status.worker.unwrap_or_default());
        match gathered.workers.get(&name).filter(|worker| worker.uid() == status.worker_uid) {
            Some(worker) => claim_again(context, worker, task).await?,
            // It is not there any more: whoever looks after tasks ends it.
            None => context.wake_task(task),
        }
    }
    Ok(())
}

/// Gives each worker the tasks that are its own now.
async fn hand_out(context: &Context, gathered: &Gathered, plan: &Plan) -> Result<(), Error> {
    let mut by_worker: BTreeMap<&String, Vec<Gift>> = BTreeMap::new();
    let sessions = gathered.world.sessions.iter();
    let known: HashMap<&str, &Task> =
        sessions.flat_map(|session| &session.tasks).map(|task| (task.uid.as_str(), task)).collect();
    for assignment in &plan.assignments {
        if let Some(gift) = gift(gathered, &known, assignment) {
            by_worker.entry(&assignment.worker).or_default().push(gift);
        }
    }
    for (name, gifts) in by_worker {
        if let Some(worker) = gathered.workers.get(name) {
            assign(context, worker, gifts).await?;
        }
    }
    Ok(())
}

fn gift(gathered: &Gathered, known: &HashMap<&str, &Task>, assignment: &Assignment) -> Option<Gift> {
    let (task, worker) = (gathered.tasks.get(&assignment.task)?, gathered.workers.get(&assignment.worker)?);
    let known = known.get(assignment.task.as_str())?;
    let host = gathered.world.workers.iter().find(|known| known.name == assignment.worker)?.host.clone();
    let placed = Placed {
        local: assignment.local,
        vm_host: known.host.clone(),
        storages: known.storages.iter().take(MAX_STORAGES).cloned().collect(),
        worker_host: host,
    };
    Some(Gift { status: task_status::assigned(task, worker, &placed), task: Arc::clone(task) })
}

/// Tells the workers which of them are waited for.
fn need(context: &Context, keys: &BTreeSet<Key>, gathered: &Gathered, plan: &Plan, begun: BootTime) {
    for key in keys {
        let Some(connection) = context.connections.get(key) else { continue };
        let needed = plan.retest.iter().filter_map(|name| gathered.workers.get(name));
        let needed: BTreeMap<String, &Arc<Worker>> = needed
            .filter(|worker| hypervisor_key(worker) == *key)
            .filter_map(|worker| Some((worker.uid()?, worker)))
            .collect();
        for uid in connection.decide(begun, needed.keys().cloned().collect()) {
            if let Some(worker) = needed.get(&uid) {
                context.wake_worker(worker);
            }
        }
    }
}

/// Says in the status of each task that waits why it does, a bounded number of them at a time. Figures and names in a reason
/// that stays follow more slowly: of a thousand tasks each would be written again for each that ends.
async fn explain(context: &Context, key: &Key, gathered: &Gathered, plan: &Plan) -> Result<(), Error> {
    let (mut written, mut reworded) = (0, 0);
    for waiting in &plan.waiting {
        let Some(task) = gathered.tasks.get(&waiting.task) else { continue };
        let namespace = task.namespace().unwrap_or_default();
        // What a person of this namespace calls its workers.
        let message = waiting.message.replace(&label(&namespace, ""), "");
        let status = task.status.as_ref();
        if status.is_some_and(|status| status.reason.as_deref() == Some(waiting.reason.as_str())) {
            let is_told = status.is_some_and(|status| status.message.as_deref() == Some(&*message));
            if is_told || reworded == REWORDED {
                continue;
            }
            reworded += 1;
        }
        if written == EXPLAINED {
            ask_again(context, key, AGAIN);
            break;
        }
        written += 1;
        let api = Api::namespaced(context.client.clone(), &namespace);
        match task_record::write(&api, task, task_status::waiting(task, waiting.reason, &message)).await {
            Ok(task) => {
                context.tasks.note(&task);
                context.wake_session(&task);
            }
            Err(WriteError::Conflict | WriteError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn ask_again(context: &Context, key: &Key, after: Duration) {
    let (bell, key) = (context.schedule.clone(), key.clone());
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        // Nobody listens only while the process ends.
        let _ = bell.send(key);
    });
}

//! Gives the tasks of sessions to workers: one decision at a time for each cluster, on a view that is never older than
//! what this process has written itself.

mod assign;
mod catch_up;
mod cluster;
pub mod disks;
mod failures;
pub mod gather;
mod material;
mod turns;
pub mod watched;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};

use self::assign::{Gift, assign, claim_again};
use self::cluster::Cluster;
use self::disks::Errand;
use self::failures::Failures;
use self::gather::{Gathered, gather, label};
use self::material::material;
pub use self::turns::run;
use self::watched::Watched;
use super::connection::Key;
use super::context::Context;
use super::record::WriteError;
pub use super::session::Error;
use super::snapshot::hypervisor_key;
use super::task_status::Placed;
use super::{task_record, task_status};
use crate::api::reasons::TaskReason;
use crate::api::task_status::MAX_STORAGES;
use crate::api::{Worker, WorkerSession, WorkerTask};
use crate::clock::BootTime;
use crate::domain::schedule::{Assignment, Plan, Task, decide};
use crate::hypervisor::vm::VmRef;

/// Namespace and name of the Hypervisor that a session names.
pub fn hypervisor_of(session: &WorkerSession) -> Key {
    (session.namespace().unwrap_or_default(), session.spec.hypervisor_ref.name.clone())
}

/// What is asked for within this time is decided together.
const GATHERS: Duration = Duration::from_millis(100);
/// Until the next look whether all workers are known.
const SETTLES: Duration = Duration::from_millis(500);
/// Until tasks are told why they wait that were too many for one decision.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two decisions without a reason while something waits: not all that changes the answer rings, such as a
/// protected VM that moves to another host.
const WAITS: Duration = Duration::from_secs(45);
/// A decision waits this long for what is read for it; what comes later brings another one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tasks that are told why they wait before the next decision: who gets a worker goes first.
const EXPLAINED: usize = 50;
/// Those of them, at most, whose reason is the same as before and only its words are others.
const REWORDED: usize = 5;

/// A Worker may look different from before: if it is by what decisions rest on, one is asked for.
pub fn notice(context: &Context, worker: &Worker) {
    let (Some(uid), key) = (worker.uid(), hypervisor_key(worker)) else { return };
    let mut hasher = DefaultHasher::new();
    (&worker.metadata.labels, worker.spec.max_concurrent_tasks).hash(&mut hasher);
    let connection = context.connections.get(&key);
    if connection.is_some_and(|connection| connection.declare(&uid, hasher.finish())) {
        // Nobody listens only while the process ends.
        let _ = context.schedule.send(key);
    }
}

/// Decides for the Hypervisor `key`, and for all that share its cluster, and carries the decision out as far as it can be:
/// what is refused for one task holds no other up. The answer is when to decide again if nobody asks; `None`: not before.
pub async fn schedule(context: &Context, key: &Key) -> Result<Option<Duration>, Error> {
    let Some(own) = context.connections.get(key) else { return Ok(None) };
    let cluster = Cluster::of(context, &own);
    // One decision at a time for all of them. They are locked in the order of their names, so that nobody waits in a circle.
    let mut turns = Vec::new();
    for (_, connection) in cluster.members() {
        turns.push(connection.scheduler.lock().await);
    }
    if !cluster.is_still(&own) {
        return Ok(Some(GATHERS));
    }
    let begun = context.clock.boot();
    let mut gathered = look(context, &cluster);
    let mut more = false;
    if !gathered.unknown.is_empty() {
        more = look_up(context, &cluster, std::mem::take(&mut gathered.unknown)).await;
        gathered = look(context, &cluster);
    }
    // Just after the start of this process, or of a worker, those that are known first would get all tasks.
    if own.holds_off(has_strangers(context, &gathered), begun) {
        return Ok(Some(SETTLES));
    }
    let plan = decide(&gathered.world);
    let mut failures = Failures::default();
    settle(context, &gathered, &mut failures).await;
    hand_out(context, &gathered, &plan, &mut failures).await;
    need(context, &cluster, &gathered, &plan, begun);
    let untold = explain(context, &gathered, &plan, &mut failures).await;
    failures.ended()?;
    Ok([more.then_some(GATHERS), untold, again(context, &gathered, &plan)].into_iter().flatten().min())
}

/// What there is to decide on.
fn look(context: &Context, cluster: &Cluster) -> Gathered {
    let watched = Watched { connections: cluster.connections(), disks: &context.disks, now: context.clock.boot() };
    gather(&material(context, cluster), &watched)
}

/// When to decide again if nobody asks.
fn again(context: &Context, gathered: &Gathered, plan: &Plan) -> Option<Duration> {
    let waits = !plan.waiting.is_empty() || !gathered.kept_out.is_empty() || !gathered.unknown.is_empty();
    let due = gathered.again.map(|at| at.since(context.clock.boot()).max(GATHERS));
    [waits.then_some(WAITS), due].into_iter().flatten().min()
}

/// Looks up the storages of VMs, each by the connection of its own session; whether there are more to look up now.
async fn look_up(context: &Context, cluster: &Cluster, unknown: BTreeMap<Key, Vec<(disks::Subject, VmRef)>>) -> bool {
    let errands = unknown.into_iter().filter_map(|(key, wanted)| {
        let connection = Arc::clone(cluster.connections().get(&key)?);
        let client = connection.state().client?;
        let (clock, bell) = (context.clock.clone(), context.schedule.clone());
        Some(context.disks.look_up(Errand { key, connection, client, wanted, clock, bell, patience: PATIENCE }))
    });
    futures::future::join_all(errands).await.contains(&true)
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
async fn settle(context: &Context, gathered: &Gathered, failures: &mut Failures) {
    for task in &gathered.unclaimed {
        if !failures.go_on() {
            return;
        }
        let status = task.status.clone().unwrap_or_default();
        let name = label(&task.namespace().unwrap_or_default(), &status.worker.unwrap_or_default());
        match gathered.workers.get(&name).filter(|worker| worker.uid() == status.worker_uid) {
            Some(worker) => failures.note(claim_again(context, worker, task).await),
            // It is not there any more: whoever looks after tasks ends it.
            None => context.wake_task(task),
        }
    }
}

/// Gives each worker the tasks that are its own now.
async fn hand_out(context: &Context, gathered: &Gathered, plan: &Plan, failures: &mut Failures) {
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
        let Some(worker) = gathered.workers.get(name).filter(|_| failures.go_on()) else { continue };
        failures.note(assign(context, worker, gifts).await);
    }
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
fn need(context: &Context, cluster: &Cluster, gathered: &Gathered, plan: &Plan, begun: BootTime) {
    for (key, connection) in cluster.members() {
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

/// What a decision has to say to a task that waits.
enum News {
    /// Nothing: it says so already.
    None,
    /// The same reason with other figures or names in it.
    Words,
    /// Another reason.
    Reason,
}

impl News {
    fn of(task: &WorkerTask, reason: TaskReason, message: &str) -> Self {
        let status = task.status.as_ref();
        let same = status.and_then(|status| status.reason.as_deref()) == Some(reason.as_str());
        match status.and_then(|status| status.message.as_deref()) {
            Some(told) if same && told == message => Self::None,
            _ if same => Self::Words,
            _ => Self::Reason,
        }
    }
}

/// Says in the status of each task that waits why it does, a bounded number of them at a time; when to go on, if not all
/// were told. Figures and names in a reason that stays follow more slowly: of a thousand tasks each would be written again
/// for each that ends.
async fn explain(context: &Context, gathered: &Gathered, plan: &Plan, failures: &mut Failures) -> Option<Duration> {
    let decided = plan.waiting.iter().filter_map(|waiting| {
        let task = gathered.tasks.get(&waiting.task)?;
        Some((task, waiting.reason, &waiting.message))
    });
    let kept_out = gathered.kept_out.iter().map(|one| (&one.task, one.reason, &one.message));
    let (mut written, mut reworded) = (0, 0);
    for (task, reason, message) in decided.chain(kept_out) {
        match News::of(task, reason, message) {
            News::None => continue,
            News::Words if reworded == REWORDED => continue,
            News::Words => reworded += 1,
            News::Reason => {}
        }
        if written == EXPLAINED {
            return Some(AGAIN);
        }
        written += 1;
        if !failures.go_on() {
            return None;
        }
        failures.note(tell(context, task, reason, message).await);
    }
    None
}

async fn tell(context: &Context, task: &WorkerTask, reason: TaskReason, message: &str) -> Result<(), Error> {
    let api = Api::namespaced(context.client.clone(), &task.namespace().unwrap_or_default());
    match task_record::write(&api, task, task_status::waiting(task, reason, message)).await {
        Ok(task) => {
            context.tasks.note(&task);
            context.wake_session(&task);
            Ok(())
        }
        Err(WriteError::Conflict | WriteError::Gone) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

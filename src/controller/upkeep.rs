//! What is done now and then, and soon after an object has gone: what this process remembers of it goes, too, and
//! objects that cannot be read are seen to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use tokio::sync::Notify;

use super::connection::Key;
use super::context::Context;
use super::index::stored;
use super::snapshot::{uids, workers_of};
use super::{claims, tasks, unreadable};
use crate::domain::belonging::is_named;
use crate::domain::ending;

/// Between two times without a reason: what a reconcile remembers that runs while its object goes is forgotten then.
const EVERY: Duration = Duration::from_secs(60);
/// After an object has gone, others may follow.
const GATHERS: Duration = Duration::from_secs(1);

/// Sees to everything now and then, and soon after one of `left` rings, for ever. `also` is called each time.
pub async fn run(context: Arc<Context>, left: [Arc<Notify>; 4], also: impl Fn()) {
    loop {
        let rings = left.iter().map(|bell| Box::pin(bell.notified()));
        tokio::select! {
            _ = futures::future::select_all(rings) => tokio::time::sleep(GATHERS).await,
            () = tokio::time::sleep(EVERY) => {}
        }
        forget_gone(&context);
        wake_recovered(&context);
        wake_bereaved(&context);
        unreadable::tend(&context).await;
        also();
    }
}

/// Whether a Hypervisor is there and can be read.
pub fn is_readable(context: &Context, hypervisor: &Key) -> bool {
    stored(&context.hypervisors, hypervisor).is_some()
}

/// Forgets what is remembered of Workers and Hypervisors that are not there any more. The Workers of such a Hypervisor
/// are told.
pub fn forget_gone(context: &Context) {
    let there = uids(context);
    let gone = context.tracks.keep(|uid| there.contains(uid));
    let sessions: HashSet<String> =
        context.sessions.state().iter().filter_map(|one| one.metadata.uid.clone()).collect();
    context.disks.keep(|uid| sessions.contains(uid));
    context.runs.keep(|uid| sessions.contains(uid));
    for (key, connection) in context.connections.all() {
        for uid in &gone {
            connection.done(uid);
            connection.free_id(uid);
        }
        connection.keep_posted(|uid| there.contains(uid));
        if !is_readable(context, &key) {
            // What it knew is of no use to one that comes later under its name.
            context.connections.remove(&key);
            wake_workers(context, &key);
        }
    }
}

fn wake_workers(context: &Context, hypervisor: &Key) {
    for worker in workers_of(context, hypervisor) {
        // Nobody listens only while the process ends.
        let _ = context.changed.send(ObjectRef::from_obj(worker.as_ref()));
    }
}

/// Has those tasks reconciled that have not ended and whose session or Worker is gone: nobody else tells them.
pub fn wake_bereaved(context: &Context) {
    for task in context.tasks.all() {
        let phase = ending::phase(&task);
        let session = stored(&context.sessions, &tasks::session_key(&task));
        let has_session = session.is_some_and(|session| is_named(&task, &session));
        let is_with_it = || {
            let worker = tasks::worker_key(&task).and_then(|key| stored(&context.workers, &key));
            worker.is_some_and(|worker| claims::own_word(&task, &worker).is_some())
        };
        if !phase.has_ended() && (!has_session || phase.has_worker() && !is_with_it()) {
            context.wake_task(&task);
        }
    }
}

/// Has those reconciled that can be read again: their watch does not see that anything of theirs has changed.
fn wake_recovered(context: &Context) {
    for (namespace, name) in context.unreadable_workers.recovered() {
        let _ = context.changed.send(ObjectRef::new(&name).within(&namespace));
    }
    for (namespace, name) in context.unreadable_sessions.recovered() {
        let _ = context.changed_sessions.send(ObjectRef::new(&name).within(&namespace));
    }
    for (namespace, name) in context.unreadable_tasks.recovered() {
        let _ = context.changed_tasks.send(ObjectRef::new(&name).within(&namespace));
    }
    for key in context.unreadable_hypervisors.recovered() {
        if is_readable(context, &key) {
            context.connections.get_or_make(&key).ring();
        }
    }
}

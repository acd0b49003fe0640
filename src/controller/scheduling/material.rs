//! What a decision is made from, out of what this process watches.

use std::sync::Arc;

use kube::ResourceExt;

use super::cluster::Cluster;
use super::gather::Material;
use super::hypervisor_of;
use crate::api::Worker;
use crate::controller::connection::Posted;
use crate::controller::context::Context;
use crate::controller::index::name_of;
use crate::controller::snapshot::hypervisor_key;

/// The workers, sessions and tasks of a cluster.
pub(super) fn material(context: &Context, cluster: &Cluster) -> Material {
    let workers = cluster.members().flat_map(|(key, _)| context.workers.newest_of(key));
    let mut sessions = context.sessions.state();
    sessions.retain(|session| cluster.counts(&hypervisor_of(session)));
    sessions.sort_by_key(|session| name_of(session.as_ref()));
    let with_tasks = sessions.into_iter().map(|session| {
        let tasks = context.tasks.of_session(&name_of(session.as_ref()));
        (session, tasks)
    });
    Material {
        workers: workers.map(|worker| (Arc::clone(&worker), posted(context, &worker))).collect(),
        sessions: with_tasks.collect(),
        members: cluster.members().map(|(key, _)| key.clone()).collect(),
        tasks_per_storage: cluster.tasks_per_storage(),
        now: context.clock.wall(),
    }
}

/// What a worker has told last.
fn posted(context: &Context, worker: &Worker) -> Option<Posted> {
    let connection = context.connections.get(&hypervisor_key(worker))?;
    connection.posted(&worker.uid().unwrap_or_default())
}

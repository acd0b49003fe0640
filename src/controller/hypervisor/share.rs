//! Sharing a cluster with the other Hypervisors that reach it.

use kube::ResourceExt as _;

use super::identity::Standing;
use super::memory::Memory;
use super::peers::{self, Reach};
use super::subject::Subject;
use crate::controller::connection::sharing::Allowance;
use crate::hypervisor::registry::ConnectionLimits;

/// Has the client go by the limits of the cluster that it was found to reach, and launches and VM ids counted there.
/// While it is not known who answers all stays as it was, for that may only take a moment; a client of another cluster
/// than the pinned one has no part in anything.
pub(super) fn share(subject: &Subject<'_>, memory: &Memory) {
    let (Some(client), Some(standing)) = (&memory.client, memory.standing()) else { return };
    let cluster = match standing {
        Standing::Known(cluster) => cluster.clone(),
        Standing::Unpinned => return,
        Standing::Changed { .. } => return client.use_limits(ConnectionLimits::unshared()),
    };
    let limits = peers::limits(&subject.hypervisor, &subject.peers);
    let allowance = Allowance {
        launches: usize::try_from(limits.parallel_launches).unwrap_or(1),
        operations: usize::try_from(limits.parallel_operations).unwrap_or(1),
    };
    let joined = subject.connection.join(Reach::of(&subject.hypervisor, cluster), allowance);
    client.use_limits(joined.limits);
    if joined.is_news {
        ring_peers(subject);
    }
}

/// What this Hypervisor says now may be the lowest word, or may have been: its peers look anew what theirs is.
fn ring_peers(subject: &Subject<'_>) {
    for peer in &subject.peers {
        let key = (peer.namespace().unwrap_or_default(), peer.name_any());
        if let Some(connection) = subject.context.connections.get(&key) {
            connection.ring();
        }
    }
}

//! `Hypervisor`s that reach one cluster share its limits: of each, the lowest counts.
//!
//! Who they are is told by the identity that is pinned in the status. What they share within this process is in
//! [`Sharing`](crate::controller::connection::sharing::Sharing).

use std::sync::Arc;

use kube::ResourceExt as _;

use super::identity;
use crate::api::Hypervisor;
use crate::api::hypervisor::Provider;
use crate::api::hypervisor_status::EffectiveLimits;
use crate::controller::context::Context;
use crate::hypervisor::vm::ClusterIdentity;

/// Launches at a time, if the spec does not say.
const PARALLEL_LAUNCHES: i32 = 4;

/// Tasks at a time on the VMs of one storage, if the spec does not say.
const TASKS_PER_STORAGE: i32 = 4;

/// The cluster that a Hypervisor reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::controller) struct Reach {
    provider: Provider,
    cluster: ClusterIdentity,
    /// Whether the server must prove who it is.
    is_verified: bool,
}

impl Reach {
    /// What `hypervisor` reaches, if the cluster behind its endpoints is this one.
    pub(in crate::controller) fn of(hypervisor: &Hypervisor, cluster: ClusterIdentity) -> Self {
        let spec = &hypervisor.spec;
        Self { provider: spec.provider, cluster, is_verified: !spec.tls.insecure_skip_verify }
    }

    fn pinned(hypervisor: &Hypervisor) -> Option<Self> {
        let identity = hypervisor.status.as_ref()?.identity.as_ref()?;
        Some(Self::of(hypervisor, identity::from_status(identity)))
    }

    /// Whether what another Hypervisor says and does counts for this one, too: it reaches the same cluster. One that does
    /// not check whom it talks to could claim any identity, so it has no say in the limits of one that does.
    pub(in crate::controller) fn heeds(&self, other: &Self) -> bool {
        self.provider == other.provider
            && (other.is_verified || !self.is_verified)
            && identity::is_same(&self.cluster, &other.cluster)
    }
}

/// The other Hypervisors whose pinned cluster is the same one.
pub(in crate::controller) fn of(context: &Context, hypervisor: &Hypervisor) -> Vec<Arc<Hypervisor>> {
    let mut peers = context.hypervisors.state_filter(|other| is_peer(hypervisor, other));
    peers.sort_by_key(|peer| (peer.namespace(), peer.name_any()));
    peers
}

/// Whether what `other` says and does counts for `hypervisor`, by what is pinned in their statuses.
pub(in crate::controller) fn is_peer(hypervisor: &Hypervisor, other: &Hypervisor) -> bool {
    other.metadata.uid != hypervisor.metadata.uid
        && Reach::pinned(hypervisor).is_some_and(|own| Reach::pinned(other).is_some_and(|other| own.heeds(&other)))
}

/// The limits in force.
pub(in crate::controller) fn limits(hypervisor: &Hypervisor, peers: &[Arc<Hypervisor>]) -> EffectiveLimits {
    let declared = |hypervisor: &Hypervisor| EffectiveLimits {
        parallel_launches: hypervisor.spec.limits.parallel_launches.unwrap_or(PARALLEL_LAUNCHES),
        parallel_operations: hypervisor.spec.limits.parallel_operations,
        tasks_per_storage: hypervisor.spec.limits.tasks_per_storage.or(Some(TASKS_PER_STORAGE)),
        deletions_per_hour: hypervisor.spec.limits.deletions_per_hour,
    };
    peers.iter().map(|peer| declared(peer)).fold(declared(hypervisor), |one, other| EffectiveLimits {
        parallel_launches: one.parallel_launches.min(other.parallel_launches),
        parallel_operations: one.parallel_operations.min(other.parallel_operations),
        tasks_per_storage: one.tasks_per_storage.min(other.tasks_per_storage),
        deletions_per_hour: one.deletions_per_hour.min(other.deletions_per_hour),
    })
}

/// Names the peers for a person who sees `hypervisor`: those in other namespaces are none of their business.
pub(super) fn named(hypervisor: &Hypervisor, peers: &[Arc<Hypervisor>]) -> Option<String> {
    if peers.is_empty() {
        return None;
    }
    let near = |peer: &&Arc<Hypervisor>| peer.metadata.namespace == hypervisor.metadata.namespace;
    let mut names: Vec<String> = peers.iter().filter(near).map(|peer| peer.name_any()).collect();
    if names.len() < peers.len() {
        names.push("a Hypervisor of another namespace".to_owned());
    }
    Some(format!(
        "{} reaches the same cluster: deletions are counted together, the lowest limits count",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypervisor(namespace: &str, name: &str, deletions: i32, launches: Option<i32>) -> Arc<Hypervisor> {
        let mut limits = serde_json::json!({"deletionsPerHour": deletions});
        if let Some(launches) = launches {
            limits["parallelLaunches"] = launches.into();
        }
        Arc::new(
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "provider": "Proxmox", "endpoints": [], "credentialsSecretRef": {"name": "s"}, "limits": limits,
                },
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_lowest_of_each_limit_counts() {
        let own = hypervisor("a", "one", 10, None);
        let peers = [hypervisor("a", "two", 3, Some(9)), hypervisor("b", "three", 20, Some(2))];
        let limits = limits(&own, &peers);
        assert_eq!((limits.deletions_per_hour, limits.parallel_launches, limits.parallel_operations), (3, 2, 8));
        assert_eq!(limits.tasks_per_storage, Some(4), "nobody said otherwise");
        let text = named(&own, &peers).unwrap();
        assert!(text.starts_with("two, a Hypervisor of another namespace reaches") && !text.contains("three"));
        assert_eq!(named(&own, &[]), None);
    }
}

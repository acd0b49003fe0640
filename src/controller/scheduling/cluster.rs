//! Whose tasks are given to workers together: those of all Hypervisors that share one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::controller::connection::{Connection, Key};
use crate::controller::context::Context;

/// The Hypervisors of one decision.
pub(super) struct Cluster {
    /// Those that it is made for, each with its own connection: what one of them sees is for its own sessions alone.
    members: BTreeMap<Key, Arc<Connection>>,
    /// Those whose running tasks count, too, while they take no notice of the members.
    heeded: BTreeSet<Key>,
}

impl Cluster {
    /// The cluster of a Hypervisor.
    pub(super) fn of(context: &Context, own: &Connection) -> Self {
        let member = |key: Key| Some((key.clone(), context.connections.get(&key)?));
        let members: BTreeMap<Key, Arc<Connection>> = own.partners().into_iter().filter_map(member).collect();
        let heeded = members.values().flat_map(|connection| connection.sharers());
        let heeded = heeded.filter(|key| !members.contains_key(key)).collect();
        Self { members, heeded }
    }

    /// Those that the decision is made for.
    pub(super) fn members(&self) -> impl Iterator<Item = (&Key, &Arc<Connection>)> {
        self.members.iter()
    }

    /// The connections of those that the decision is made for.
    pub(super) fn connections(&self) -> &BTreeMap<Key, Arc<Connection>> {
        &self.members
    }

    /// Whether the running tasks of a Hypervisor count.
    pub(super) fn counts(&self, key: &Key) -> bool {
        self.members.contains_key(key) || self.heeded.contains(key)
    }

    /// Whether it consists of the same members.
    pub(super) fn is_still(&self, own: &Connection) -> bool {
        own.partners().iter().all(|key| self.members.contains_key(key))
    }

    /// The most tasks of a storage at a time: the lowest word counts.
    pub(super) fn tasks_per_storage(&self) -> usize {
        self.members.values().map(|connection| connection.state().tasks_per_storage).min().unwrap_or(1)
    }
}

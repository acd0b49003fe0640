//! What is known of protected VMs by the latest inventories, and by what was looked up of their disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disks::{Disks, Known, Subject};
use super::gather::{Outlook, Storages, Unknown};
use crate::api::reasons::TaskReason;
use crate::clock::BootTime;
use crate::controller::connection::{Connection, Key};
use crate::controller::view::View;
use crate::domain::observation::HypervisorState;
use crate::hypervisor::vm::VmRef;

/// What the connections of Hypervisors show: each VM is seen by that of its own session.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// The ways to the hypervisors.
    pub connections: &'a BTreeMap<Key, Arc<Connection>>,
    /// What is known of disks.
    pub disks: &'a Disks,
    /// The time.
    pub now: BootTime,
}

impl Outlook for Watched<'_> {
    fn host(&self, hypervisor: &Key, vm: &str) -> Option<String> {
        let connection = self.connections.get(hypervisor)?;
        connection.view(|view| view.inventory().vms.get(vm).map(|vm| vm.host.clone()))
    }

    fn storages(&self, hypervisor: &Key, subject: &Subject) -> Storages {
        let failed = match self.disks.of(subject) {
            Some(Known::On(storages)) => return Storages::Known(storages),
            Some(Known::Failed(failure)) => Some(failure),
            None => None,
        };
        let not_ready = |message| {
            let told = Some((TaskReason::HypervisorNotReady, message));
            Storages::Unknown(Unknown { told, ..Unknown::default() })
        };
        // Nothing is asked of a hypervisor that is not at hand.
        let connection = match self.usable(hypervisor) {
            Ok(connection) => connection,
            Err(message) => return not_ready(message),
        };
        let id = subject.1.clone();
        let Some(host) = self.host(hypervisor, &id) else {
            // Gone: it has no disks any more.
            if connection.view(View::is_complete) {
                return Storages::Known(BTreeSet::new());
            }
            return not_ready(format!("Hypervisor {} has not shown VM {id} yet", hypervisor.1));
        };
        let again = failed.as_ref().map(|failure| failure.again);
        let wanted = again.is_none_or(|again| again <= self.now).then_some(VmRef { host, id });
        let told = failed.map(|failure| (TaskReason::DisksUnknown, failure.message));
        Storages::Unknown(Unknown { wanted, told, again })
    }
}

impl Watched<'_> {
    /// The connection, if something can be asked by it; else why not.
    fn usable(&self, hypervisor: &Key) -> Result<&Connection, String> {
        let unknown = || format!("Hypervisor {} has not been reached yet", hypervisor.1);
        let connection = self.connections.get(hypervisor).ok_or_else(unknown)?;
        match connection.state().verdict {
            HypervisorState::Ready => Ok(connection),
            HypervisorState::Away(problem) | HypervisorState::Missing(problem) => Err(problem.message),
        }
    }
}

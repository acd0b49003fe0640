//! The storages that protected VMs' disks are on: read once for each VM of a session, a few at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;

use super::gather::Outlook;
use crate::controller::connection::Connection;
use crate::hypervisor::vm::VmRef;

/// The most VMs that are read before the next decision.
const AT_ONCE: usize = 64;
/// How many are read at the same time.
const PARALLEL: usize = 8;

/// Which VM of which session (UID).
pub type Subject = (String, String);

/// What is known of disks.
#[derive(Debug, Default)]
pub struct Disks(Mutex<HashMap<Subject, BTreeSet<String>>>);

impl Disks {
    fn all(&self) -> MutexGuard<'_, HashMap<Subject, BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The storages of a VM as they were when its session asked first.
    pub fn of(&self, subject: &Subject) -> Option<BTreeSet<String>> {
        self.all().get(subject).cloned()
    }

    /// Forgets sessions that are not there any more.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.all().retain(|(session, _), _| is_there(session));
    }

    /// Looks up some of the VMs; whether there are more.
    pub async fn look_up(&self, connection: &Arc<Connection>, wanted: Vec<(Subject, VmRef)>) -> bool {
        let Some(client) = connection.state().client else { return false };
        let more = wanted.len() > AT_ONCE;
        let some: Vec<_> = wanted.into_iter().take(AT_ONCE).collect();
        let reads = futures::stream::iter(some).map(|(subject, at)| {
            let client = Arc::clone(&client);
            async move {
                let names = match client.storages_of(&at).await {
                    Ok(names) => names,
                    Err(fault) if fault.is_transient() || fault.is_away() => return,
                    // It is gone, or hidden: whoever processes it will see. It counts for no storage.
                    Err(fault) => {
                        tracing::info!(vm = %at, %fault, "the disks of a VM could not be read");
                        BTreeSet::new()
                    }
                };
                let keys = names.iter().map(|name| connection.storage_key(&at.host, name)).collect();
                self.all().insert(subject, keys);
            }
        });
        reads.buffer_unordered(PARALLEL).collect::<Vec<()>>().await;
        more
    }
}

/// What the latest inventory shows of protected VMs, and what was looked up of their disks.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// The way to the hypervisor that they are on.
    pub connection: &'a Connection,
    /// What is known of disks.
    pub disks: &'a Disks,
}

impl Outlook for Watched<'_> {
    fn host(&self, vm: &str) -> Option<String> {
        self.connection.view(|view| view.inventory().vms.get(vm).map(|vm| vm.host.clone()))
    }

    fn storages(&self, subject: &Subject) -> Option<BTreeSet<String>> {
        self.disks.of(subject)
    }
}

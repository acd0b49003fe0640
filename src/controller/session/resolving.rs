//! Which VMs a session means, by the latest inventory: only by one that shows all that there was when the session came.

use std::collections::{BTreeMap, BTreeSet};

use super::Pass;
use crate::api::WorkerTask;
use crate::api::reasons::TaskReason;
use crate::controller::connection::Connection;
use crate::controller::snapshot::named_ids;
use crate::controller::view::View;
use crate::domain::identity::Mark;
use crate::domain::resolve::{Resolved, Resolver};

impl Pass<'_> {
    /// What the entries of the session mean; `None` if that cannot be told before another poll. `made`: the tasks that
    /// exist, by their places.
    pub(super) fn resolve(&self, connection: &Connection, made: &BTreeMap<usize, WorkerTask>) -> Option<Vec<Resolved>> {
        let now = self.context.clock.boot();
        let seen = self.context.runs.with(&self.uid, |run| run.seen(now));
        let named = self.named_vms(connection);
        let range = connection.state().vm_ids;
        let made = made.iter().map(|(index, task)| (*index, task.spec.virtual_machine.clone())).collect();
        let resolved = connection.view(|view| {
            let workers = named.union(&self.marked_vms(view)).cloned().collect();
            let resolver = Resolver::new(view.inventory(), &workers);
            let all = resolver.all(&self.session.spec.virtual_machines, &made);
            let is_old = view.latest().is_none_or(|polled| polled < seen);
            let is_unsure = |one: &Resolved| is_absent(one) && is_old || may_be_ours(one, view, range);
            (!all.iter().any(is_unsure)).then_some(all)
        });
        if resolved.is_none() {
            connection.hurry(now);
        }
        resolved
    }

    /// The VMs that Workers name.
    fn named_vms(&self, connection: &Connection) -> BTreeSet<String> {
        let mut hypervisors = connection.sharers();
        hypervisors.insert(self.hypervisor());
        named_ids(self.context, &hypervisors, None)
    }

    /// The VMs that carry this installation's mark. A copy of one does not count.
    fn marked_vms(&self, view: &View) -> BTreeSet<String> {
        let installation = &self.context.installation;
        let is_ours = |id: &str, mark: &Mark| mark.installation == *installation && mark.vm_id == id;
        let marked = view
            .known()
            .filter(|(id, _, shown)| Mark::parse(&shown.description).is_some_and(|mark| is_ours(id, &mark)));
        marked.map(|(id, _, _)| id.clone()).collect()
    }
}

/// Whether a VM was not found: it may have been made after the last poll.
fn is_absent(resolved: &Resolved) -> bool {
    let reason = resolved.refusal.as_ref().map(|why| why.reason);
    matches!(reason, Some(TaskReason::NotFound | TaskReason::HostMissing))
}

/// Whether a VM looks as if it were a worker, and has not been read yet.
fn may_be_ours(resolved: &Resolved, view: &View, range: (u32, u32)) -> bool {
    let id = resolved.vm.id.as_ref().filter(|_| resolved.refusal.is_none());
    id.is_some_and(|id| view.is_unread(id, range))
}

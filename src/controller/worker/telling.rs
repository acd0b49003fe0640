//! What a pass tells people: by the status, by events, in the log.

use std::time::Duration;

use super::{Error, Pass, Turn};
use crate::api::{WorkerStatus, conditions};
use crate::controller::events::Happening;
use crate::controller::snapshot::{self, hypervisor_key};
use crate::controller::{budget, status, testing};
use crate::domain::declare;
use crate::domain::observation::Facts;
use crate::domain::operation::Operation;
use crate::domain::plan::{Report, VmReport};
use crate::hypervisor::vm::TaskState;

fn was_deployed(known: &WorkerStatus) -> bool {
    known.vm.is_some() && conditions::is_true(&known.conditions, conditions::DEPLOYED)
}

impl Pass<'_> {
    /// Our finalizer goes by its owner's word alone.
    pub(super) fn tell_abandoned(&self) {
        let hypervisor = &self.worker.spec.hypervisor_ref.name;
        let vm = snapshot::vm_of(&self.worker).map_or_else(|| "no known VM".to_owned(), |at| at.to_string());
        let note = format!("abandoned by annotation; left behind on Hypervisor {hypervisor}: {vm}");
        tracing::warn!(worker = %declare::qualified_name(&self.worker), "{note}");
        self.context.metrics.abandoned();
        self.happened(true, "Abandoned", "Delete", note);
    }

    /// A task that deletes a VM may leave a disk behind: people must know, for nobody else does.
    pub(super) fn tell_leaks(&self, operation: &Operation, task: Option<&TaskState>) {
        if let Some(TaskState::Succeeded { warnings }) = task
            && !warnings.is_empty()
        {
            let note = format!("VM {}: {}", operation.target.vm_id, warnings.join("; "));
            tracing::warn!(worker = %declare::qualified_name(&self.worker), "{note}");
            self.happened(true, "TaskWarning", "Observe", note);
        }
    }

    /// Writes the status if it says something new.
    pub(super) async fn report(
        &mut self,
        facts: &Facts,
        report: &Report,
        after: Option<Duration>,
    ) -> Result<Turn, Error> {
        let status = self.rendered(facts, report);
        let known = self.worker.status.clone().unwrap_or_default();
        let minor = facts.remembered.operation.is_some() && status::same_outline(&status, &known);
        if minor || status::same(&status, &known) {
            return Ok(Turn::Done(after));
        }
        if !self.fresh {
            return self.refresh().await;
        }
        if was_deployed(&known) && report.vm == VmReport::Gone && !facts.declared.deleting {
            self.tell_vanished(&known).await;
        }
        self.worker = status::write(&self.api, &self.worker, status).await?;
        Ok(Turn::Done(after))
    }

    fn rendered(&self, facts: &Facts, report: &Report) -> WorkerStatus {
        let now = self.context.clock.wall();
        status::render(&self.worker, Some(&facts.declared), report, facts.remembered.claims, now)
    }

    /// Somebody else deleted the VM: its id rests before it is used again.
    async fn tell_vanished(&self, known: &WorkerStatus) {
        let id = known.vm.as_ref().and_then(|vm| vm.id.clone()).unwrap_or_default();
        self.happened(true, "VmVanished", "Observe", format!("VM {id} is gone and was not deleted from here"));
        if let Err(error) = budget::vanished(self.context, &hypervisor_key(&self.worker), &id).await {
            tracing::debug!(%error, "a vanished VM could not be entered");
        }
    }

    pub(super) fn happened(&self, warning: bool, reason: &'static str, action: &'static str, note: String) {
        let object = testing::reference(&self.worker);
        self.context.events.publish(Happening { object, warning, reason, action, note });
    }
}

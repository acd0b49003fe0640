//! What a pass tells people: by the status, by events, in the log.

use std::time::Duration;

use super::{Error, Pass, Turn};
use crate::api::conditions::Answer;
use crate::api::reasons::WorkerReason;
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

    /// The VM that was made for it has none of its marks, so that nothing may delete it from here.
    pub(super) fn tell_left_behind(&self) {
        let hypervisor = &self.worker.spec.hypervisor_ref.name;
        let vm = snapshot::vm_of(&self.worker).map_or_else(|| "no known VM".to_owned(), |at| at.to_string());
        let note = format!(
            "left behind on Hypervisor {hypervisor}: {vm}. It was being made for this Worker and never got its mark, so \
             that it is not deleted from here; delete it by hand if it is nobody's"
        );
        tracing::warn!(worker = %declare::qualified_name(&self.worker), "{note}");
        self.context.metrics.abandoned();
        self.happened(true, "LeftBehind", "Delete", note);
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
        self.tell_trouble(&known);
        Ok(Turn::Done(after))
    }

    /// An event, if the worker ceased to be ready, or is not for another reason than `before`. A test's result has an
    /// event of its own, and a deletion is what a person asked for.
    fn tell_trouble(&self, before: &WorkerStatus) {
        let ready_of = |status: &WorkerStatus| {
            let ready = conditions::find(&status.conditions, conditions::READY)?;
            let is_false = ready.status == Answer::False.as_str();
            is_false.then(|| (ready.reason.clone(), ready.message.clone()))
        };
        let Some((reason, message)) = self.worker.status.as_ref().and_then(ready_of) else { return };
        let reason = WorkerReason::ALL.iter().find(|known| known.as_str() == reason);
        let is_news = |reason: &&WorkerReason| ready_of(before).is_none_or(|(before, _)| before != reason.as_str());
        match reason.filter(is_news) {
            None | Some(WorkerReason::TestFailed | WorkerReason::Deleting) => {}
            Some(reason) => self.happened(true, reason.as_str(), "Reconcile", message),
        }
    }

    /// What the VM was made as goes into the status before the operation, which knows it too, is cleared. Usually the
    /// result of its test has brought it there.
    pub(super) async fn keep_made_as(&mut self, facts: &Facts, report: &Report) -> Result<(), Error> {
        let status = self.rendered(facts, report);
        let is_there = |status: &WorkerStatus| status.applied.is_some();
        if is_there(&status) && !self.worker.status.as_ref().is_some_and(is_there) {
            self.worker = status::write(&self.api, &self.worker, status).await?;
        }
        Ok(())
    }

    pub(super) fn rendered(&self, facts: &Facts, report: &Report) -> WorkerStatus {
        let now = self.context.clock.wall();
        status::render(&self.worker, Some(&facts.declared), report, super::listed(facts), now)
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

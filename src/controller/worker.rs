//! The controller of the kind `Worker`: snapshot, plan, then look closer, act, or report.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};
use thiserror::Error;

use super::connection::Connection;
use super::context::Context;
use super::events::Happening;
use super::execute::{self, ExecuteError, Work};
use super::looks::{Looker, Looks};
use super::record::{self, WriteError};
use super::snapshot::{self, hypervisor_key};
use super::testing::{self, Ended};
use super::{finalizer, status};
use crate::api::conditions;
use crate::api::reasons::WorkerReason;
use crate::api::{Worker, WorkerStatus, names};
use crate::domain::declare;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::observation::{Declared, Facts, HypervisorState, Problem};
use crate::domain::operation::{Kind, Operation};
use crate::domain::plan::{self, Decision, Look, Next, Report, VmReport};
use crate::guest::checks::CheckResult;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::TaskState;

/// Decisions within one pass; a pass that needs more goes on with the next one.
const MOST_ROUNDS: u32 = 40;
/// Until the next try after a write that somebody else's write overtook.
const SOON: Duration = Duration::from_millis(200);

/// Why a pass ended early. The next one goes on from what is recorded.
#[derive(Debug, Error)]
pub enum Error {
    /// A write did not happen.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An effect was not carried out, or not finished.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The Kubernetes API did not answer.
    #[error("the Kubernetes API: {0}")]
    Api(#[from] kube::Error),
}

impl From<&Error> for Option<Duration> {
    fn from(error: &Error) -> Self {
        match error {
            Error::Write(WriteError::Conflict) | Error::Execute(ExecuteError::Write(WriteError::Conflict)) => {
                Some(SOON)
            }
            _ => None,
        }
    }
}

/// Brings one worker a little closer to what is declared. The answer is when to look again; `None`: when something
/// changes.
pub async fn reconcile(worker: Arc<Worker>, context: &Context) -> Result<Option<Duration>, Error> {
    Box::pin(Pass::new(context, (*worker).clone()).run()).await
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Test => "Test",
        Kind::Apply => "Apply",
        Kind::ShutDown => "ShutDown",
        Kind::Delete => "Delete",
    }
}

fn was_deployed(known: &WorkerStatus) -> bool {
    known.vm.is_some() && conditions::is_true(&known.conditions, conditions::DEPLOYED)
}

/// One pass over one worker.
struct Pass<'a> {
    context: &'a Context,
    api: Api<Worker>,
    uid: String,
    worker: Worker,
    /// Whether `worker` was read live, or comes from a write of this pass.
    fresh: bool,
    looks: Looks,
}

/// What a round of a pass leads to.
enum Turn {
    Again,
    Done(Option<Duration>),
}

impl<'a> Pass<'a> {
    fn new(context: &'a Context, worker: Worker) -> Self {
        let namespace = worker.namespace().unwrap_or_default();
        let uid = worker.uid().unwrap_or_default();
        let api = Api::namespaced(context.client.clone(), &namespace);
        Self { context, api, uid, worker, fresh: false, looks: Looks::default() }
    }

    async fn run(mut self) -> Result<Option<Duration>, Error> {
        for _ in 0..MOST_ROUNDS {
            if let Turn::Done(after) = self.round().await? {
                return Ok(after);
            }
        }
        Ok(Some(SOON))
    }

    async fn round(&mut self) -> Result<Turn, Error> {
        let declared = match declare::declared(&self.worker, &self.context.installation) {
            Ok(declared) => declared,
            Err(problem) => return self.unreadable(problem).await,
        };
        let link = self.link();
        if let Some(fault) = self.follow_task(&declared, link.as_ref()).await {
            return self.hindered(&declared, &fault).await;
        }
        let facts = snapshot::facts(self.context, &self.worker, self.fresh, declared, &self.looks);
        let decision = plan::plan(&facts);
        self.step(&facts, decision, link).await
    }

    /// The declaration cannot be read (it was made under another CRD, perhaps): that is said, and nothing is done but to
    /// let go of what its owner has abandoned.
    async fn unreadable(&mut self, problem: Problem) -> Result<Turn, Error> {
        if !self.fresh {
            return self.refresh().await;
        }
        let meta = &self.worker.metadata;
        let abandoned = meta.deletion_timestamp.is_some() && names::is_set(meta.annotations.as_ref(), names::ABANDON);
        if abandoned {
            tracing::warn!(worker = %declare::qualified_name(&self.worker), "abandoned by annotation; its VM is left behind");
            self.context.metrics.abandoned();
            finalizer::remove(&self.api, &self.worker, names::WORKER_FINALIZER).await?;
            return Ok(Turn::Done(None));
        }
        let report = plan::unreadable(problem);
        let status = status::render(&self.worker, None, &report, 0, self.context.clock.wall());
        self.worker = status::write(&self.api, &self.worker, status).await?;
        Ok(Turn::Done(Some(Duration::from_secs(60))))
    }

    /// The hypervisor's connection and client, if there are any.
    fn link(&self) -> Option<(Arc<Connection>, SharedHypervisor)> {
        let connection = self.context.connections.get(&hypervisor_key(&self.worker))?;
        let client = connection.state().client?;
        Some((connection, client))
    }

    /// Asks what became of the task that the open operation's step has started.
    async fn follow_task(
        &mut self,
        declared: &Declared,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Option<Fault> {
        let Some(Ok(operation)) = snapshot::operation(&self.worker) else { return None };
        let (connection, client) = link?;
        self.resume(&operation, connection);
        let usable = connection.state().verdict == HypervisorState::Ready;
        if self.looks.task.is_some() || !usable {
            return None;
        }
        match self.looker(declared, connection, client).task(&operation).await {
            Ok(task) => {
                self.tell_leaks(&operation, task.as_ref());
                if let Some(TaskState::Failed { message, kind }) = &task {
                    let (fault, now) = (Fault::new(kind.clone(), message.clone()), self.context.clock.boot());
                    let seed = u64::from(now.since_start().subsec_nanos());
                    self.context.tracks.with(&self.uid, |track| track.task_failed(fault, now, seed));
                }
                self.looks.task = task;
                None
            }
            Err(fault) => Some(fault),
        }
    }

    /// A test that was open when this process began keeps its turn.
    fn resume(&self, operation: &Operation, connection: &Connection) {
        let first = self.context.tracks.with(&self.uid, |track| !std::mem::replace(&mut track.resumed, true));
        let now = self.context.clock.boot();
        if first && snapshot::launches(operation) {
            connection.resume(&self.uid, now);
        }
        connection.at_work(&self.uid, now);
    }

    fn looker<'b>(
        &'b self,
        declared: &'b Declared,
        connection: &'b Arc<Connection>,
        client: &'b SharedHypervisor,
    ) -> Looker<'b> {
        Looker { context: self.context, worker: &self.worker, declared, connection, client }
    }

    /// Does what was decided.
    async fn step(
        &mut self,
        facts: &Facts,
        decision: Decision,
        link: Option<(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Turn, Error> {
        let Decision { next, report } = decision;
        match next {
            Next::Wait { after, poll } => {
                self.let_go(facts, Some(after), link.as_ref());
                if let Some((connection, _)) = link.as_ref().filter(|_| poll) {
                    connection.hurry(self.context.clock.boot());
                }
                self.report(facts, &report, Some(after)).await
            }
            Next::Rest => {
                self.let_go(facts, None, link.as_ref());
                self.report(facts, &report, None).await
            }
            _ if !self.fresh => self.refresh().await,
            Next::Release { abandoned } => self.release(facts, abandoned, link.as_ref()).await,
            Next::Close(_) => self.close(link.as_ref()).await,
            Next::Conclude { operation, check, message } => {
                let result = CheckResult::failed(check, facts.observed.step_age, message);
                self.conclude(facts, &report, &operation, &[result], None).await
            }
            Next::Look(look) => match link {
                Some((connection, client)) => self.look(facts, &look, &connection, &client).await,
                None => Ok(Turn::Done(Some(SOON))),
            },
            Next::Act { record, effect } => match link {
                Some((connection, client)) => {
                    let work =
                        Work { context: self.context, api: &self.api, client: &client, declared: &facts.declared };
                    connection.change_view(|view| view.forget(&record.target.vm_id));
                    connection.hurry(self.context.clock.boot());
                    let done = execute::carry_out(&work, self.worker.clone(), &record, effect).await;
                    self.looks = Looks::default();
                    self.acted(done)
                }
                None => Ok(Turn::Done(Some(SOON))),
            },
            Next::Check(operation) => match link {
                Some((connection, client)) => self.check(facts, &report, &operation, &connection, &client).await,
                None => Ok(Turn::Done(Some(SOON))),
            },
        }
    }

    /// Who waits for long, for a person perhaps, holds neither permit nor id meanwhile.
    fn let_go(&self, facts: &Facts, after: Option<Duration>, link: Option<&(Arc<Connection>, SharedHypervisor)>) {
        let Some((connection, _)) = link.filter(|_| after.is_none_or(|after| after >= Duration::from_secs(20))) else {
            return;
        };
        connection.done(&self.uid);
        if facts.remembered.operation.is_none() {
            connection.free_id(&self.uid);
        }
    }

    fn acted(&mut self, done: Result<Worker, ExecuteError>) -> Result<Turn, Error> {
        match done {
            Ok(worker) => {
                self.worker = worker;
                Ok(Turn::Again)
            }
            Err(ExecuteError::Unproven(fault)) => {
                tracing::info!(worker = %declare::qualified_name(&self.worker), %fault, "nothing was sent");
                // The record was written all the same.
                self.fresh = false;
                Ok(Turn::Done(Some(SOON * 5)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the worker live: what is written or done next must not rest on a cache.
    async fn refresh(&mut self) -> Result<Turn, Error> {
        let Some(live) = self.api.get_opt(&self.worker.name_any()).await? else { return Ok(Turn::Done(None)) };
        if live.uid() != self.worker.uid() {
            return Ok(Turn::Done(None));
        }
        self.worker = live;
        self.fresh = true;
        self.looks = Looks::default();
        Ok(Turn::Again)
    }

    async fn look(
        &mut self,
        facts: &Facts,
        look: &Look,
        connection: &Arc<Connection>,
        client: &SharedHypervisor,
    ) -> Result<Turn, Error> {
        let operation = match &facts.remembered.operation {
            Some(Ok(operation)) => Some(operation.clone()),
            _ => None,
        };
        let mut looks = std::mem::take(&mut self.looks);
        let looked = self.looker(&facts.declared, connection, client).look(look, operation.as_ref(), &mut looks).await;
        self.looks = looks;
        match looked {
            Ok(()) => Ok(Turn::Again),
            Err(fault) => self.hindered(&facts.declared, &fault).await,
        }
    }

    /// A look failed: that is said if a person can do something about it, and tried again.
    async fn hindered(&mut self, declared: &Declared, fault: &Fault) -> Result<Turn, Error> {
        let reason = match &fault.kind {
            FaultKind::Forbidden { .. } => WorkerReason::Forbidden,
            FaultKind::NoQuorum => WorkerReason::NoQuorum,
            FaultKind::Refused | FaultKind::Other => WorkerReason::OperationFailed,
            FaultKind::Unreachable => WorkerReason::HostOffline,
            _ => {
                tracing::info!(worker = %declare::qualified_name(&self.worker), %fault, "a look failed");
                return Ok(Turn::Done(Some(Duration::from_secs(3))));
            }
        };
        let facts = snapshot::facts(self.context, &self.worker, self.fresh, declared.clone(), &self.looks);
        let decision = plan::hindered(&facts, Problem::new(reason, fault.message.clone()));
        self.report(&facts, &decision.report, Some(Duration::from_secs(15))).await
    }

    /// Runs the checks and records what they found; checks that fail right after the boot are run again.
    async fn check(
        &mut self,
        facts: &Facts,
        report: &Report,
        operation: &Operation,
        connection: &Arc<Connection>,
        client: &SharedHypervisor,
    ) -> Result<Turn, Error> {
        let findings = match testing::run(&self.looker(&facts.declared, connection, client), operation).await {
            Ok(findings) => findings,
            // A guest that answers and cannot be asked: that is the test's result, if it stays so.
            Err(fault) if facts.observed.step_age > facts.observed.guest_timeout && !fault.is_away() => {
                let result = CheckResult::guest(facts.observed.step_age, Err(&fault));
                return self.conclude(facts, report, operation, &[result], None).await;
            }
            Err(fault) => return self.hindered(&facts.declared, &fault).await,
        };
        if !findings.passed() && !testing::settles(self.context, operation, &self.uid) {
            let again = Duration::from_secs(5);
            return self.report(facts, report, Some(again)).await;
        }
        self.conclude(facts, report, operation, &findings.results, Some(&findings.addresses)).await
    }

    /// Records a test's result.
    async fn conclude(
        &mut self,
        facts: &Facts,
        report: &Report,
        operation: &Operation,
        results: &[CheckResult],
        addresses: Option<&[String]>,
    ) -> Result<Turn, Error> {
        let now = self.context.clock.wall();
        let rendered = status::render(&self.worker, Some(&facts.declared), report, facts.remembered.claims, now);
        let told = testing::record(rendered, &Ended { operation, results, addresses }, now);
        // One write says both: the result, and what it means for the conditions.
        let mut worker = self.worker.clone();
        worker.status = Some(told);
        let known = snapshot::facts(self.context, &worker, self.fresh, facts.declared.clone(), &self.looks);
        let report = plan::plan(&known).report;
        let told = status::render(&worker, Some(&known.declared), &report, known.remembered.claims, now);
        self.worker = status::write(&self.api, &self.worker, told).await?;
        let failed = testing::failures(results);
        let (reason, note) =
            if failed.is_empty() { ("TestPassed", "every check passed".to_owned()) } else { ("TestFailed", failed) };
        self.happened(reason != "TestPassed", reason, "Test", note);
        self.looks.guest = None;
        Ok(Turn::Again)
    }

    /// Clears the operation. Polls from before prove nothing about the VM any more.
    async fn close(&mut self, link: Option<&(Arc<Connection>, SharedHypervisor)>) -> Result<Turn, Error> {
        let closed = snapshot::operation(&self.worker).and_then(Result::ok);
        self.worker = record::write(&self.api, &self.worker, None).await?;
        self.context.tracks.with(&self.uid, |track| track.closed(self.context.clock.boot()));
        if let Some(operation) = &closed {
            self.context.metrics.operation_ended(kind(operation.kind), "closed");
        }
        if let Some((connection, _)) = link {
            connection.done(&self.uid);
            connection.free_id(&self.uid);
            if let Some(operation) = closed {
                connection.change_view(|view| view.forget(&operation.target.vm_id));
            }
            connection.hurry(self.context.clock.boot());
        }
        // The closest look at the VM still counts for the status.
        let live = self.looks.live.take();
        self.looks = Looks { live, ..Looks::default() };
        Ok(Turn::Again)
    }

    /// Removes our finalizer.
    async fn release(
        &mut self,
        facts: &Facts,
        abandoned: bool,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Turn, Error> {
        if abandoned {
            self.tell_abandoned(facts);
        } else if facts.declared.deleting && facts.remembered.vm.is_some() {
            self.happened(false, "Deleted", "Delete", "the VM is gone".to_owned());
        }
        if let Some((connection, _)) = link {
            connection.done(&self.uid);
            connection.free_id(&self.uid);
        }
        // Tied to what was decided on: whoever wrote meanwhile may have begun something.
        if let Some(worker) = finalizer::remove_unchanged(&self.api, &self.worker, names::WORKER_FINALIZER).await? {
            self.worker = worker;
        }
        if facts.declared.deleting {
            self.context.tracks.forget(&self.uid);
            return Ok(Turn::Done(None));
        }
        Ok(Turn::Again)
    }

    fn tell_abandoned(&self, facts: &Facts) {
        let vm = match (&facts.remembered.operation, &facts.remembered.vm) {
            (Some(Ok(operation)), _) => operation.target.at().to_string(),
            (_, Some(at)) => at.to_string(),
            _ => "no known VM".to_owned(),
        };
        let note = format!(
            "abandoned by annotation; left behind on Hypervisor {}: {vm}",
            self.worker.spec.hypervisor_ref.name
        );
        tracing::warn!(worker = %declare::qualified_name(&self.worker), "{note}");
        self.context.metrics.abandoned();
        self.happened(true, "Abandoned", "Delete", note);
    }

    /// A task that deletes a VM may leave a disk behind: people must know, for nobody else does.
    fn tell_leaks(&self, operation: &Operation, task: Option<&TaskState>) {
        if let Some(TaskState::Succeeded { warnings }) = task
            && !warnings.is_empty()
        {
            let note = format!("VM {}: {}", operation.target.vm_id, warnings.join("; "));
            tracing::warn!(worker = %declare::qualified_name(&self.worker), "{note}");
            self.happened(true, "TaskWarning", "Observe", note);
        }
    }

    /// Writes the status if it says something new.
    async fn report(&mut self, facts: &Facts, report: &Report, after: Option<Duration>) -> Result<Turn, Error> {
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
        if let Err(error) = super::budget::vanished(self.context, &hypervisor_key(&self.worker), &id).await {
            tracing::debug!(%error, "a vanished VM could not be entered");
        }
    }

    fn happened(&self, warning: bool, reason: &'static str, action: &'static str, note: String) {
        let object = testing::reference(&self.worker);
        self.context.events.publish(Happening { object, warning, reason, action, note });
    }
}

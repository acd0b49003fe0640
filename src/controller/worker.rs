//! The controller of the kind `Worker`: snapshot, plan, then look closer, act, or report.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};
use thiserror::Error;

use super::claims::Asked;
use super::connection::{Connection, Posted};
use super::context::Context;
use super::execute::{self, ExecuteError, Work};
use super::record::{self, WriteError};
use super::snapshot::{self, hypervisor_key};
use super::tracks::Track;
use super::{finalizer, status};
use crate::api::{Worker, names};
use crate::domain::availability::availability;
use crate::domain::declare;
use crate::domain::observation::{Abandon, Declared, Facts, HypervisorState, Looks, Presence, Problem};
use crate::domain::operation::{Kind, Operation, Step};
use crate::domain::plan::{self, Decision, Next};
use crate::guest::checks::CheckResult;
use crate::hypervisor::SharedHypervisor;

mod attending;
mod commands;
mod concluding;
mod forgetting;
mod looking;
mod telling;

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
    // Who was given a task is woken before the watch shows that, and status writes by themselves wake nobody.
    let newest = context.workers.newest(worker);
    Box::pin(Pass::new(context, (*newest).clone()).run()).await
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Test => "Test",
        Kind::Launch => "Launch",
        Kind::Apply => "Apply",
        Kind::Fence => "Fence",
        Kind::ShutDown => "ShutDown",
        Kind::Delete => "Delete",
    }
}

/// Whether its VM may be booting all the same, unseen, because the hypervisor went away a short while ago.
fn is_launched(facts: &Facts) -> bool {
    let open = facts.remembered.operation.as_ref().and_then(|operation| operation.as_ref().ok());
    let unseen = matches!(facts.observed.hypervisor, HypervisorState::Away(_));
    open.is_some_and(snapshot::launches) && unseen && facts.observed.away_for < facts.observed.guest_timeout
}

/// Slots that tasks hold.
fn listed(facts: &Facts) -> usize {
    facts.remembered.claims.iter().filter(|held| held.listed).count()
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
    /// What was read live of tasks that the caches do not know.
    asked: Asked,
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
        Self { context, api, uid, worker, fresh: false, looks: Looks::default(), asked: Asked::default() }
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
        let unfollowed = self.follow_task(&declared, link.as_ref()).await;
        let facts = self.facts(&self.worker, declared);
        self.post(&facts, link.as_ref());
        let decision = match unfollowed {
            None => plan::plan(&facts),
            // What became of its task is not known: then only that is done which does not depend on it.
            Some(fault) => match plan::unasked(&facts) {
                Some(decision) => decision,
                None => return self.hindered(&facts.declared, &fault).await,
            },
        };
        self.step(&facts, decision, link).await
    }

    fn facts(&self, worker: &Worker, declared: Declared) -> Facts {
        snapshot::facts(self.context, worker, self.fresh, declared, (&self.looks, &self.asked))
    }

    /// Tells the scheduler whether the worker takes tasks.
    fn post(&self, facts: &Facts, link: Option<&(Arc<Connection>, SharedHypervisor)>) {
        let Some((connection, _)) = link else { return };
        let host = match (&facts.observed.presence, &facts.remembered.vm) {
            (Presence::Present { at, .. }, _) | (_, Some(at)) => at.host.clone(),
            _ => facts.declared.wanted.host.clone(),
        };
        let is_news = connection.post(&self.uid, Posted { availability: availability(facts), host });
        if is_news || facts.observed.undecided {
            // Nobody listens only while the process ends.
            let _ = self.context.schedule.send(hypervisor_key(&self.worker));
        }
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
            self.tell_abandoned();
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

    /// Does what was decided.
    async fn step(
        &mut self,
        facts: &Facts,
        decision: Decision,
        link: Option<(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Turn, Error> {
        let Decision { next, report } = decision;
        if !matches!(next, Next::Look(_) | Next::Check { .. } | Next::Attend(_)) {
            self.context.tracks.with(&self.uid, Track::looked);
        }
        match next {
            Next::Wait { after, poll } => {
                let after = self.paced(facts, &report, after);
                self.let_go(facts, Some(after), link.as_ref());
                if let Some((connection, _)) = link.as_ref().filter(|_| poll) {
                    connection.hurry(self.context.clock.boot());
                }
                self.report(facts, &report, Some(after)).await
            }
            Next::Rest => {
                self.let_go(facts, None, link.as_ref());
                self.context.tracks.rest(&self.uid);
                self.report(facts, &report, None).await
            }
            _ if !self.fresh => self.refresh().await,
            Next::Release { abandoned } => self.release(facts, abandoned, link.as_ref()).await,
            Next::Close(_) => {
                self.keep_made_as(facts, &report).await?;
                self.close(link.as_ref()).await
            }
            Next::Conclude { operation, check, message, update } => {
                self.tell_of_download(facts, &operation, &message, link.as_ref());
                let result = CheckResult::failed(check, facts.observed.step_age, message);
                self.conclude_failed(facts, &report, &operation, result, update.as_deref()).await
            }
            Next::Forget(attempts) => self.forget(facts, &attempts, link.as_ref()).await,
            Next::Attend(steps) => self.attend(facts, &report, &steps, link.as_ref()).await,
            Next::Launched { operation, boot_id, update } => match link {
                Some((connection, client)) => {
                    let launched = (boot_id, update.as_deref());
                    self.launched(facts, &report, &operation, launched, (&connection, &client)).await
                }
                None => Ok(Turn::Done(Some(SOON))),
            },
            Next::Look(look) => match link {
                Some((connection, client)) => self.look(facts, &look, &connection, &client).await,
                None => Ok(Turn::Done(Some(SOON))),
            },
            Next::Act { record, effect } => match link {
                Some((connection, client)) => {
                    let work =
                        Work { context: self.context, api: &self.api, client: &client, declared: &facts.declared };
                    if !effect.is_inside() {
                        connection.change_view(|view| view.forget(&record.target.vm_id));
                        connection.hurry(self.context.clock.boot());
                    }
                    let done = Box::pin(execute::carry_out(&work, self.worker.clone(), &record, effect)).await;
                    self.looks = Looks::default();
                    self.acted(done)
                }
                None => Ok(Turn::Done(Some(SOON))),
            },
            Next::Check { operation, after } => match link {
                Some((connection, client)) => {
                    self.check(facts, &report, (&operation, &after), &connection, &client).await
                }
                None => Ok(Turn::Done(Some(SOON))),
            },
        }
    }

    /// What could not be downloaded for this worker is not tried at once for the next one that wants the same.
    fn tell_of_download(
        &self,
        facts: &Facts,
        operation: &Operation,
        why: &str,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) {
        if let (Some((connection, _)), Some(image), Step::Download) =
            (link, facts.declared.wanted.image.file(), operation.step)
        {
            let place = connection.place_of(&facts.declared.wanted.host, image);
            connection.download_failed(&self.uid, (&place, &image.url), why, self.context.clock.boot());
        }
    }

    /// Who waits for long, for a person perhaps, holds neither permit nor id meanwhile.
    fn let_go(&self, facts: &Facts, after: Option<Duration>, link: Option<&(Arc<Connection>, SharedHypervisor)>) {
        let Some((connection, _)) = link.filter(|_| after.is_none_or(|after| after >= Duration::from_secs(20))) else {
            return;
        };
        if !is_launched(facts) {
            connection.done(&self.uid);
        }
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

    /// Clears the operation. Polls from before prove nothing about the VM any more.
    async fn close(&mut self, link: Option<&(Arc<Connection>, SharedHypervisor)>) -> Result<Turn, Error> {
        let closed = snapshot::operation(&self.worker).and_then(Result::ok);
        self.worker = record::write(&self.api, &self.worker, None).await?;
        self.context.tracks.with(&self.uid, |track| track.closed(self.context.clock.boot()));
        if let Some(operation) = &closed {
            self.count_end(operation);
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

    /// A test was counted when its result was recorded.
    fn count_end(&self, operation: &Operation) {
        let last_test = self.worker.status.as_ref().and_then(|status| status.last_test.as_ref());
        let told = last_test.is_some_and(|test| test.operation.as_deref() == Some(&operation.id));
        match operation.kind {
            Kind::Test if told => {}
            Kind::Test => self.context.metrics.operation_ended(kind(Kind::Test), "superseded"),
            other => self.context.metrics.operation_ended(kind(other), "done"),
        }
    }

    /// Removes our finalizer.
    async fn release(
        &mut self,
        facts: &Facts,
        abandoned: bool,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Turn, Error> {
        if abandoned && facts.declared.abandon == Abandon::Yes {
            self.tell_abandoned();
        } else if abandoned {
            self.tell_left_behind();
        } else if facts.declared.deleting && facts.remembered.vm.is_some() {
            self.context.metrics.operation_ended(kind(Kind::Delete), "done");
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
}

//! A pass looks closer, at the open operation's task or at what a decision asks for; and what is done if it cannot.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Error, Pass, Turn};
use crate::api::conditions;
use crate::api::reasons::WorkerReason;
use crate::controller::connection::Connection;
use crate::controller::looks::Looker;
use crate::controller::snapshot;
use crate::controller::snapshot::hypervisor_key;
use crate::domain::backoff;
use crate::domain::declare;
use crate::domain::fault::Fault;
use crate::domain::observation::{Declared, Facts, HypervisorState};
use crate::domain::operation::Operation;
use crate::domain::plan::{self, Look, Report, Stalling};
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::TaskState;

impl Pass<'_> {
    /// Asks what became of the task that the open operation's step has started.
    pub(super) async fn follow_task(
        &mut self,
        declared: &Declared,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Option<Fault> {
        let Some(Ok(operation)) = snapshot::operation(&self.worker) else { return None };
        if let Some(connection) = self.context.connections.get(&hypervisor_key(&self.worker)) {
            self.resume(&operation, &connection);
        }
        let (connection, client) = link?;
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

    pub(super) fn looker<'b>(
        &'b self,
        declared: &'b Declared,
        connection: &'b Arc<Connection>,
        client: &'b SharedHypervisor,
    ) -> Looker<'b> {
        Looker { context: self.context, worker: &self.worker, declared, connection, client }
    }

    /// Looks closer, for the next decision.
    pub(super) async fn look(
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

    /// A look failed. It is tried again after a time that grows; people are told when it fails again and again, for one
    /// that fails now and then concerns nobody.
    pub(super) async fn hindered(&mut self, declared: &Declared, fault: &Fault) -> Result<Turn, Error> {
        let now = self.context.clock.boot();
        let seed = u64::from(now.since_start().subsec_nanos());
        let hindrance =
            self.context.tracks.with(&self.uid, |track| track.look_failed(plan::hindrance(fault), now, seed));
        if hindrance.failures == 1
            && fault.is_away()
            && let Some((connection, _)) = self.link()
        {
            // It may be the hypervisor as a whole: the next poll tells.
            connection.hurry(now);
        }
        let (worker, failures, again) = (declare::qualified_name(&self.worker), hindrance.failures, hindrance.again);
        let Some(problem) = hindrance.lasting else {
            tracing::info!(%worker, %fault, kind = ?fault.kind, failures, retry_in = ?again, "a look failed");
            return Ok(Turn::Done(Some(again)));
        };
        tracing::warn!(%worker, %fault, kind = ?fault.kind, failures, retry_in = ?again, "a look fails again and again");
        // That of a right that is missing makes the worker not ready, which has an event of its own.
        if hindrance.is_news && problem.reason != WorkerReason::Forbidden {
            self.happened(true, problem.reason.as_str(), "Look", problem.message.clone());
        }
        let facts = self.facts(&self.worker, declared.clone());
        self.report(&facts, &plan::hindered(&facts, problem), Some(again)).await
    }

    /// How long to wait, given how long has passed since it was first said that the declaration cannot be met: what that
    /// takes a closer look to say is looked at ever more rarely. An edit, or another inventory, wakes the worker anyway.
    pub(super) fn paced(&self, facts: &Facts, report: &Report, after: Duration) -> Duration {
        let looked = facts.looks.live.is_some() || facts.looks.obstacles.is_some();
        let Stalling::Yes(problem) = &report.stalled else { return after };
        let conditions = self.worker.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let said = conditions::find(conditions, conditions::STALLED)
            .filter(|said| looked && said.status == "True" && said.reason == problem.reason.as_str());
        said.map_or(after, |said| {
            let stood = facts.now.duration_since(said.last_transition_time.0).max(SignedDuration::ZERO);
            backoff::while_it_stands(after, stood.unsigned_abs())
        })
    }
}

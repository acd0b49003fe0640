//! A pass gives every task that is with the worker what it needs next, and releases the claims of those that are over.
//!
//! The order never varies: the task's status first, then the claim. A crash between the two leaves a claim whose task is
//! over, which the next pass releases.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};

use super::commands::{Begin, Commands};
use super::{Error, Pass, Turn};
use crate::api::{Worker, WorkerSession, WorkerTask, WorkerTaskStatus};
use crate::controller::claims::{self, Live};
use crate::controller::connection::Connection;
use crate::controller::execute::ExecuteError;
use crate::controller::execute::inside::Guest;
use crate::controller::record::WriteError;
use crate::controller::snapshot::hypervisor_key;
use crate::controller::task_status::{self, Result as TaskResult};
use crate::controller::tracks::Track;
use crate::controller::{status, task_record, testing};
use crate::domain::attend::{Act, Finish, Requeue, Step};
use crate::domain::claims::Claim;
use crate::domain::fault::Fault;
use crate::domain::observation::{Facts, Presence};
use crate::domain::plan::Report;
use crate::hypervisor::SharedHypervisor;

/// Until the next look at commands that are about to end.
const ENDING: Duration = Duration::from_secs(2);

/// What became of one step.
enum Done {
    /// Something is different now.
    Changed,
    /// The claim is not needed any more.
    Over,
    /// It was asked for, and shows later.
    Asked,
}

impl Pass<'_> {
    /// Takes these steps.
    pub(super) async fn attend(
        &mut self,
        facts: &Facts,
        report: &Report,
        steps: &[Step],
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Turn, Error> {
        if steps.iter().any(|step| step.act.tells_of_loss()) {
            self.doubt(facts, report).await?;
        }
        let (mut over, mut changed, mut trouble, mut failed) = (Vec::new(), false, None, None);
        for step in steps {
            match self.take(facts, step, link).await {
                Ok(Done::Over) => over.push(step.claim.clone()),
                Ok(Done::Changed) => changed = true,
                Ok(Done::Asked) => {}
                // The others are not kept waiting by one.
                Err(Error::Execute(ExecuteError::Unproven(fault))) => trouble = Some(fault),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.settle(facts, steps, &over).await?;
        self.looks.inside = None;
        match (failed, trouble) {
            (Some(error), _) => Err(error),
            (None, Some(fault)) => self.hindered(&facts.declared, &fault).await,
            (None, None) => {
                self.context.tracks.with(&self.uid, Track::looked);
                Ok(if changed || !over.is_empty() { Turn::Again } else { Turn::Done(Some(ENDING)) })
            }
        }
    }

    async fn take(
        &mut self,
        facts: &Facts,
        step: &Step,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Done, Error> {
        match &step.act {
            Act::Ask => self.ask(&step.claim).await,
            Act::Start => self.start(facts, &step.claim, link).await,
            Act::Stop => {
                let Some(guest) = self.guest(facts, link) else { return Ok(Done::Asked) };
                Commands { guest: &guest }.stop(&step.claim.attempt_id()).await?;
                Ok(Done::Asked)
            }
            Act::Begun => {
                let now = self.context.clock.wall();
                self.tell(&step.claim, |task, worker| task_status::running(task, worker, now)).await
            }
            Act::Finish(finish) => self.finish(facts, &step.claim, finish, link).await,
            Act::Requeue(why) => self.requeue(facts, &step.claim, why, link).await,
            Act::Release => Ok(Done::Over),
            // With the next write of all claims.
            Act::Reclaim => Ok(Done::Changed),
        }
    }

    /// Reads a task and its session live, for the caches do not have them.
    async fn ask(&mut self, claim: &Claim) -> Result<Done, Error> {
        let task = self.tasks().get_opt(&claim.task).await?;
        let sessions: Api<WorkerSession> = Api::namespaced(self.context.client.clone(), &self.namespace());
        let session = match &task {
            Some(task) => sessions.get_opt(&task.spec.session_ref.name).await?,
            None => None,
        };
        self.asked.insert(claim.uid.clone(), Live { task, session });
        Ok(Done::Changed)
    }

    async fn start(
        &mut self,
        facts: &Facts,
        claim: &Claim,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Done, Error> {
        // What starts a command must not rest on a cache.
        self.ask(claim).await?;
        let Some(Live { task: Some(task), session: Some(session) }) = self.asked.get(&claim.uid).cloned() else {
            return Ok(Done::Changed);
        };
        self.context.tasks.note(&task);
        if !claims::may_start(&task, &session, &self.worker, claim, self.context.clock.wall()) {
            return Ok(Done::Changed);
        }
        let Some(guest) = self.guest(facts, link) else { return Ok(Done::Asked) };
        let now = self.context.clock.wall();
        match (Commands { guest: &guest }).start(&task, &session, &claim.attempt_id()).await? {
            Begin::Begun => {
                self.tell(claim, |task, worker| task_status::running(task, worker, now)).await?;
                Ok(Done::Changed)
            }
            Begin::Refused(finish) => self.finish(facts, claim, &finish, link).await,
        }
    }

    async fn finish(
        &mut self,
        facts: &Facts,
        claim: &Claim,
        finish: &Finish,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Done, Error> {
        let result = self.result(facts, claim, finish, link).await?;
        self.tell(claim, |task, _| task_status::finished(task, finish, &result)).await?;
        Ok(Done::Over)
    }

    async fn requeue(
        &mut self,
        facts: &Facts,
        claim: &Claim,
        why: &Requeue,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Done, Error> {
        let result = match why {
            Requeue::Failed(finish) => self.result(facts, claim, finish, link).await?,
            Requeue::GivenBack(_) | Requeue::Lost(_) => TaskResult::default(),
        };
        self.tell(claim, |task, _| task_status::requeued(task, why, &result)).await?;
        Ok(Done::Over)
    }

    /// What a command left behind, for its task's status.
    async fn result(
        &self,
        facts: &Facts,
        claim: &Claim,
        finish: &Finish,
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<TaskResult, Error> {
        let now = self.context.clock.wall();
        let mut output = None;
        if finish.end.is_some()
            && let Some(guest) = self.guest(facts, link)
            && let Some(task) = self.task(claim).await?
        {
            output = Commands { guest: &guest }.output(&task, &claim.attempt_id()).await?;
        }
        Ok(TaskResult::of(finish, output, now))
    }

    /// Writes a task's status, unless the task is gone or with somebody else by now.
    async fn tell(
        &mut self,
        claim: &Claim,
        change: impl FnOnce(&WorkerTask, &Worker) -> WorkerTaskStatus,
    ) -> Result<Done, Error> {
        let Some(task) = self.task(claim).await? else { return Ok(Done::Changed) };
        if claims::own_word(&task, &self.worker).as_ref() != Some(claim) {
            self.context.tasks.note(&task);
            return Ok(Done::Changed);
        }
        let status = change(&task, &self.worker);
        match task_record::write(&self.tasks(), &task, status).await {
            Ok(task) => {
                self.context.tasks.note(&task);
                self.asked.remove(&claim.uid);
                self.context.wake_session(&task);
            }
            Err(WriteError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Done::Changed)
    }

    /// The task of a claim, read live; `None` if there is none any more.
    async fn task(&self, claim: &Claim) -> Result<Option<WorkerTask>, Error> {
        let task = self.tasks().get_opt(&claim.task).await?;
        Ok(task.filter(|task| task.uid().as_ref() == Some(&claim.uid)))
    }

    /// Writes the claims that are left, and those that were lost from the status.
    async fn settle(&mut self, facts: &Facts, steps: &[Step], over: &[Claim]) -> Result<(), Error> {
        let reclaimed = steps.iter().filter(|step| step.act == Act::Reclaim).map(|step| step.claim.clone());
        let listed = facts.remembered.claims.iter().filter(|held| held.listed).map(|held| held.claim.clone());
        let left: Vec<Claim> = listed.filter(|claim| !over.contains(claim)).chain(reclaimed).collect();
        if left == claims::listed(&self.worker) {
            return Ok(());
        }
        self.worker = claims::write(&self.api, &self.worker, &left).await?;
        self.context.workers.note(&self.worker);
        // Nobody listens only while the process ends.
        let _ = self.context.schedule.send(hypervisor_key(&self.worker));
        Ok(())
    }

    /// A worker that was lost under a task must pass a test before it gets another one.
    async fn doubt(&mut self, facts: &Facts, report: &Report) -> Result<(), Error> {
        if facts
            .remembered
            .last_test
            .as_ref()
            .is_some_and(|test| !test.passed && test.spec_hash == facts.declared.spec_hash)
        {
            return Ok(());
        }
        let now = self.context.clock.wall();
        let told = testing::doubted(self.rendered(facts, report), &facts.declared.spec_hash, now);
        self.worker = status::write(&self.api, &self.worker, told).await?;
        self.happened(true, "WorkerLost", "Attend", testing::LOST.to_owned());
        Ok(())
    }

    pub(super) fn guest<'b>(
        &'b self,
        facts: &'b Facts,
        link: Option<&'b (Arc<Connection>, SharedHypervisor)>,
    ) -> Option<Guest<'b>> {
        let (_, client) = link?;
        let at = match &facts.observed.presence {
            Presence::Present { at, .. } => at.clone(),
            _ => return None,
        };
        Some(Guest { context: self.context, client, mark: &facts.declared.wanted.mark, at })
    }

    fn namespace(&self) -> String {
        self.worker.namespace().unwrap_or_default()
    }

    fn tasks(&self) -> Api<WorkerTask> {
        Api::namespaced(self.context.client.clone(), &self.namespace())
    }
}

/// A call into a guest that failed is a fault of this pass alone: what is to be done is done by the next one.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Execute(ExecuteError::Unproven(fault))
    }
}

//! A session that is being deleted takes its tasks with it, and goes when none is left. What runs is stopped first: each
//! task carries a finalizer of ours, and its deletion cancels it.

use std::time::Duration;

use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};

use super::creation::AT_A_TIME;
use super::{Error, PASSES, Pass, SHOWS, Turn, status, trouble};
use crate::api::{WorkerTask, names};
use crate::controller::{abandon, finalizer};
use crate::domain::belonging::goes_with;
use crate::domain::ending::phase;

/// Tasks that are deleted in one pass, at most.
const IN_ONE_PASS: usize = 50;
/// Tasks that a message names; the others are counted.
const NAMED: usize = 3;

impl Pass<'_> {
    /// Brings the deletion closer to its end.
    pub(super) async fn leave(&mut self) -> Result<Turn, Error> {
        if !finalizer::has(&self.session, names::SESSION_FINALIZER) {
            return Ok(Turn::Done(None));
        }
        if !self.fresh {
            return self.refresh().await;
        }
        let known = self.context.tasks.of_session(&self.key);
        let mut left: Vec<WorkerTask> = known.iter().map(|task| (**task).clone()).collect();
        left.retain(|task| goes_with(task, &self.session));
        if abandon::is_asked(&self.session) {
            abandon::tell(self.context, &self.session, &behind(&left));
            return self.let_go().await;
        }
        if left.is_empty() {
            // The caches may be behind.
            left = self.list().await?;
            left.retain(|task| goes_with(task, &self.session));
        }
        if left.is_empty() {
            return self.let_go().await;
        }
        let again = self.delete(&left).await?;
        let told = self.tell_of_deletion(&left).await?;
        Ok(Turn::Done([Some(again), told].into_iter().flatten().min()))
    }

    async fn let_go(&mut self) -> Result<Turn, Error> {
        if let Some(held) = finalizer::remove(&self.sessions, &self.session, names::SESSION_FINALIZER).await? {
            self.take(held);
        }
        self.ring_bell();
        Ok(Turn::Done(None))
    }

    /// Deletes some of those that are not being deleted yet. The answer is when to look again.
    async fn delete(&self, left: &[WorkerTask]) -> Result<Duration, Error> {
        let staying: Vec<&WorkerTask> = left.iter().filter(|task| task.metadata.deletion_timestamp.is_none()).collect();
        let chosen: Vec<_> = staying.iter().take(IN_ONE_PASS).map(|task| (task.name_any(), task.uid())).collect();
        let tasks = &self.tasks;
        let deletions = chosen.into_iter().map(|(name, uid)| async move {
            let preconditions = Preconditions { uid, resource_version: None };
            tasks.delete(&name, &DeleteParams::background().preconditions(preconditions)).await
        });
        let answers: Vec<_> = futures::stream::iter(deletions).buffer_unordered(AT_A_TIME).collect().await;
        for answer in answers {
            match answer {
                // So that it is not deleted again.
                Ok(answer) => answer.left().iter().for_each(|task| self.context.tasks.note(task)),
                // It is gone, or another one has its name.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(match staying.len() {
            0 => PASSES,
            few if few <= IN_ONE_PASS => SHOWS,
            _ => Duration::ZERO,
        })
    }

    /// For what the deletion waits, for people.
    fn awaited(&self, left: &[WorkerTask]) -> String {
        let with: Vec<String> = left.iter().filter_map(with_worker).collect();
        let mut text = format!("it is being deleted; {} of its tasks are still there", left.len());
        if !with.is_empty() {
            text = format!("{text}; those that are with workers are stopped first: {}", named(&with));
        }
        match trouble::usable(self.context, &self.hypervisor()).err() {
            Some(why) if !with.is_empty() => format!(
                "{text}. That waits: {}. The annotation {} lets an object go that is being deleted, whatever still runs",
                why.message,
                names::ABANDON
            ),
            _ => text,
        }
    }

    async fn tell_of_deletion(&mut self, left: &[WorkerTask]) -> Result<Option<Duration>, Error> {
        let text = self.awaited(left);
        let next = status::leaving(&self.session, &text, self.context.clock.wall());
        if self.session.status.as_ref() == Some(&next) {
            return Ok(None);
        }
        let rests = self.context.runs.with(&self.uid, |run| run.rests(self.context.clock.boot()));
        if rests.is_zero() {
            self.write(&next).await?;
            return Ok(None);
        }
        Ok(Some(rests))
    }
}

/// A task that is with a worker, and with which.
fn with_worker(task: &WorkerTask) -> Option<String> {
    let worker = task.status.as_ref()?.worker.as_ref().filter(|_| phase(task).has_worker())?;
    Some(format!("{} with worker {worker}", task.name_any()))
}

/// The first few of many.
fn named(all: &[String]) -> String {
    let first = all[..all.len().min(NAMED)].join(", ");
    if all.len() > NAMED { format!("{first} and {} more", all.len() - NAMED) } else { first }
}

/// What a session leaves behind that is let go at once.
fn behind(left: &[WorkerTask]) -> String {
    let with: Vec<String> = left.iter().filter_map(with_worker).collect();
    match (left.len(), with.is_empty()) {
        (0, _) => "no known task".to_owned(),
        (count, true) => format!("{count} tasks, none of them with a worker"),
        (count, false) => format!("{count} tasks, {}", named(&with)),
    }
}

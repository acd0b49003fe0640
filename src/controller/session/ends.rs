//! Tasks that wait and are not to begin any more are ended; the workers of those that have begun are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::reflector::ObjectRef;

use super::creation::AT_A_TIME;
use super::members::Slots;
use super::stage::Stage;
use super::{Error, PASSES, Pass, SOON, Turn};
use crate::api::WorkerTask;
use crate::api::session::SessionState;
use crate::api::task::TaskPhase;
use crate::controller::record::WriteError;
use crate::controller::{task_record, task_status};
use crate::domain::attend::Finish;
use crate::domain::belonging::is_held;
use crate::domain::claims::Ending;
use crate::domain::ending::{self, phase};

/// Tasks that are ended in one pass, at most.
const IN_ONE_PASS: usize = 50;

/// A task that is to end.
pub(super) type End = (Arc<WorkerTask>, Ending);

impl Pass<'_> {
    /// The tasks that wait and are not to begin any more. Those that are being deleted end by themselves.
    pub(super) fn ends(&self, slots: &Slots) -> Vec<End> {
        let now = self.context.clock.wall();
        let waiting = slots.iter().flatten().filter(|task| phase(task) == TaskPhase::Pending && !is_leaving(task));
        let ends = waiting.filter_map(|task| {
            let ending = ending::ending(task, Some(&self.session), now)?;
            Some((Arc::clone(task), ending))
        });
        ends.collect()
    }

    /// Ends some of them.
    pub(super) async fn end(&mut self, ends: Vec<End>) -> Result<Turn, Error> {
        if !self.fresh {
            return self.refresh().await;
        }
        let all = ends.len() <= IN_ONE_PASS;
        let (tasks, now) = (&self.tasks, self.context.clock.wall());
        let writes = ends.into_iter().take(IN_ONE_PASS).map(|(task, ending)| {
            let finish = Finish::from(&ending);
            let result = task_status::Result::of(&finish, None, now);
            async move { task_record::write(tasks, &task, task_status::finished(&task, &finish, &result)).await }
        });
        let writes: Vec<_> = futures::stream::iter(writes).buffer_unordered(AT_A_TIME).collect().await;
        self.asked = None;
        let mut overtaken = false;
        for write in writes {
            match write {
                Ok(task) => self.context.tasks.note(&task),
                // Somebody else has changed or deleted it, which shows soon.
                Err(WriteError::Conflict | WriteError::Gone) => overtaken = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(if overtaken {
            Turn::Done(Some(SOON))
        } else if all {
            Turn::Again
        } else {
            Turn::Done(Some(Duration::ZERO))
        })
    }

    /// Wakes the workers of tasks that are to end, and the tasks that can go. When to look again, if there are some.
    pub(super) fn wake(&self, slots: &Slots) -> Option<Duration> {
        let now = self.context.clock.wall();
        let (mut workers, mut leaving) = (BTreeSet::new(), false);
        for task in slots.iter().flatten() {
            if is_leaving(task) {
                leaving = true;
                if phase(task).has_ended() && is_held(task) {
                    self.context.wake_task(task);
                }
            } else if phase(task).has_worker() && ending::ending(task, Some(&self.session), now).is_some() {
                workers.extend(task.status.as_ref().and_then(|status| status.worker.as_deref()));
            }
        }
        for worker in &workers {
            // Nobody listens only while the process ends.
            let _ = self.context.changed.send(ObjectRef::new(worker).within(&self.key.0));
        }
        (leaving || !workers.is_empty()).then_some(PASSES)
    }

    /// Has the scheduler decide anew if a task may need a worker.
    pub(super) fn ring(&self, stage: &Stage) {
        let waits = |task: &Arc<WorkerTask>| phase(task) == TaskPhase::Pending;
        if stage.created && self.session.spec.state == SessionState::Active && stage.slots.iter().flatten().any(waits) {
            self.ring_bell();
        }
    }

    /// Has the scheduler decide anew.
    pub(super) fn ring_bell(&self) {
        let _ = self.context.schedule.send(self.hypervisor());
    }

    /// Until the next deadline of the session.
    pub(super) fn until_late(&self) -> Option<Duration> {
        let now = self.context.clock.wall();
        let status = self.session.status.as_ref();
        if status.is_some_and(|status| status.finished_at.is_some()) {
            return None;
        }
        let start =
            status.is_none_or(|status| status.started_at.is_none()).then(|| ending::start_deadline(&self.session));
        let deadlines = [start.flatten(), ending::deadline(&self.session)];
        let coming = deadlines.into_iter().flatten().filter(|deadline| *deadline >= now).min()?;
        // It has passed only when it is over.
        Some(super::telling::until(coming, now) + Duration::from_millis(1))
    }
}

fn is_leaving(task: &WorkerTask) -> bool {
    task.metadata.deletion_timestamp.is_some()
}

//! The controller of the kind `WorkerTask`: what has neither a worker nor a session that would see to it, and what
//! others are to see.
//!
//! Whatever is with a worker is ended by that worker's controller, for only there it is known what runs in the guest.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::context::Context;
use super::finalizer;
use super::index::{name_of, stored};
use super::record::WriteError;
use super::scheduling::hypervisor_of;
pub use super::session::Error;
use super::tasks::{session_key, worker_key};
use super::{abandon, claims, task_record, task_status};
use crate::api::task::TaskPhase;
use crate::api::{Worker, WorkerSession, WorkerTask, WorkerTaskStatus, names};
use crate::domain::attend::{Act, Finish};
use crate::domain::belonging::{belongs, had_worker, is_held, is_named};
use crate::domain::bereaved;
use crate::domain::ending::{self, phase};

/// Until the next look at a task that is to end, and has a worker that is to see to it.
const ENDS: Duration = Duration::from_secs(5);

/// Whose a task is.
enum Standing {
    /// The session's that it names.
    Of(Box<WorkerSession>),
    /// A session's that is gone.
    Bereaved,
    /// Not ours.
    Foreign,
    /// Nobody can tell: the session cannot be read by this version.
    Untold,
}

/// Brings one task a little closer to its end. The answer is when to look again; `None`: when something changes.
pub async fn reconcile(task: Arc<WorkerTask>, context: &Context) -> Result<Option<Duration>, Error> {
    let namespace = task.namespace().unwrap_or_default();
    let pass = Pass { context, tasks: Api::namespaced(context.client.clone(), &namespace), namespace };
    let newest = context.tasks.get(&name_of(task.as_ref())).filter(|newest| newest.uid() == task.uid());
    match Box::pin(pass.run((*newest.unwrap_or(task)).clone())).await {
        Err(error) if error.is_gone() => Ok(None),
        result => result,
    }
}

/// One pass over one task.
struct Pass<'a> {
    context: &'a Context,
    tasks: Api<WorkerTask>,
    namespace: String,
}

impl Pass<'_> {
    async fn run(&self, task: WorkerTask) -> Result<Option<Duration>, Error> {
        if abandon::is_asked(&task) && is_held(&task) {
            return self.abandon(&task).await;
        }
        let session = match self.standing(&task).await? {
            Standing::Of(session) => Some(*session),
            Standing::Bereaved => None,
            Standing::Foreign => return self.disown(&task).await,
            Standing::Untold => return Ok(None),
        };
        let leaves = task.metadata.deletion_timestamp.is_some();
        let (task, again) = match phase(&task) {
            TaskPhase::Pending if leaves || session.is_none() => (self.cancel(task, session.as_ref()).await?, None),
            TaskPhase::Starting | TaskPhase::Running => self.with_worker(task, session.as_ref()).await?,
            _ => (task, None),
        };
        self.tell(&task, session.as_ref());
        if leaves && phase(&task).has_ended() {
            self.release(&task).await?;
        }
        Ok(again)
    }

    /// Whose the task is. That it is nobody's is never judged by a cache.
    async fn standing(&self, task: &WorkerTask) -> Result<Standing, Error> {
        let key = session_key(task);
        if let Some(session) = stored(&self.context.sessions, &key).filter(|session| belongs(task, session)) {
            return Ok(Standing::Of(Box::new((*session).clone())));
        }
        let sessions: Api<WorkerSession> = Api::namespaced(self.context.client.clone(), &self.namespace);
        let live = match sessions.get_opt(&key.1).await {
            Err(kube::Error::SerdeError(_)) => return Ok(Standing::Untold),
            live => live?,
        };
        let named = live.filter(|session| is_named(task, session));
        Ok(match named {
            Some(session) if belongs(task, &session) || had_worker(task) => Standing::Of(Box::new(session)),
            None if is_held(task) || had_worker(task) => Standing::Bereaved,
            _ => Standing::Foreign,
        })
    }

    /// Nothing is done about a task that somebody else has made, but that this is said. Our finalizer, should it carry
    /// one, is let go of.
    async fn disown(&self, task: &WorkerTask) -> Result<Option<Duration>, Error> {
        if task.metadata.deletion_timestamp.is_some() {
            finalizer::remove_unchanged(&self.tasks, task, names::TASK_FINALIZER).await?;
            return Ok(None);
        }
        self.write(task, task_status::foreign(task, self.context.clock.wall())).await?;
        Ok(None)
    }

    /// Lets a task go at once. Its worker sees by itself that it is gone, and keeps the slot until nothing of it runs.
    async fn abandon(&self, task: &WorkerTask) -> Result<Option<Duration>, Error> {
        let worker =
            task.status.as_ref().and_then(|status| status.worker.as_ref()).filter(|_| phase(task).has_worker());
        let left = worker.map_or_else(|| "nothing".to_owned(), |worker| format!("what runs for it on worker {worker}"));
        abandon::tell(self.context, task, &left);
        self.release(task).await?;
        self.tell(task, None);
        Ok(None)
    }

    /// Ends a task that has no worker, and whose session is gone or that is gone itself.
    async fn cancel(&self, task: WorkerTask, session: Option<&WorkerSession>) -> Result<WorkerTask, Error> {
        let now = self.context.clock.wall();
        let Some(ending) = ending::ending(&task, session, now) else { return Ok(task) };
        let finish = Finish::from(&ending);
        let result = task_status::Result::of(&finish, None, now);
        self.write(&task, task_status::finished(&task, &finish, &result)).await
    }

    /// Wakes the worker of a task, which sees to it; unless that is gone, and its VM with it.
    async fn with_worker(
        &self,
        task: WorkerTask,
        session: Option<&WorkerSession>,
    ) -> Result<(WorkerTask, Option<Duration>), Error> {
        if self.has_worker(&task).await? {
            let ends = ending::ending(&task, session, self.context.clock.wall()).is_some();
            return Ok((task, ends.then_some(ENDS)));
        }
        let now = self.context.clock.wall();
        let act = bereaved::act(&task, session, now);
        let status = match &act {
            Act::Requeue(why) => task_status::requeued(&task, why, &task_status::Result::default()),
            Act::Finish(finish) => task_status::finished(&task, finish, &task_status::Result::of(finish, None, now)),
            _ => return Ok((task, None)),
        };
        tracing::info!(namespace = self.namespace, task = %task.name_any(), "its worker is gone");
        Ok((self.write(&task, status).await?, None))
    }

    /// Whether the Worker that a task says it is with is there.
    async fn has_worker(&self, task: &WorkerTask) -> Result<bool, Error> {
        let is_it = |worker: &Worker| claims::own_word(task, worker).is_some();
        let Some(key) = worker_key(task) else { return Ok(false) };
        if stored(&self.context.workers, &key).is_some_and(|worker| is_it(&worker)) {
            return Ok(true);
        }
        let workers: Api<Worker> = Api::namespaced(self.context.client.clone(), &self.namespace);
        Ok(workers.get_opt(&key.1).await?.is_some_and(|worker| is_it(&worker)))
    }

    /// Tells those who have to do with a task that it is as it is now.
    fn tell(&self, task: &WorkerTask, session: Option<&WorkerSession>) {
        self.context.wake_session(task);
        // Nobody listens only while the process ends.
        if phase(task).has_worker() {
            if let Some((namespace, worker)) = worker_key(task) {
                let _ = self.context.changed.send(ObjectRef::new(&worker).within(&namespace));
            }
        } else if let Some(session) = session {
            let _ = self.context.schedule.send(hypervisor_of(session));
        }
    }

    async fn write(&self, task: &WorkerTask, status: WorkerTaskStatus) -> Result<WorkerTask, Error> {
        let written = task_record::write(&self.tasks, task, status).await?;
        self.context.tasks.note(&written);
        Ok(written)
    }

    /// Lets go of a task that is over, so that its deletion ends.
    async fn release(&self, task: &WorkerTask) -> Result<(), WriteError> {
        if !is_held(task) {
            return Ok(());
        }
        if let Some(released) = finalizer::remove(&self.tasks, task, names::TASK_FINALIZER).await? {
            self.context.tasks.note(&released);
        }
        Ok(())
    }
}

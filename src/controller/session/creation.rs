//! The tasks of a session are made: once, one for each VM, each with the VM that it means. After a crash in the middle
//! what exists is found again, and nothing is made twice.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};

use super::memory::Making;
use super::{Error, Pass};
use crate::api::session::ProtectedVm;
use crate::api::task::{SessionRef, TaskMode, TaskPhase};
use crate::api::{WorkerTask, WorkerTaskSpec, names};
use crate::controller::connection::Connection;
use crate::controller::record::WriteError;
use crate::controller::{task_record, task_status};
use crate::domain::attend::Finish;
use crate::domain::belonging::{belongs, is_held, is_named, task_name};
use crate::domain::resolve::{Refusal, Resolved};

/// Tasks that are made in one pass, at most.
const IN_ONE_PASS: usize = 50;
/// Requests that are under way at a time.
pub(super) const AT_A_TIME: usize = 20;

/// How far the tasks are made.
pub(super) enum Progress {
    /// All that can be made are.
    Made,
    /// There is more to do.
    More,
    /// Something must pass first, which the text names.
    Waits(String),
}

/// What became of one task.
enum Step {
    /// It exists.
    Exists(Box<WorkerTask>),
    /// Somebody else's has its name, and stays.
    Blocked,
    /// Somebody else's has its name, and is about to go.
    Waits(String),
    /// It was made and is gone again.
    Gone,
}

impl Pass<'_> {
    /// Makes some of the tasks that are not made yet.
    pub(super) async fn make(&self, connection: &Connection, making: &mut Making) -> Result<Progress, Error> {
        if !making.listed {
            let all = self.list().await?.into_iter().filter(|task| belongs(task, &self.session));
            making.made.extend(all.filter_map(|task| Some((usize::try_from(task.spec.index).ok()?, task))));
            making.listed = true;
        }
        let Some(resolved) = self.resolve(connection, &making.made) else {
            return Ok(Progress::Waits("some of its VMs are not known yet; the hypervisor is asked again".to_owned()));
        };
        let todo: Vec<usize> =
            (0..resolved.len()).filter(|index| !self.is_settled(*index, &resolved, making)).collect();
        let chosen: Vec<_> = todo.iter().take(IN_ONE_PASS).map(|index| (*index, resolved[*index].clone())).collect();
        let steps = chosen.into_iter().map(|(index, resolved)| {
            let made = making.made.get(&index).cloned();
            async move { (index, self.one(index, &resolved, made).await) }
        });
        let steps: Vec<_> = futures::stream::iter(steps).buffer_unordered(AT_A_TIME).collect().await;
        let waits = self.settle(making, steps)?;
        Ok(match waits {
            Some(text) => Progress::Waits(text),
            None if todo.is_empty() => Progress::Made,
            None => Progress::More,
        })
    }

    /// Whether nothing is to be done any more about a task: it exists, and its status says so if its VM cannot be
    /// processed.
    fn is_settled(&self, index: usize, resolved: &[Resolved], making: &Making) -> bool {
        let is_gone = || self.context.runs.with(&self.uid, |run| run.gone.contains(&index));
        match making.made.get(&index) {
            Some(task) => resolved[index].refusal.is_none() || has_phase(task),
            None => making.blocked.contains(&index) || is_gone(),
        }
    }

    /// Makes one task, unless it exists, and ends it if its VM cannot be processed.
    async fn one(&self, index: usize, resolved: &Resolved, made: Option<WorkerTask>) -> Result<Step, Error> {
        let task = match made {
            Some(task) => task,
            None => match self.create(index, &resolved.vm).await? {
                Ok(task) => task,
                Err(step) => return Ok(step),
            },
        };
        match &resolved.refusal {
            Some(why) => self.refuse(task, why).await,
            None => Ok(Step::Exists(Box::new(task))),
        }
    }

    /// Creates a task; the inner error is what became of that if it was there already.
    async fn create(&self, index: usize, vm: &ProtectedVm) -> Result<Result<WorkerTask, Step>, Error> {
        let name = task_name(&self.session.name_any(), index);
        let known = self.context.tasks.get(&(self.key.0.clone(), name.clone()));
        if let Some(text) = known.and_then(|task| self.passes(&task)) {
            return Ok(Err(Step::Waits(text)));
        }
        match self.tasks.create(&PostParams::default(), &self.task(index, vm)).await {
            Ok(task) => Ok(Ok(task)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.find(&name).await.map(Err),
            Err(error) => Err(error.into()),
        }
    }

    /// What stands where a task was to be made.
    async fn find(&self, name: &str) -> Result<Step, Error> {
        let Some(task) = self.tasks.get_opt(name).await? else {
            return Ok(Step::Waits(format!("{name} was there, and is not any more")));
        };
        if belongs(&task, &self.session) {
            return Ok(Step::Exists(Box::new(task)));
        }
        Ok(self.passes(&task).map_or(Step::Blocked, Step::Waits))
    }

    /// Why a task that is in the way is about to go: somebody deleted it, or it is an earlier session's.
    fn passes(&self, task: &WorkerTask) -> Option<String> {
        let name = task.name_any();
        if belongs(task, &self.session) {
            return None;
        }
        if task.metadata.deletion_timestamp.is_some() {
            return Some(format!("WorkerTask {name}, which is in the way, is being deleted"));
        }
        let is_earlier = is_held(task) && !is_named(task, &self.session);
        is_earlier.then(|| format!("WorkerTask {name} of an earlier session is still there; it can be deleted"))
    }

    fn task(&self, index: usize, vm: &ProtectedVm) -> WorkerTask {
        let session = self.session.name_any();
        let owner = self.session.controller_owner_ref(&());
        let owner = owner.map(|owner| OwnerReference { block_owner_deletion: Some(true), ..owner });
        let metadata = ObjectMeta {
            name: Some(task_name(&session, index)),
            namespace: Some(self.key.0.clone()),
            owner_references: owner.map(|owner| vec![owner]),
            finalizers: Some(vec![names::TASK_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        };
        let spec = WorkerTaskSpec {
            session_ref: SessionRef { name: session, uid: self.uid.clone() },
            index: i32::try_from(index).unwrap_or(i32::MAX),
            mode: if self.session.spec.run.is_some() { TaskMode::Command } else { TaskMode::Lease },
            virtual_machine: vm.clone(),
            result: None,
        };
        WorkerTask { metadata, spec, status: None }
    }

    /// Ends a task whose VM cannot be processed.
    async fn refuse(&self, task: WorkerTask, why: &Refusal) -> Result<Step, Error> {
        let finish = Finish {
            phase: TaskPhase::Failed,
            reason: why.reason,
            message: why.message.clone(),
            end: None,
            lost: false,
        };
        let result = task_status::Result::of(&finish, None, self.context.clock.wall());
        match task_record::write(&self.tasks, &task, task_status::finished(&task, &finish, &result)).await {
            Ok(task) => Ok(Step::Exists(Box::new(task))),
            Err(WriteError::Conflict) => {
                let live = self.tasks.get_opt(&task.name_any()).await?;
                Ok(live.map_or(Step::Gone, |task| Step::Exists(Box::new(task))))
            }
            Err(WriteError::Gone) => Ok(Step::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers what became of some tasks; the answer is what has to be waited for.
    fn settle(&self, making: &mut Making, steps: Vec<(usize, Result<Step, Error>)>) -> Result<Option<String>, Error> {
        let (mut waits, mut trouble) = (None, None);
        for (index, step) in steps {
            match step {
                Ok(Step::Exists(task)) => {
                    self.context.tasks.note(&task);
                    making.made.insert(index, *task);
                }
                Ok(Step::Blocked) => {
                    making.blocked.insert(index);
                }
                Ok(Step::Waits(text)) => waits = waits.or(Some(text)),
                Ok(Step::Gone) => {
                    making.made.remove(&index);
                    self.context.runs.with(&self.uid, |run| run.gone.insert(index));
                }
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        trouble.map_or(Ok(waits), Err)
    }
}

impl Making {
    /// The tasks that exist.
    pub(super) fn tasks(&self) -> impl Iterator<Item = Arc<WorkerTask>> {
        self.made.values().cloned().map(Arc::new)
    }
}

fn has_phase(task: &WorkerTask) -> bool {
    task.status.as_ref().is_some_and(|status| status.phase.is_some())
}

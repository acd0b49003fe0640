//! A world with one operator, and sessions in it.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use stevedore::api::conditions::Condition;
use stevedore::api::{WorkerSession, WorkerSessionStatus, WorkerTask, WorkerTaskStatus};
use stevedore::simulator::scenario::Scenario;

use crate::crash::operator::Operator;
use crate::crash::world::{NAMESPACE, World, is_tested, merged, seed, worker};

/// Long enough for every time-out and back-off on the way, and shorter than any default of a session.
pub(crate) const LONG: Duration = Duration::from_secs(1800);

/// A world with one operator.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) operator: Operator,
}

/// A session of the VMs of the demo world; `patch` is merged into it.
pub(crate) fn session(name: &str, vms: &Value, patch: &Value) -> Value {
    let plain = json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": vms},
    });
    merged(plain, patch)
}

/// What makes a session one that runs this command for each VM.
pub(crate) fn runs(command: &[&str]) -> Value {
    json!({"spec": {"run": {"command": command}}})
}

/// A task as a person may make one.
pub(crate) fn task(name: &str, session: &WorkerSession, index: usize, patch: &Value) -> Value {
    let plain = json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerTask",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "sessionRef": {"name": session.name_any(), "uid": session.uid()}, "index": index, "mode": "Lease",
            "virtualMachine": {"id": "101"},
        },
    });
    merged(plain, patch)
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::of(json!({})).await
    }

    /// `patch` is merged into the Hypervisor.
    pub(crate) async fn of(patch: Value) -> Self {
        Self::in_world(World::with(seed(), Scenario::default_demo(), patch).await)
    }

    pub(crate) fn in_world(world: World) -> Self {
        let operator = world.operator();
        Self { world, operator }
    }

    /// A lab with a tested worker w1 on pve1 that is off.
    pub(crate) async fn with_worker() -> Self {
        let mut lab = Self::new().await;
        lab.world.create(worker("w1", &json!({"spec": {"maxConcurrentTasks": 2}}))).await;
        let done = lab.operator.run(LONG, async |world| world.worker("w1").await.is_some_and(|one| is_tested(&one)));
        assert!(done.await, "{:#?}", lab.world.worker("w1").await);
        lab
    }

    pub(crate) async fn declare(&self, session: Value) {
        self.world.create(session).await;
    }

    /// Waits until something is so of a session.
    pub(crate) async fn until(&mut self, name: &str, is: impl Fn(&WorkerSessionStatus) -> bool) -> WorkerSessionStatus {
        self.within(LONG, name, is).await
    }

    /// The same for as long as this.
    pub(crate) async fn within(
        &mut self,
        limit: Duration,
        name: &str,
        is: impl Fn(&WorkerSessionStatus) -> bool,
    ) -> WorkerSessionStatus {
        let find =
            async |world: &World| world.session(name).await.and_then(|one| one.status).filter(|status| is(status));
        let done = self.operator.run(limit, async |world| find(world).await.is_some()).await;
        assert!(done, "{:#?}\n{:#?}", self.world.session(name).await, self.statuses(name));
        find(&self.world).await.unwrap()
    }

    /// Waits until a session is in this phase.
    pub(crate) async fn phase(&mut self, name: &str, phase: &str) -> WorkerSessionStatus {
        self.until(name, |status| status.phase.as_deref() == Some(phase)).await
    }

    /// Waits until something is so of a task.
    pub(crate) async fn task(&mut self, name: &str, is: impl Fn(&WorkerTask) -> bool) -> WorkerTask {
        let find = async |world: &World| world.task(name).await.filter(|task| is(task));
        let done = self.operator.run(LONG, async |world| find(world).await.is_some()).await;
        assert!(done, "{:#?}", self.world.task(name).await);
        find(&self.world).await.unwrap()
    }

    /// Waits until neither this session nor a task that names it is there.
    pub(crate) async fn gone(&mut self, name: &str) {
        let is_gone = async |world: &World| {
            world.collect();
            world.session(name).await.is_none() && of(world, name).is_empty()
        };
        let done = self.operator.run(LONG, is_gone).await;
        assert!(done, "{:#?}\n{:#?}", self.world.session(name).await, self.statuses(name));
    }

    /// A person deletes a session.
    pub(crate) async fn delete(&self, name: &str, params: &DeleteParams) {
        self.world.sessions().delete(name, params).await.unwrap();
    }

    /// A person takes all finalizers from a session.
    pub(crate) async fn strip(&self, name: &str) {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.world.sessions().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A person deletes a task.
    pub(crate) async fn delete_task(&self, name: &str) {
        self.world.tasks().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Each task of a session with its phase and its reason.
    pub(crate) fn statuses(&self, session: &str) -> BTreeMap<String, (String, String)> {
        let status = |task: &WorkerTask| task.status.clone().unwrap_or_default();
        let said = |status: WorkerTaskStatus| (status.phase.unwrap_or_default(), status.reason.unwrap_or_default());
        of(&self.world, session).iter().map(|task| (task.name_any(), said(status(task)))).collect()
    }

    /// The phase and the reason of each task, in the order of their names.
    pub(crate) fn ends(&self, session: &str) -> Vec<(String, String)> {
        self.statuses(session).into_values().collect()
    }
}

/// The tasks that name a session.
pub(crate) fn of(world: &World, session: &str) -> Vec<WorkerTask> {
    let mut tasks = world.all_tasks();
    tasks.retain(|task| task.spec.session_ref.name == session);
    tasks
}

/// The answer and the reason of a condition; empty if it is not there.
pub(crate) fn says(conditions: &[Condition], type_: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map_or_else(String::new, |one| format!("{}/{}", one.status, one.reason))
}

/// What a condition says to people.
pub(crate) fn message(conditions: &[Condition], type_: &str) -> String {
    conditions.iter().find(|condition| condition.type_ == type_).map(|one| one.message.clone()).unwrap_or_default()
}

/// Phase and reason.
pub(crate) fn end(phase: &str, reason: &str) -> (String, String) {
    (phase.to_owned(), reason.to_owned())
}

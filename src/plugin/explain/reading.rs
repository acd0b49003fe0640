//! What the API server has, read anew.

use std::fmt::Debug;
use std::sync::Arc;

use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::{Hypervisor, Worker, WorkerSession, WorkerTask};
use crate::domain::belonging::is_named;
use crate::plugin::{Person, PluginError};

/// How many objects come with one answer.
const PAGE: u32 = 500;

/// What there is in the namespace.
pub(super) struct Read {
    /// The session that is asked about.
    pub(super) session: Arc<WorkerSession>,
    /// Its Hypervisor, if that is there.
    pub(super) hypervisor: Option<Arc<Hypervisor>>,
    pub(super) hypervisors: Vec<Arc<Hypervisor>>,
    pub(super) workers: Vec<Arc<Worker>>,
    pub(super) sessions: Vec<Arc<WorkerSession>>,
    pub(super) tasks: Vec<Arc<WorkerTask>>,
}

impl Read {
    pub(super) async fn of(person: &Person, name: &str) -> Result<Self, PluginError> {
        let (sessions, tasks, workers, hypervisors) = tokio::try_join!(
            list::<WorkerSession>(person, "WorkerSessions"),
            list::<WorkerTask>(person, "WorkerTasks"),
            list::<Worker>(person, "Workers"),
            list::<Hypervisor>(person, "Hypervisors"),
        )?;
        let session = sessions.iter().find(|session| session.name_any() == name).cloned();
        let session = session.ok_or_else(|| PluginError::Absent {
            kind: "WorkerSession",
            plural: "workersessions",
            name: name.to_owned(),
            namespace: person.namespace.clone(),
        })?;
        let wanted = &session.spec.hypervisor_ref.name;
        let hypervisor = hypervisors.iter().find(|one| one.name_any() == *wanted).cloned();
        Ok(Self { session, hypervisor, hypervisors, workers, sessions, tasks })
    }

    /// The tasks of a session.
    pub(super) fn tasks_of(&self, session: &WorkerSession) -> Vec<Arc<WorkerTask>> {
        self.tasks.iter().filter(|task| is_named(task, session)).cloned().collect()
    }

    /// The tasks of the session that is asked about, in its order.
    pub(super) fn own_tasks(&self) -> Vec<&WorkerTask> {
        let own = self.tasks.iter().filter(|task| is_named(task, &self.session));
        let mut own: Vec<&WorkerTask> = own.map(AsRef::as_ref).collect();
        own.sort_by_key(|task| (task.spec.index, task.name_any()));
        own
    }
}

async fn list<K>(person: &Person, what: &str) -> Result<Vec<Arc<K>>, PluginError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(person.client.0.clone(), &person.namespace);
    let doing = || format!("reading the {what} of the namespace {}", person.namespace);
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await.map_err(PluginError::of(doing()))?;
        let next = page.metadata.continue_.clone().filter(|next| !next.is_empty());
        all.extend(page.items.into_iter().map(Arc::new));
        match next {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(all),
        }
    }
}

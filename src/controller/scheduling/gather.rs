//! What a decision is made from: the workers, sessions and tasks of all Hypervisors that reach one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::disks::Subject;
use super::hypervisor_of;
use crate::api::reasons::TaskReason;
use crate::api::session::{Placement as DeclaredPlacement, SessionType};
use crate::api::task::TaskPhase;
use crate::api::{Worker, WorkerSession, WorkerTask};
use crate::controller::claims;
use crate::controller::connection::{Connection, Key};
use crate::controller::context::Context;
use crate::controller::index::{name_of, stored};
use crate::controller::snapshot::hypervisor_key;
use crate::controller::tasks::session_key;
use crate::domain::availability::{Availability, Unavailable};
use crate::domain::belonging::{belongs, had_worker, is_named};
use crate::domain::ending::{self, phase};
use crate::domain::outcome;
use crate::domain::schedule::{self, Kind, Placement, TaskState, World};
use crate::hypervisor::vm::VmRef;

/// What was gathered.
pub(super) struct Gathered {
    /// For the decision.
    pub(super) world: World,
    /// The workers of the world, by their names there.
    pub(super) workers: BTreeMap<String, Arc<Worker>>,
    /// The tasks of the world, by UID.
    pub(super) tasks: BTreeMap<String, Arc<WorkerTask>>,
    /// VMs whose disks must be looked up before their tasks can be given to anybody.
    pub(super) unknown: Vec<(Subject, VmRef)>,
    /// Tasks that say that they are with a worker whose status knows nothing of it.
    pub(super) unclaimed: Vec<Arc<WorkerTask>>,
}

/// Gathers for these Hypervisors.
pub(super) fn gather(
    context: &Context,
    keys: &BTreeSet<Key>,
    connection: &Arc<Connection>,
    now: Timestamp,
) -> Gathered {
    let mut gathering = Gathering { context, connection, now, out: Gathered::new(connection) };
    for key in keys {
        for worker in context.workers.newest_of(key) {
            gathering.worker(worker);
        }
    }
    let mut sessions = context.sessions.state();
    sessions.retain(|session| keys.contains(&hypervisor_of(session)));
    sessions.sort_by_key(|session| name_of(session.as_ref()));
    for session in &sessions {
        gathering.session(session);
    }
    gathering.out
}

/// The name of a worker in a world: several namespaces may share a cluster.
pub(super) fn label(namespace: &str, worker: &str) -> String {
    format!("{namespace}/{worker}")
}

impl Gathered {
    fn new(connection: &Connection) -> Self {
        let world = World { tasks_per_storage: connection.state().tasks_per_storage, ..World::default() };
        Self { world, workers: BTreeMap::new(), tasks: BTreeMap::new(), unknown: Vec::new(), unclaimed: Vec::new() }
    }
}

struct Gathering<'a> {
    context: &'a Context,
    connection: &'a Arc<Connection>,
    now: Timestamp,
    out: Gathered,
}

impl Gathering<'_> {
    fn worker(&mut self, worker: Arc<Worker>) {
        let uid = worker.uid().unwrap_or_default();
        let key = hypervisor_key(&worker);
        let posted = self.context.connections.get(&key).and_then(|connection| connection.posted(&uid));
        let unseen = || {
            let text = "the operator has not looked at it yet";
            Availability::Not(Unavailable::new(TaskReason::Unavailable, text))
        };
        let name = label(&worker.namespace().unwrap_or_default(), &worker.name_any());
        let known = self.known(&worker);
        let foreign = claims::listed(&worker).iter().filter(|claim| !known.contains(&claim.uid)).count();
        self.out.world.workers.push(schedule::Worker {
            name: name.clone(),
            host: posted.as_ref().map(|posted| posted.host.clone()),
            slots: usize::try_from(worker.spec.max_concurrent_tasks).unwrap_or(0),
            foreign_claims: foreign,
            availability: posted.map_or_else(unseen, |posted| posted.availability),
        });
        self.out.workers.insert(name, worker);
    }

    /// The UIDs of the tasks that say themselves that they are with a worker: they are counted as their sessions' tasks.
    fn known(&self, worker: &Worker) -> BTreeSet<String> {
        let tasks = self.context.tasks.of_worker(&name_of(worker)).into_iter();
        let known = tasks.filter(|task| phase(task).has_worker() && self.has_session(task));
        known.filter_map(|task| task.uid()).collect()
    }

    fn has_session(&self, task: &WorkerTask) -> bool {
        stored(&self.context.sessions, &session_key(task)).is_some_and(|session| is_named(task, &session))
    }

    fn session(&mut self, session: &Arc<WorkerSession>) {
        let open = is_open(session, self.now);
        let uid = session.uid().unwrap_or_default();
        let mut tasks = self.context.tasks.of_session(&name_of(session.as_ref()));
        // A person's own is never given to a worker.
        tasks.retain(|task| is_named(task, session) && (belongs(task, session) || had_worker(task)));
        tasks.sort_by_key(|task| task.spec.index);
        let tasks: Vec<schedule::Task> = tasks.into_iter().filter_map(|task| self.task(&uid, task, open)).collect();
        if tasks.is_empty() {
            return;
        }
        self.out.world.sessions.push(schedule::Session {
            uid,
            name: session.name_any(),
            created: session.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            kind: match session.spec.type_ {
                SessionType::Restore => Kind::Restore,
                SessionType::Backup => Kind::Backup,
            },
            placement: match session.spec.placement {
                DeclaredPlacement::PreferSameHost => Placement::PreferSameHost,
                DeclaredPlacement::RequireSameHost => Placement::RequireSameHost,
            },
            parallelism: session.spec.parallelism.and_then(|most| usize::try_from(most).ok()),
            workers: self.selected(session),
            tasks,
        });
    }

    fn selected(&self, session: &WorkerSession) -> BTreeSet<String> {
        let hypervisor = hypervisor_of(session);
        let selects = |worker: &Worker| {
            hypervisor_key(worker) == hypervisor
                && session
                    .spec
                    .worker_selector
                    .as_ref()
                    .is_none_or(|selector| selector.matches(&worker.metadata.labels.clone().unwrap_or_default()))
        };
        let workers = self.out.workers.iter().filter(|(_, worker)| selects(worker));
        workers.map(|(name, _)| name.clone()).collect()
    }

    fn task(&mut self, session: &str, task: Arc<WorkerTask>, open: bool) -> Option<schedule::Task> {
        let at = phase(&task);
        if at.has_ended() {
            return None;
        }
        let vm = task.spec.virtual_machine.id.clone();
        let host = self.host(&task);
        let status = task.status.clone().unwrap_or_default();
        let (state, storages) = if at.has_worker() {
            let namespace = task.namespace().unwrap_or_default();
            let worker = label(&namespace, &status.worker.clone().unwrap_or_default());
            if at == TaskPhase::Starting && !self.is_claimed(&worker, &task) {
                self.out.unclaimed.push(Arc::clone(&task));
            }
            (TaskState::Holding { worker }, status.storages.iter().cloned().collect())
        } else {
            if !open || task.metadata.deletion_timestamp.is_some() {
                return None;
            }
            let storages = self.storages(session, vm.as_deref(), host.as_deref())?;
            let namespace = task.namespace().unwrap_or_default();
            let avoid = status.avoid.iter().map(|worker| label(&namespace, worker)).collect();
            (TaskState::Waiting { avoid }, storages)
        };
        let uid = task.uid().unwrap_or_default();
        let name = task.name_any();
        self.out.tasks.insert(uid.clone(), task);
        Some(schedule::Task { uid, name, vm, host, storages, state })
    }

    /// The host of the VM, as the inventory has it.
    fn host(&self, task: &WorkerTask) -> Option<String> {
        let vm = &task.spec.virtual_machine;
        let seen = |id: &String| self.connection.view(|view| view.inventory().vms.get(id).map(|vm| vm.host.clone()));
        vm.id.as_ref().and_then(seen).or_else(|| vm.host.clone())
    }

    /// The storages of the VM's disks; `None` if they must be looked up first.
    fn storages(&mut self, session: &str, vm: Option<&str>, host: Option<&str>) -> Option<BTreeSet<String>> {
        let (Some(vm), Some(host)) = (vm, host) else { return Some(BTreeSet::new()) };
        let subject = (session.to_owned(), vm.to_owned());
        let known = self.context.disks.of(&subject);
        if known.is_none() {
            self.out.unknown.push((subject, VmRef { host: host.to_owned(), id: vm.to_owned() }));
        }
        known
    }

    fn is_claimed(&self, worker: &str, task: &WorkerTask) -> bool {
        let Some(worker) = self.out.workers.get(worker) else { return false };
        claims::own_word(task, worker).is_some_and(|claim| claims::listed(worker).contains(&claim))
    }
}

/// Whether a session's tasks may be given to workers.
fn is_open(session: &WorkerSession, now: Timestamp) -> bool {
    let status = session.status.as_ref();
    let may_begin = || ending::start_deadline(session).is_none_or(|deadline| now <= deadline);
    !outcome::is_over(session, now)
        && status.is_some_and(|status| status.tasks_created == Some(true))
        && (status.is_some_and(|status| status.started_at.is_some()) || may_begin())
}

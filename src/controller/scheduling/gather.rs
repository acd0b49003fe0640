//! What a decision is made from: the workers, sessions and tasks of all Hypervisors that reach one cluster, made into the
//! world that is decided on. Nothing is read here.

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
use crate::clock::BootTime;
use crate::controller::claims;
use crate::controller::connection::{Key, Posted};
use crate::controller::snapshot::hypervisor_key;
use crate::domain::availability::Availability;
use crate::domain::belonging::{belongs, had_worker, is_named};
use crate::domain::ending::{self, phase};
use crate::domain::outcome;
use crate::domain::schedule::{self, Kind, Placement, TaskState, World};
use crate::hypervisor::vm::VmRef;

/// What there is: as a process that watches has it at hand, or as it was read a moment ago.
pub struct Material {
    /// The workers, each with what it has told last.
    pub workers: Vec<(Arc<Worker>, Option<Posted>)>,
    /// The sessions, each with the tasks that name it.
    pub sessions: Vec<(Arc<WorkerSession>, Vec<Arc<WorkerTask>>)>,
    /// The Hypervisors that the decision is made for: of the sessions of others only what runs counts.
    pub members: BTreeSet<Key>,
    /// The most tasks at a time that work on the disks of one storage.
    pub tasks_per_storage: usize,
    /// The time.
    pub now: Timestamp,
}

/// What is known of protected VMs.
pub trait Outlook {
    /// The host that a VM is on, as this Hypervisor shows it.
    fn host(&self, hypervisor: &Key, vm: &str) -> Option<String>;

    /// The storages of a VM's disks, as they count for its session and as the session's Hypervisor shows them.
    fn storages(&self, hypervisor: &Key, subject: &Subject) -> Storages;
}

/// What is known of the storages that a VM's disks are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storages {
    /// They are known.
    Known(BTreeSet<String>),
    /// Nobody can say that a limit of a storage allows the task: it waits.
    Unknown(Unknown),
}

/// Storages that are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Where the VM is, if its disks are to be looked up now.
    pub wanted: Option<VmRef>,
    /// What people are told; nothing while they are looked up for the first time.
    pub told: Option<(TaskReason, String)>,
    /// When they are looked up again.
    pub again: Option<BootTime>,
}

/// What was gathered.
pub struct Gathered {
    /// For the decision.
    pub world: World,
    /// The workers of the world, by their names there.
    pub workers: BTreeMap<String, Arc<Worker>>,
    /// The tasks of the world, by UID.
    pub tasks: BTreeMap<String, Arc<WorkerTask>>,
    /// VMs whose disks must be looked up before their tasks can be given to anybody, by their sessions' Hypervisor.
    pub unknown: BTreeMap<Key, Vec<(Subject, VmRef)>>,
    /// Tasks that are kept out of the decision.
    pub kept_out: Vec<KeptOut>,
    /// When disks are looked up again that could not be.
    pub again: Option<BootTime>,
    /// Tasks that say that they are with a worker whose status knows nothing of it.
    pub unclaimed: Vec<Arc<WorkerTask>>,
}

/// A task that no decision can be made for, and why.
pub struct KeptOut {
    /// The task.
    pub task: Arc<WorkerTask>,
    /// Why it waits, in one word.
    pub reason: TaskReason,
    /// Why, for people.
    pub message: String,
}

/// Makes a world of what there is.
pub fn gather(material: &Material, outlook: &dyn Outlook) -> Gathered {
    let mut gathering = Gathering { outlook, material, out: Gathered::new(material) };
    let told = told(material);
    for (worker, posted) in &material.workers {
        gathering.worker(worker, posted.clone(), &told);
    }
    for (session, tasks) in &material.sessions {
        gathering.session(session, tasks);
    }
    gathering.out
}

/// The name of a worker in a world: several namespaces may share a cluster.
pub fn label(namespace: &str, worker: &str) -> String {
    format!("{namespace}/{worker}")
}

/// Which tasks (UIDs) say themselves that they are with which worker: they are counted as their sessions' tasks.
fn told(material: &Material) -> BTreeSet<(String, String)> {
    let mut told = BTreeSet::new();
    for (session, tasks) in &material.sessions {
        for task in tasks.iter().filter(|task| phase(task).has_worker() && is_named(task, session)) {
            told.extend(Some((worker_of(task), task.uid().unwrap_or_default())));
        }
    }
    told
}

/// The worker that a task says it is with.
fn worker_of(task: &WorkerTask) -> String {
    let worker = task.status.as_ref().and_then(|status| status.worker.clone());
    label(&task.namespace().unwrap_or_default(), &worker.unwrap_or_default())
}

impl Gathered {
    fn new(material: &Material) -> Self {
        let world = World { tasks_per_storage: material.tasks_per_storage, ..World::default() };
        Self {
            world,
            workers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            unknown: BTreeMap::new(),
            kept_out: Vec::new(),
            again: None,
            unclaimed: Vec::new(),
        }
    }
}

struct Gathering<'a> {
    outlook: &'a dyn Outlook,
    material: &'a Material,
    out: Gathered,
}

impl Gathering<'_> {
    fn worker(&mut self, worker: &Arc<Worker>, posted: Option<Posted>, told: &BTreeSet<(String, String)>) {
        let name = label(&worker.namespace().unwrap_or_default(), &worker.name_any());
        let is_told = |uid: &String| told.contains(&(name.clone(), uid.clone()));
        let foreign = claims::listed(worker).iter().filter(|claim| !is_told(&claim.uid)).count();
        self.out.world.workers.push(schedule::Worker {
            name: name.clone(),
            host: posted.as_ref().map(|posted| posted.host.clone()),
            slots: usize::try_from(worker.spec.max_concurrent_tasks).unwrap_or(0),
            foreign_claims: foreign,
            availability: posted.map_or_else(Availability::unseen, |posted| posted.availability),
        });
        self.out.workers.insert(name, Arc::clone(worker));
    }

    fn session(&mut self, session: &Arc<WorkerSession>, tasks: &[Arc<WorkerTask>]) {
        let key = hypervisor_of(session);
        let own = self.material.members.contains(&key);
        let place = Place { own, open: own && is_open(session, self.material.now), key };
        let uid = session.uid().unwrap_or_default();
        let mut tasks = tasks.to_vec();
        // A person's own is never given to a worker.
        tasks.retain(|task| is_named(task, session) && (belongs(task, session) || had_worker(task)));
        tasks.sort_by_key(|task| task.spec.index);
        let tasks: Vec<schedule::Task> = tasks.into_iter().filter_map(|task| self.task(&uid, task, &place)).collect();
        if tasks.is_empty() {
            return;
        }
        self.out.world.sessions.push(schedule::Session {
            uid,
            namespace: session.namespace().unwrap_or_default(),
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

    fn task(&mut self, session: &str, task: Arc<WorkerTask>, place: &Place) -> Option<schedule::Task> {
        let at = phase(&task);
        if at.has_ended() {
            return None;
        }
        let vm = task.spec.virtual_machine.id.clone();
        let host = self.host(place, &task);
        let status = task.status.clone().unwrap_or_default();
        let (state, storages) = if at.has_worker() {
            let worker = worker_of(&task);
            if place.own && at == TaskPhase::Starting && !self.is_claimed(&worker, &task) {
                self.out.unclaimed.push(Arc::clone(&task));
            }
            (TaskState::Holding { worker }, status.storages.iter().cloned().collect())
        } else {
            if !place.open || task.metadata.deletion_timestamp.is_some() {
                return None;
            }
            let storages = self.storages(session, &task, place)?;
            let namespace = task.namespace().unwrap_or_default();
            let avoid = status.avoid.iter().map(|worker| label(&namespace, worker)).collect();
            (TaskState::Waiting { avoid }, storages)
        };
        let uid = task.uid().unwrap_or_default();
        let name = task.name_any();
        self.out.tasks.insert(uid.clone(), task);
        Some(schedule::Task { uid, name, vm, host, storages, state })
    }

    /// The host of the VM: where it is, or where it is to be.
    fn host(&self, place: &Place, task: &WorkerTask) -> Option<String> {
        let vm = &task.spec.virtual_machine;
        vm.id.as_ref().and_then(|id| self.outlook.host(&place.key, id)).or_else(|| vm.host.clone())
    }

    /// The storages of a VM's disks; `None` if they are not known, which keeps the task out.
    fn storages(&mut self, session: &str, task: &Arc<WorkerTask>, place: &Place) -> Option<BTreeSet<String>> {
        let Some(vm) = task.spec.virtual_machine.id.clone() else { return Some(BTreeSet::new()) };
        let subject = (session.to_owned(), vm);
        let unknown = match self.outlook.storages(&place.key, &subject) {
            Storages::Known(storages) => return Some(storages),
            Storages::Unknown(unknown) => unknown,
        };
        if let Some(at) = unknown.wanted {
            self.out.unknown.entry(place.key.clone()).or_default().push((subject, at));
        }
        if let Some((reason, message)) = unknown.told {
            self.out.kept_out.push(KeptOut { task: Arc::clone(task), reason, message });
        }
        self.out.again = [self.out.again, unknown.again].into_iter().flatten().min();
        None
    }

    fn is_claimed(&self, worker: &str, task: &WorkerTask) -> bool {
        let Some(worker) = self.out.workers.get(worker) else { return false };
        claims::own_word(task, worker).is_some_and(|claim| claims::listed(worker).contains(&claim))
    }
}

/// Where a session's VMs are.
struct Place {
    /// Its Hypervisor.
    key: Key,
    /// Whether the decision is made for it.
    own: bool,
    /// Whether the session's tasks may be given to workers.
    open: bool,
}

/// Whether a session's tasks may be given to workers.
pub fn is_open(session: &WorkerSession, now: Timestamp) -> bool {
    let status = session.status.as_ref();
    let may_begin = || ending::start_deadline(session).is_none_or(|deadline| now <= deadline);
    !outcome::is_over(session, now)
        && status.is_some_and(|status| status.tasks_created == Some(true))
        && (status.is_some_and(|status| status.started_at.is_some()) || may_begin())
}

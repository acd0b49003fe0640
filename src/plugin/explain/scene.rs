//! The world that the operator decides on, made of what a person may read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::sync::mpsc::unbounded_channel;

use super::reading::Read;
use crate::api::{Hypervisor, Worker, WorkerTask, conditions};
use crate::controller::connection::{Connection, Connections, Key, Posted};
use crate::controller::hypervisor::person;
use crate::controller::scheduling::disks::{Disks, Errand, Subject};
use crate::controller::scheduling::gather::{Gathered, Material, Outlook, Storages, gather};
use crate::controller::scheduling::hypervisor_of;
use crate::controller::scheduling::watched::Watched;
use crate::controller::snapshot::hypervisor_key;
use crate::controller::view::Poll;
use crate::domain::ending::phase;
use crate::domain::observation::HypervisorState;
use crate::domain::told::told;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::VmRef;
use crate::plugin::{Person, PluginError};

/// Rounds of looking up disks: in each, some dozens of VMs are read.
const ROUNDS: usize = 4;
/// One round takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The world, and what it lacks.
pub(super) struct Scene {
    pub(super) gathered: Gathered,
    /// What a person should know of how it was made.
    pub(super) notes: Vec<String>,
}

impl Scene {
    pub(super) async fn of(person: &Person, read: &Read) -> Result<Self, PluginError> {
        let Some(hypervisor) = &read.hypervisor else {
            let (members, now) = (BTreeSet::new(), person.clock.wall());
            let nothing = Material { workers: vec![], sessions: vec![], members, tasks_per_storage: 1, now };
            return Ok(Self { gathered: gather(&nothing, &Unasked::default()), notes: Vec::new() });
        };
        let material = material(person, read, hypervisor);
        let mut notes = Vec::from_iter(shared(hypervisor));
        // Where nobody waits, nothing of the hypervisor matters.
        let waits = read.own_tasks().into_iter().any(|task| !phase(task).has_worker() && !phase(task).has_ended());
        let asked = if waits { ask(person, hypervisor).await? } else { Err(None) };
        let gathered = match asked {
            Ok(connection) => with_disks(person, &material, &connection, &mut notes).await,
            Err(why) => {
                notes.extend(why.map(|why| format!("{why}. {LEFT_OUT}")));
                gather(&material, &Unasked::of(&read.tasks))
            }
        };
        Ok(Self { gathered, notes })
    }
}

/// What it means that the hypervisor was not asked, or did not answer.
const LEFT_OUT: &str = "So what the hypervisor alone knows is left out of account below: which hosts and storages the VMs \
                        are on. A task that waits for these is told by its status.";

fn material(person: &Person, read: &Read, hypervisor: &Hypervisor) -> Material {
    let others = person::sharers(hypervisor, &read.hypervisors);
    let key = |one: &Hypervisor| (one.namespace().unwrap_or_default(), one.name_any());
    let mut keys: BTreeSet<Key> = others.iter().map(|one| key(one)).collect();
    keys.insert(key(hypervisor));
    let workers = read.workers.iter().filter(|worker| keys.contains(&hypervisor_key(worker)));
    let sessions = read.sessions.iter().filter(|session| keys.contains(&hypervisor_of(session)));
    Material {
        workers: workers.map(|worker| (Arc::clone(worker), posted(read, worker))).collect(),
        sessions: sessions.map(|session| (Arc::clone(session), read.tasks_of(session))).collect(),
        members: keys,
        tasks_per_storage: person::tasks_per_storage(hypervisor),
        now: person.clock.wall(),
    }
}

/// What a worker tells by its status.
fn posted(read: &Read, worker: &Worker) -> Option<Posted> {
    let status = worker.status.as_ref()?;
    let host = status.vm.as_ref().and_then(|vm| vm.host.clone());
    let declared = || worker.spec.proxmox.as_ref().map(|place| place.host.clone());
    let of_worker = |one: &&Arc<Hypervisor>| one.name_any() == worker.spec.hypervisor_ref.name;
    let hypervisor = read.hypervisors.iter().find(of_worker).map(AsRef::as_ref);
    Some(Posted { availability: told(worker, hypervisor), host: host.or_else(declared).unwrap_or_default() })
}

/// That others count, too, who cannot be seen from here.
fn shared(hypervisor: &Hypervisor) -> Option<String> {
    let status = hypervisor.status.as_ref()?;
    let condition = conditions::find(&status.conditions, conditions::SHARED_CONNECTION)?;
    conditions::is_true(&status.conditions, conditions::SHARED_CONNECTION).then(|| {
        format!(
            "{}. What sessions of other namespaces do there counts, too, and is not seen from here.",
            condition.message
        )
    })
}

/// Asks the hypervisor what there is; else the reason why it was not asked, if there is one to tell.
async fn ask(person: &Person, hypervisor: &Hypervisor) -> Result<Result<Arc<Connection>, Option<String>>, PluginError> {
    let client = match person::reach(&person.client.0, person.connector.as_ref(), hypervisor).await? {
        Ok(client) => client,
        Err(no_way) => return Ok(Err(Some(no_way.message))),
    };
    let begun = person.clock.boot();
    Ok(match client.inventory().await {
        Ok(inventory) => {
            let poll = Poll { begun, inventory, read: BTreeMap::new(), complete: false };
            Ok(connection(hypervisor, client, poll))
        }
        Err(fault) => Err(Some(fault.message)),
    })
}

/// A connection of this process alone, which has seen this.
fn connection(hypervisor: &Hypervisor, client: SharedHypervisor, poll: Poll) -> Arc<Connection> {
    let key = (hypervisor.namespace().unwrap_or_default(), hypervisor.name_any());
    let connection = Connections::default().get_or_make(&key);
    connection.update(|state| (state.client, state.verdict) = (Some(client), HypervisorState::Ready));
    connection.change_view(|view| view.absorb(poll, ""));
    connection
}

/// Gathers with the disks of the VMs that come first; those of the others count for no storage.
async fn with_disks(
    person: &Person,
    material: &Material,
    connection: &Arc<Connection>,
    notes: &mut Vec<String>,
) -> Gathered {
    let disks = Disks::default();
    // A person asks one of them; what that shows counts for the sessions of all.
    let connections = material.members.iter().map(|key| (key.clone(), Arc::clone(connection))).collect();
    let watched = Watched { connections: &connections, disks: &disks, now: person.clock.boot() };
    let mut gathered = gather(material, &watched);
    for _ in 0..ROUNDS {
        if gathered.unknown.is_empty() {
            return gathered;
        }
        for (key, wanted) in std::mem::take(&mut gathered.unknown) {
            look_up(person, &disks, connection, (key, wanted)).await;
        }
        gathered = gather(material, &watched);
    }
    let left: usize = gathered.unknown.values().map(Vec::len).sum();
    if left > 0 {
        notes.push(format!(
            "The disks of {left} VMs were not looked up: limits of storages do not count for them below."
        ));
    }
    gather(material, &Rest(watched))
}

async fn look_up(
    person: &Person,
    disks: &Disks,
    connection: &Arc<Connection>,
    (key, wanted): (Key, Vec<(Subject, VmRef)>),
) {
    let Some(client) = connection.state().client else { return };
    let (connection, clock, bell) = (Arc::clone(connection), person.clock.clone(), unbounded_channel().0);
    disks.look_up(Errand { key, connection, client, wanted, clock, bell, patience: PATIENCE }).await;
}

/// What was not looked up counts for no storage.
struct Rest<'a>(Watched<'a>);

impl Outlook for Rest<'_> {
    fn host(&self, hypervisor: &Key, vm: &str) -> Option<String> {
        self.0.host(hypervisor, vm)
    }

    fn storages(&self, hypervisor: &Key, subject: &Subject) -> Storages {
        match self.0.storages(hypervisor, subject) {
            Storages::Unknown(unknown) if unknown.told.is_none() => Storages::Known(BTreeSet::new()),
            storages => storages,
        }
    }
}

/// Where the hypervisor was not asked: VMs are on the hosts that the operator has written down.
#[derive(Default)]
struct Unasked(BTreeMap<String, String>);

impl Unasked {
    fn of(tasks: &[Arc<WorkerTask>]) -> Self {
        let host = |task: &WorkerTask| task.status.as_ref()?.vm_host.clone();
        let known = tasks.iter().filter_map(|task| Some((task.spec.virtual_machine.id.clone()?, host(task)?)));
        Self(known.collect())
    }
}

impl Outlook for Unasked {
    fn host(&self, _: &Key, vm: &str) -> Option<String> {
        self.0.get(vm).cloned()
    }

    fn storages(&self, _: &Key, _: &Subject) -> Storages {
        Storages::Known(BTreeSet::new())
    }
}

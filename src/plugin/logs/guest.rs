//! The guest of a worker, proven to be the worker's: nothing is asked of a VM that does not carry its marks.

use std::time::Duration;

use kube::{Api, ResourceExt as _};

use super::chosen::Candidate;
use super::{Lack, Stop};
use crate::api::{Hypervisor, Worker};
use crate::clock::{BootTime, SharedClock};
use crate::controller::hypervisor::person;
use crate::controller::snapshot::known_vm;
use crate::domain::attempt::AttemptId;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Mark, Ownership, judge};
use crate::guest::tasks;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::{Power, VmDetail, VmRef};
use crate::plugin::{Person, PluginError};

/// How long a proof is good for.
const PROOF_LASTS: Duration = Duration::from_secs(5);
/// How long one question to the guest may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A worker's guest.
pub(super) struct Guest {
    client: SharedHypervisor,
    clock: SharedClock,
    worker: Known,
    at: VmRef,
    proven: BootTime,
}

/// What tells a worker's VM.
struct Known {
    name: String,
    uid: String,
    /// The SMBIOS uuid of its VM, as the operator has written it down.
    uuid: String,
}

impl Guest {
    /// The guest of a worker, if it runs.
    pub(super) async fn of(person: &Person, candidate: &Candidate) -> Result<Result<Self, Lack>, PluginError> {
        let name = &candidate.name;
        let workers: Api<Worker> = Api::namespaced(person.client.0.clone(), &person.namespace);
        let worker = workers.get_opt(name).await.map_err(PluginError::of(format!("reading Worker {name}")))?;
        let Some(worker) = worker else {
            return Ok(Err(Lack::usual(format!("worker {name} is not there any more"))));
        };
        let (at, uuid) = match vm(candidate, &worker) {
            Ok(vm) => vm,
            Err(why) => return Ok(Err(Lack::usual(why))),
        };
        let client = match reached(person, &worker).await? {
            Ok(client) => client,
            Err(lack) => return Ok(Err(lack)),
        };
        let known = Known { name: name.clone(), uid: worker.uid().unwrap_or_default(), uuid };
        let clock = person.clock.clone();
        let mut guest = Self { client, proven: clock.boot(), clock, worker: known, at };
        Ok(guest.prove().await.map(|()| guest))
    }

    /// Whether the guest has something of an attempt.
    pub(super) async fn has(&self, id: &AttemptId) -> Result<bool, Fault> {
        let sight = tasks::look(self.client.guest(&self.at).as_ref(), DEADLINE).await?;
        Ok(sight.attempts.iter().any(|attempt| attempt.id == *id))
    }

    /// The next piece of an attempt's output.
    pub(super) async fn read(&mut self, id: &AttemptId, offset: u64) -> Result<Vec<u8>, Unread> {
        if self.clock.boot().since(self.proven) >= PROOF_LASTS {
            self.prove().await.map_err(Unread::Lack)?;
        }
        let channel = self.client.guest(&self.at);
        tasks::read(channel.as_ref(), id, offset, tasks::LARGEST_PIECE, DEADLINE).await.map_err(Unread::Fault)
    }

    /// Has the marks read again before the guest is asked for anything more.
    pub(super) async fn prove(&mut self) -> Result<(), Lack> {
        let begun = self.clock.boot();
        let detail = self.detail().await?;
        self.judge(&detail)?;
        self.proven = begun;
        Ok(())
    }

    /// The VM as it is now, also where somebody has moved it to.
    async fn detail(&mut self) -> Result<VmDetail, Lack> {
        match self.client.vm(&self.at).await {
            Err(fault) if fault.kind == FaultKind::NotFound => {}
            answer => return Ok(answer?),
        }
        let inventory = self.client.inventory().await?;
        let Some(vm) = inventory.vms.get(&self.at.id) else {
            return Err(Lack::usual(format!("the VM of worker {} is not there any more", self.worker.name)));
        };
        self.at.host.clone_from(&vm.host);
        Ok(self.client.vm(&self.at).await?)
    }

    /// Whether the VM is the worker's, and runs. Which installation made it is told by its uuid: the operator has written
    /// it down for a VM that carried all of its own marks.
    fn judge(&self, detail: &VmDetail) -> Result<(), Lack> {
        let Known { name, uid, uuid } = &self.worker;
        let installation = Mark::parse(&detail.shown.description).map(|mark| mark.installation).unwrap_or_default();
        let ownership = judge(&detail.shown, &installation, uid);
        let is_known = detail.shown.uuid.as_deref().is_some_and(|shown| shown.eq_ignore_ascii_case(uuid));
        if ownership != Ownership::Ours || !is_known || detail.template {
            return Err(Lack::other(format!(
                "{} does not carry the marks of worker {name}, so that nothing is asked of it",
                detail.at
            )));
        }
        match detail.power {
            Power::On => Ok(()),
            Power::Off => Err(Lack::usual(format!("worker {name} is off, and what its guest has cannot be read"))),
            Power::Unknown => Err(Lack::other(format!("the host of worker {name} does not tell whether it is on"))),
        }
    }
}

/// Where the worker's VM is, and its uuid; else why it has none that could have the output.
fn vm(candidate: &Candidate, worker: &Worker) -> Result<(VmRef, String), String> {
    let name = &candidate.name;
    if candidate.uid.is_some() && candidate.uid != worker.uid() {
        return Err(format!("worker {name} was deleted, and another one has its name now"));
    }
    let status = worker.status.as_ref();
    let vm = status.and_then(|status| Some((known_vm(status)?, status.vm.as_ref()?.uuid.clone()?)));
    vm.ok_or_else(|| format!("worker {name} has no VM now"))
}

/// Why a piece was not read.
pub(super) enum Unread {
    /// The VM is not the worker's, or does not run.
    Lack(Lack),
    /// The guest was asked, and this came back.
    Fault(Fault),
}

impl From<Unread> for Stop {
    fn from(unread: Unread) -> Self {
        Self::Lack(match unread {
            Unread::Lack(lack) => lack,
            Unread::Fault(fault) => fault.into(),
        })
    }
}

async fn reached(person: &Person, worker: &Worker) -> Result<Result<SharedHypervisor, Lack>, PluginError> {
    let name = &worker.spec.hypervisor_ref.name;
    let hypervisors: Api<Hypervisor> = Api::namespaced(person.client.0.clone(), &person.namespace);
    let found = hypervisors.get_opt(name).await.map_err(PluginError::of(format!("reading Hypervisor {name}")))?;
    let Some(hypervisor) = found else {
        return Ok(Err(Lack::other(format!("there is no Hypervisor {name}, by which the worker is reached"))));
    };
    let reached = person::reach(&person.client.0, person.connector.as_ref(), &hypervisor).await?;
    Ok(reached.map_err(Lack::from))
}

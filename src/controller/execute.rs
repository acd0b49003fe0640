//! The only caller of a changing hypervisor method, and the only place where crash safety has to be argued.
//!
//! The order never varies: finalizer; record, compare-and-swap, and the answer contains it; the leader's permission for
//! as long as the call can take; a fresh read in which all marks fit; the call, within a window that closes when the
//! read has grown old or the permission has ended; the task handle into the record where the call must not be repeated
//! blindly. A crash between any two of these leaves a record that says what may have happened, and the next decision
//! looks before it repeats.

pub mod inside;
mod updating;

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::ResourceExt;
use thiserror::Error;

use super::context::Context;
use super::looks::{self, wanted_of};
use super::record::{self, WriteError};
use super::{finalizer, tracks::Track};
use crate::api::{Worker, names};
use crate::clock::BootTime;
use crate::domain::declare;
use crate::domain::effect::Effect;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Ownership, judge};
use crate::domain::observation::Declared;
use crate::domain::operation::Operation;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::{CreateOrder, Power, Started, VmDetail};
use crate::hypervisor::window::Window;

/// A changing call is sent only within this time of the read that proved the VM to be ours.
const PROOF_LASTS: Duration = Duration::from_secs(5);

/// Why an effect was not carried out, or not finished.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// The record could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// This process is not the leader, or not for long enough.
    #[error("not the leader for long enough to send a changing call")]
    NotLeader,
    /// The proof of identity failed; nothing was sent.
    #[error("{0}")]
    Unproven(Fault),
}

/// What an effect works with.
pub struct Work<'a> {
    /// The process.
    pub context: &'a Context,
    /// Where the worker is written.
    pub api: &'a Api<Worker>,
    /// The hypervisor.
    pub client: &'a SharedHypervisor,
    /// What is declared.
    pub declared: &'a Declared,
}

/// Carries out one effect. The answer is the worker as it is afterwards; a refused or unanswered call is remembered
/// in the worker's track, for the next decision.
pub async fn carry_out(
    work: &Work<'_>,
    worker: Worker,
    record: &Operation,
    effect: Effect,
) -> Result<Worker, ExecuteError> {
    let uid = worker.uid().unwrap_or_default();
    let mut worker = worker;
    if !work.declared.has_finalizer {
        worker = held(work.api, worker).await?;
    }
    worker = record::write(work.api, &worker, Some(record)).await?;
    let clock = &work.context.clock;
    work.context.tracks.with(&uid, |track| track.sending(record, clock.boot()));
    let change =
        updating::prepared(work, &worker, record, effect).await.map_err(|fault| unproven(work, &uid, fault))?;
    let proof = prove(work, record, effect).await.map_err(|fault| unproven(work, &uid, fault))?;
    if !work.context.gate.may_change(work.context.patience.call) {
        work.context.tracks.with(&uid, Track::unsent);
        return Err(ExecuteError::NotLeader);
    }
    let outcome = match change {
        Some(change) => updating::send(work, record, change, proof.window(work)).await,
        None => send(work, record, effect, proof).await,
    };
    tracing::info!(
        worker = %work.declared.wanted.mark.worker, operation = %record.id, vm = %record.target.vm_id, ?effect,
        sends = record.sends, outcome = %told(&outcome), "changing call"
    );
    settle(work, worker, record, effect, outcome).await
}

/// Puts our finalizer on a worker. Whoever changed the worker meanwhile made the decision void.
async fn held(api: &Api<Worker>, worker: Worker) -> Result<Worker, WriteError> {
    let held = finalizer::add(api, &worker, names::WORKER_FINALIZER).await?;
    let decided_on = |worker: &Worker| {
        let meta = &worker.metadata;
        // The UID, too: a worker of the same name may have taken its place, and looks just like it.
        let is = (meta.uid.clone(), meta.generation);
        (is, meta.annotations.clone(), meta.deletion_timestamp.clone(), worker.status.clone())
    };
    if decided_on(&held) == decided_on(&worker) { Ok(held) } else { Err(WriteError::Conflict) }
}

fn told(outcome: &Result<Started, Fault>) -> String {
    match outcome {
        Ok(Started::Done) => "done".to_owned(),
        Ok(Started::Task(task)) => format!("task {task}"),
        Err(fault) => format!("{:?}: {fault}", fault.kind),
    }
}

fn unproven(work: &Work<'_>, uid: &str, fault: Fault) -> ExecuteError {
    work.context.tracks.with(uid, Track::unsent);
    remember_failure(work, uid, fault.clone());
    ExecuteError::Unproven(fault)
}

fn remember_failure(work: &Work<'_>, uid: &str, fault: Fault) {
    let now = work.context.clock.boot();
    let seed = now.since_start().subsec_nanos();
    work.context.tracks.with(uid, |track: &mut Track| track.failed(fault, now, u64::from(seed)));
}

/// What was seen right before a call, and justifies it for a moment.
struct Proof {
    /// The VM, if there is one to be changed.
    seen: Option<VmDetail>,
    /// When that was so.
    at: BootTime,
}

impl Proof {
    /// The time within which the call may leave: it is still the proof's moment, and this process leads for longer than
    /// the call can take.
    fn window(&self, work: &Work<'_>) -> Window {
        window(work.context, self.at)
    }
}

/// The time within which a call may leave that rests on what was seen at this moment.
fn window(context: &Context, seen: BootTime) -> Window {
    let (gate, longest) = (Arc::clone(&context.gate), context.patience.call);
    Window::until(seen.plus(PROOF_LASTS), Arc::clone(&context.clock)).while_true(move || gate.may_change(longest))
}

/// Reads the VM and sees that all marks fit. A create has nothing to prove of its VM: its id makes it safe. A download
/// concerns no VM: it must be allowed. Making and deleting take a quorate cluster, as it is now and not as the latest
/// poll has it: without quorum Proxmox VE destroys a VM's disks and keeps its configuration.
async fn prove(work: &Work<'_>, record: &Operation, effect: Effect) -> Result<Proof, Fault> {
    if effect == Effect::Download
        && let Some(problem) = looks::not_allowed(work.context, &work.declared.wanted)
    {
        return Err(Fault::new(FaultKind::Refused, problem.message));
    }
    let makes = matches!(effect, Effect::Download | Effect::Create);
    if (makes || effect == Effect::Destroy) && !work.client.inventory().await?.quorate {
        let text = "the cluster has no quorum: nothing is made or deleted until it has";
        return Err(Fault::new(FaultKind::NoQuorum, text));
    }
    let at = work.context.clock.boot();
    if makes {
        return Ok(Proof { seen: None, at });
    }
    let detail = work.client.vm(&record.target.at()).await?;
    let refuse = |text: String| Err(Fault::new(FaultKind::Refused, text));
    let mark = &work.declared.wanted.mark;
    match judge(&detail.shown, &mark.installation, &mark.worker_uid) {
        Ownership::Ours => {}
        Ownership::Unfinished { operation }
            if operation == record.id && matches!(effect, Effect::Configure | Effect::Destroy) => {}
        other => return refuse(format!("{} is not touched: its marks do not fit ({other:?})", detail.at)),
    }
    if let Some(lock) = &detail.lock {
        return Err(Fault::new(FaultKind::Locked(lock.clone()), format!("{} is locked ({lock})", detail.at)));
    }
    if detail.template || effect == Effect::Destroy && detail.protected {
        return refuse(format!("{} is a template or protected now and is not touched", detail.at));
    }
    if effect.is_inside() && detail.power != Power::On {
        return Err(Fault::new(FaultKind::Busy, format!("{} is not powered on any more", detail.at)));
    }
    let needs_off = matches!(effect, Effect::Configure | Effect::GrowDisk | Effect::Destroy | Effect::Start);
    if needs_off && detail.power != Power::Off {
        return Err(Fault::new(FaultKind::Busy, format!("{} is not powered off any more", detail.at)));
    }
    Ok(Proof { seen: Some(detail), at })
}

/// Sends the call.
async fn send(work: &Work<'_>, record: &Operation, effect: Effect, proof: Proof) -> Result<Started, Fault> {
    let client = work.client.within(proof.window(work));
    let at = record.target.at();
    match (effect, proof.seen.as_ref()) {
        (Effect::Download, _) => match work.declared.wanted.image.file() {
            Some(image) => client.download(&at.host, image).await,
            None => Err(Fault::new(FaultKind::Other, "there is no image to download: the VM is made from a template")),
        },
        (Effect::Create, _) => {
            let wanted = declare::wanted_by(&work.declared.wanted, record);
            client.create(&CreateOrder { wanted, at, since: record.step_since }).await
        }
        (Effect::Configure, Some(seen)) => client.configure(&wanted_of(&work.declared.wanted, seen), seen).await,
        (Effect::GrowDisk, Some(seen)) => client.grow_disk(&wanted_of(&work.declared.wanted, seen), seen).await,
        (Effect::Start, _) => client.start(&at).await,
        (Effect::ShutDown, _) => client.shut_down(&at, work.declared.grace).await,
        (Effect::PowerOff, _) => client.power_off(&at).await,
        (Effect::Destroy, _) => client.destroy(&at).await,
        (Effect::Configure | Effect::GrowDisk, None) => {
            Err(Fault::new(FaultKind::Other, "a change needs the VM's configuration as it was read"))
        }
        (Effect::Update | Effect::Reboot, _) => Err(Fault::new(FaultKind::Other, "this is done inside the guest")),
    }
}

/// Remembers what came of the call: durably where repeating it blindly would be wrong.
async fn settle(
    work: &Work<'_>,
    worker: Worker,
    record: &Operation,
    effect: Effect,
    outcome: Result<Started, Fault>,
) -> Result<Worker, ExecuteError> {
    let uid = worker.uid().unwrap_or_default();
    let now = work.context.clock.boot();
    let task = match outcome {
        Ok(Started::Done) => None,
        Ok(Started::Task(task)) => Some(task),
        Err(fault) => {
            remember_failure(work, &uid, fault);
            return Ok(worker);
        }
    };
    work.context.tracks.with(&uid, |track| track.accepted(effect, task.clone(), now));
    if !matches!(effect, Effect::Download | Effect::Create | Effect::Destroy) || task.is_none() {
        return Ok(worker);
    }
    let with_task = Operation { task, ..record.clone() };
    Ok(record::write(work.api, &worker, Some(&with_task)).await?)
}

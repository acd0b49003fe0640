//! The first step of a worker's reconcile: the facts, gathered from what is at hand. Nothing is asked for here; closer
//! looks are taken only when a decision wants them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::connection::{Connection, Key};
use super::context::Context;
use super::looks::Looks;
use super::view::{Known, Seeker};
use crate::api::reasons::WorkerReason;
use crate::api::{Worker, WorkerStatus};
use crate::clock::BootTime;
use crate::domain::identity::{self, Mark};
use crate::domain::observation::{
    Declared, Facts, HypervisorState, Observed, Presence, Problem, Remembered, TestRecord,
};
use crate::domain::operation::{Kind, Operation, RecordError};
use crate::domain::{declare, network};
use crate::hypervisor::vm::{Power, VmRef};

/// The inventory's power may be this much older than what was read live.
const INVENTORY_LAG: Duration = Duration::from_secs(12);

/// Namespace and name of the `Hypervisor` that a worker names.
pub fn hypervisor_key(worker: &Worker) -> Key {
    (worker.namespace().unwrap_or_default(), worker.spec.hypervisor_ref.name.clone())
}

/// The operation that a worker's status records.
pub fn operation(worker: &Worker) -> Option<Result<Operation, RecordError>> {
    let value = worker.status.as_ref()?.operation.as_ref()?;
    (!value.is_null()).then(|| Operation::from_json(value))
}

/// The VM ids that workers of a hypervisor name, in their status or in an operation.
pub fn named_ids<'a>(workers: impl IntoIterator<Item = &'a Arc<Worker>>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for worker in workers {
        ids.extend(worker.status.as_ref().and_then(|status| status.vm.as_ref()).and_then(|vm| vm.id.clone()));
        if let Some(Ok(operation)) = operation(worker) {
            ids.insert(operation.target.vm_id);
        }
    }
    ids
}

/// Gathers the facts for one decision. `fresh`: the worker was read live, and does not come out of a cache that may be
/// behind what this process wrote itself.
pub fn facts(context: &Context, worker: &Worker, fresh: bool, declared: Declared, looks: &Looks) -> Facts {
    let now = context.clock.boot();
    let uid = worker.uid().unwrap_or_default();
    let connection = context.connections.get(&hypervisor_key(worker));
    let remembered = remembered(worker);
    let presence = presence(context, worker, connection.as_deref(), now);
    let idle_for = idle_for(context, &uid, &remembered, &presence, now);
    let (hypervisor, away_for, hypervisor_paused) = hypervisor(context, worker, connection.as_deref(), now);
    let conflict = conflict(context, worker, &declared);
    let (step_age, quiet_for, calls, holds, last_call, fresh_operation_id) = context.tracks.with(&uid, |track| {
        let step_age = match &remembered.operation {
            Some(Ok(operation)) if fresh => track.step_age(operation, now),
            Some(Ok(operation)) => track.known_step_age(operation, now),
            _ => Duration::ZERO,
        };
        let id = track.next_operation.get_or_insert_with(|| (context.operation_ids)()).clone();
        (
            step_age,
            step_age.min(now.since(track.changed)),
            track.calls(),
            (track.hold(now), track.settling(now)),
            track.last_call().cloned(),
            id,
        )
    });
    Facts {
        declared,
        remembered,
        observed: Observed {
            hypervisor,
            away_for,
            hypervisor_paused,
            presence,
            idle_for,
            conflict,
            step_age,
            quiet_for,
            calls,
            hold: holds.0,
            settling: holds.1,
            last_call,
            fresh_operation_id,
            live: looks.live.clone(),
            task: looks.task.clone(),
            being_made: looks.being_made,
            obstacles: looks.obstacles.clone(),
            strangers: looks.strangers.clone(),
            new_id: looks.new_id.clone(),
            permit: looks.permit,
            budget: looks.budget.clone(),
            guest: looks.guest,
            guest_timeout: context.patience.guest,
            call_deadline: context.patience.call,
        },
        now: whole_seconds(context.clock.wall()),
    }
}

/// Times in a status have whole seconds; those that are compared with them have, too.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn remembered(worker: &Worker) -> Remembered {
    let status = worker.status.clone().unwrap_or_default();
    Remembered {
        operation: operation(worker),
        vm: known_vm(&status),
        uuid: status.vm.as_ref().and_then(|vm| vm.uuid.clone()),
        applied: status.applied.as_ref().map(|applied| applied.hash.clone()),
        made_as: status.applied.as_ref().map(|applied| applied.summary.clone()).unwrap_or_default(),
        last_test: last_test(&status),
        failures: status.test_failures.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        handled_request: status.last_handled_test_request,
        claims: 0,
    }
}

fn known_vm(status: &WorkerStatus) -> Option<VmRef> {
    let vm = status.vm.as_ref()?;
    Some(VmRef { host: vm.host.clone()?, id: vm.id.clone()? })
}

fn last_test(status: &WorkerStatus) -> Option<TestRecord> {
    let test = status.last_test.as_ref()?;
    let failed = test.checks.iter().find(|check| check.result == "Failed");
    Some(TestRecord {
        passed: test.result == "Passed",
        spec_hash: test.config_hash.clone().unwrap_or_default(),
        started: test.started_at.0,
        finished: test.finished_at.0,
        operation: test.operation.clone().unwrap_or_default(),
        message: failed.map_or_else(String::new, |check| {
            format!("check {}: {}", check.name, check.message.as_deref().unwrap_or("failed"))
        }),
    })
}

fn hypervisor(
    context: &Context,
    worker: &Worker,
    connection: Option<&Connection>,
    now: BootTime,
) -> (HypervisorState, Duration, bool) {
    let (namespace, name) = hypervisor_key(worker);
    let exists = context
        .hypervisors
        .find(|hypervisor| hypervisor.name_any() == name && hypervisor.namespace().unwrap_or_default() == namespace);
    let Some(connection) = connection.filter(|_| exists.is_some()) else {
        let problem = if exists.is_some() {
            return (
                HypervisorState::Away(Problem::new(
                    WorkerReason::HypervisorNotReady,
                    format!("Hypervisor {name} has not been reached yet"),
                )),
                Duration::ZERO,
                false,
            );
        } else {
            Problem::new(
                WorkerReason::HypervisorMissing,
                format!("there is no Hypervisor {name} in namespace {namespace}: create it, and the work goes on"),
            )
        };
        return (HypervisorState::Missing(problem), Duration::ZERO, false);
    };
    let state = connection.state();
    let away_for = state.away_since.map_or(Duration::ZERO, |since| now.since(since));
    let paused = state.paused || exists.is_some_and(|hypervisor| hypervisor.spec.paused);
    (state.verdict, away_for, paused)
}

/// Where the inventory sees the VM, with power as it was read live if that is newer.
fn presence(context: &Context, worker: &Worker, connection: Option<&Connection>, now: BootTime) -> Presence {
    let Some(connection) = connection else {
        return Presence::Unknown("its Hypervisor has not been reached yet".to_owned());
    };
    let uid = worker.uid().unwrap_or_default();
    let name = declare::qualified_name(worker);
    let (since, live) = context.tracks.with(&uid, |track| (track.changed, track.power));
    let remembered = known_mark(context, worker);
    let known = remembered.as_ref().map(|(mark, uuid, remedy)| Known { id: &mark.vm_id, uuid, remedy });
    let deleting = worker.metadata.deletion_timestamp.is_some();
    let seeker = Seeker { installation: &context.installation, uid: &uid, name: &name, since, deleting, known };
    let mut presence = connection.view(|view| view.presence(seeker));
    if let (Presence::Present { power, .. }, Some((read, at))) = (&mut presence, live)
        && now.since(at) < INVENTORY_LAG
    {
        *power = read;
    }
    presence
}

/// The mark of the VM that the status knows, without the operation that made it; its uuid; what to put back should the
/// mark be missing.
fn known_mark(context: &Context, worker: &Worker) -> Option<(Mark, String, String)> {
    let status = worker.status.as_ref()?;
    let vm = status.vm.as_ref()?;
    let mark = Mark {
        installation: context.installation.clone(),
        worker_uid: worker.uid()?,
        worker: declare::qualified_name(worker),
        operation: String::new(),
        vm_id: vm.id.clone()?,
    };
    let uuid = vm.uuid.clone()?;
    let tested_by = status.last_test.as_ref().and_then(|test| test.operation.as_deref());
    let remedy = identity::remedy(&mark, &uuid, &[tested_by.unwrap_or_default()]);
    Some((mark, uuid, remedy))
}

/// How long the VM has been powered on with nothing to do, as far as this process has seen.
fn idle_for(context: &Context, uid: &str, remembered: &Remembered, presence: &Presence, now: BootTime) -> Duration {
    let idle = remembered.operation.is_none()
        && remembered.claims == 0
        && matches!(presence, Presence::Present { power: Power::On, .. });
    context.tracks.with(uid, |track| {
        if !idle {
            track.idle_since = None;
            return Duration::ZERO;
        }
        now.since(*track.idle_since.get_or_insert(now))
    })
}

/// The same static address, or the same VM name, in an earlier worker of this hypervisor.
fn conflict(context: &Context, worker: &Worker, declared: &Declared) -> Option<Problem> {
    let key = hypervisor_key(worker);
    let name = declared.wanted.name.to_lowercase();
    let statics: Vec<_> = network::static_addresses(&declared.wanted.networks).collect();
    context.workers.state().iter().find_map(|other| {
        if other.uid() == worker.uid() || hypervisor_key(other) != key || !is_earlier(other, worker) {
            return None;
        }
        if other.vm_name().to_lowercase() == name {
            return Some(Problem::new(
                WorkerReason::VmNameInUse,
                format!(
                    "the VM name {} is taken by an earlier Worker of this Hypervisor: set another spec.vmName",
                    declared.wanted.name
                ),
            ));
        }
        let networks: Vec<_> = other.spec.networks.iter().filter_map(|network| network::wanted(network).ok()).collect();
        let (address, _) = statics.iter().find(|(address, mine)| {
            network::static_addresses(&networks)
                .any(|(taken, theirs)| taken == *address && theirs.bridge == mine.bridge && theirs.vlan == mine.vlan)
        })?;
        Some(Problem::new(
            WorkerReason::AddressInUse,
            format!(
                "the static address {address} is declared by Worker {}, too: give one of them another",
                other.name_any()
            ),
        ))
    })
}

fn is_earlier(one: &Worker, other: &Worker) -> bool {
    let key = |worker: &Worker| (worker.creation_timestamp().map(|time| time.0), worker.name_any());
    key(one) < key(other)
}

/// Whether the operation needs a launch permit while it is open.
pub fn launches(operation: &Operation) -> bool {
    operation.kind == Kind::Test
}

/// The time from `since` to `now`; zero if it lies in the future.
pub fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).max(SignedDuration::ZERO).unsigned_abs()
}

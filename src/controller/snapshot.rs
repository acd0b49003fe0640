//! The first step of a worker's reconcile: the facts, gathered from what is at hand. Nothing is asked for here; closer
//! looks are taken only when a decision wants them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::claims::{self, Asked};
use super::connection::{Connection, Key};
use super::context::Context;
use super::tracks::Track;
use super::view::{Known, Seeker};
use crate::api::conditions::{self, Condition};
use crate::api::reasons::{TaskReason, WorkerReason};
use crate::api::worker_updates::{UpdateOutcome, UpdateReport};
use crate::api::{Worker, WorkerStatus};
use crate::clock::BootTime;
use crate::domain::availability::Unavailable;
use crate::domain::identity::{self, Mark};
use crate::domain::observation::{
    Declared, Facts, HypervisorState, LaunchRecord, Looks, Observed, Presence, Problem, Remembered, TestRecord,
};
use crate::domain::operation::{Kind, Operation, RecordError, Step};
use crate::domain::update::UpdateRecord;
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

/// The VM that a worker has, or may be getting, by its status. While its image is downloaded it is getting none yet.
pub fn vm_of(worker: &Worker) -> Option<VmRef> {
    match operation(worker) {
        Some(Ok(operation)) if !operation.target.vm_id.is_empty() => Some(operation.target.at()),
        _ => known_vm(worker.status.as_ref()?),
    }
}

/// The Workers that name a Hypervisor, as the watch shows them now.
pub fn workers_of(context: &Context, hypervisor: &Key) -> Vec<Arc<Worker>> {
    context.workers.of(hypervisor)
}

/// The UIDs of all Workers, also of those that cannot be read.
pub fn uids(context: &Context) -> BTreeSet<String> {
    let unreadable = context.unreadable_workers.all();
    let mut uids: BTreeSet<String> = unreadable.iter().filter_map(|worker| worker.metadata.uid.clone()).collect();
    uids.extend(context.workers.state().iter().filter_map(|worker| worker.metadata.uid.clone()));
    uids
}

/// The VM ids that the workers of these hypervisors name in their status or in an operation, except for the worker
/// `but`; also those of workers, and in operations, that cannot be read.
pub fn named_ids(context: &Context, hypervisors: &BTreeSet<Key>, but: Option<&str>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for worker in hypervisors.iter().flat_map(|hypervisor| workers_of(context, hypervisor)) {
        let Some(status) = worker.status.as_ref().filter(|_| worker.metadata.uid.as_deref() != but) else { continue };
        ids.extend(status.vm.as_ref().and_then(|vm| vm.id.clone()));
        let intended = status.operation.as_ref().and_then(|operation| operation.pointer("/target/vmId")?.as_str());
        ids.extend(intended.map(str::to_owned));
    }
    for worker in hypervisors.iter().flat_map(|hypervisor| context.unreadable_workers.of(hypervisor)) {
        ids.extend(worker.vm_ids().map(str::to_owned));
    }
    ids
}

/// Gathers the facts for one decision. `fresh`: the worker was read live, and does not come out of a cache that may be
/// behind what this process wrote itself.
pub fn facts(
    context: &Context,
    worker: &Worker,
    fresh: bool,
    declared: Declared,
    (looks, asked): (&Looks, &Asked),
) -> Facts {
    let now = context.clock.boot();
    let uid = worker.uid().unwrap_or_default();
    let connection = context.connections.get(&hypervisor_key(worker));
    let remembered = remembered(context, worker, asked);
    let presence = presence(context, worker, connection.as_deref(), now);
    let idle_since = idle_since(context, &uid, &remembered, &presence, now);
    let undecided = idle_since.is_some_and(|since| connection.as_ref().is_none_or(|one| !one.has_decided(since)));
    let (hypervisor, away_for, hypervisor_paused) = hypervisor(context, worker, connection.as_deref(), now);
    let host_refuses = connection.as_ref().and_then(|connection| host_refuses(connection, worker, &declared));
    let is_offline = host_refuses.as_ref().is_some_and(|why| why.reason == TaskReason::HostOffline);
    let unseen = matches!(presence, Presence::Unknown(_) | Presence::Present { power: Power::Unknown, .. });
    let dark = hypervisor == HypervisorState::Ready && (unseen || is_offline);
    let dark_for = dark_for(context, &uid, dark, now);
    let conflict = conflict(context, worker, &declared);
    let (step_age, quiet_for, calls, holds, (last_call, checked), fresh_operation_id) =
        context.tracks.with(&uid, |track| {
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
                (track.last_call().cloned(), is_checked(&remembered, track)),
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
            idle_for: idle_since.map_or(Duration::ZERO, |since| now.since(since)),
            needed: connection.as_ref().is_some_and(|connection| connection.is_needed(&uid)),
            undecided,
            host_refuses,
            dark_for,
            conflict,
            step_age,
            quiet_for,
            calls,
            hold: holds.0,
            settling: holds.1,
            checked,
            last_call,
            fresh_operation_id,
            guest_timeout: context.patience.guest,
            call_deadline: context.patience.call,
        },
        looks: looks.clone(),
        now: whole_seconds(context.clock.wall()),
    }
}

/// Times in a status have whole seconds; those that are compared with them have, too.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn remembered(context: &Context, worker: &Worker, asked: &Asked) -> Remembered {
    let status = worker.status.clone().unwrap_or_default();
    Remembered {
        stalled: is_stalled(worker.metadata.generation, &status),
        operation: operation(worker),
        vm: known_vm(&status),
        uuid: status.vm.as_ref().and_then(|vm| vm.uuid.clone()),
        applied: status.applied.as_ref().map(|applied| applied.hash.clone()).filter(|hash| !hash.is_empty()),
        made_as: status.applied.as_ref().map(|applied| applied.summary.clone()).unwrap_or_default(),
        last_test: last_test(&status),
        failures: status.test_failures.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        handled_request: status.last_handled_test_request,
        claims: claims::held(context, worker, asked),
        launch: status.launch.map(|launch| LaunchRecord { operation: launch.operation, boot_id: launch.boot_id }),
        last_update: status.last_update.map(last_update),
    }
}

/// Whether the status says that the present declaration is stalled, for a reason that only the hypervisor shows.
fn is_stalled(generation: Option<i64>, status: &WorkerStatus) -> bool {
    let of_texts = [WorkerReason::ProviderMismatch, WorkerReason::OperationUnreadable, WorkerReason::Unreadable];
    let of_texts = of_texts.map(WorkerReason::as_str);
    let is_of_now =
        |stalled: &Condition| stalled.observed_generation == generation && !of_texts.contains(&stalled.reason.as_str());
    conditions::is_true(&status.conditions, conditions::STALLED)
        && conditions::find(&status.conditions, conditions::STALLED).is_some_and(is_of_now)
}

/// The VM that a status knows.
pub fn known_vm(status: &WorkerStatus) -> Option<VmRef> {
    let vm = status.vm.as_ref()?;
    Some(VmRef { host: vm.host.clone()?, id: vm.id.clone()? })
}

/// Whether the checks of the open operation have passed, and their result waits for its update.
fn is_checked(remembered: &Remembered, track: &Track) -> bool {
    let Some(Ok(operation)) = &remembered.operation else { return false };
    track.checks.as_ref().is_some_and(|(of, _)| *of == operation.id)
}

fn last_update(update: UpdateReport) -> UpdateRecord {
    UpdateRecord {
        operation: update.operation,
        outcome: UpdateOutcome::parse(&update.result),
        packages: u32::try_from(update.packages).unwrap_or(0),
        pending: u32::try_from(update.pending).unwrap_or(0),
        rebooted: update.rebooted,
        finished: update.finished_at.0,
        message: update.message.unwrap_or_default(),
    }
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
    let not_ready = |text: String| HypervisorState::Away(Problem::new(WorkerReason::HypervisorNotReady, text));
    if exists.is_none() {
        if let Some(unreadable) = context.unreadable_hypervisors.get(&hypervisor_key(worker)) {
            let text =
                format!("Hypervisor {name} cannot be read by this version of the operator ({})", unreadable.error);
            // That will not pass in two minutes.
            return (not_ready(text), Duration::MAX, false);
        }
        let text = format!("there is no Hypervisor {name} in namespace {namespace}: create it, and the work goes on");
        let problem = Problem::new(WorkerReason::HypervisorMissing, text);
        return (HypervisorState::Missing(problem), Duration::ZERO, false);
    }
    let Some(connection) = connection else {
        return (not_ready(format!("Hypervisor {name} has not been reached yet")), Duration::ZERO, false);
    };
    let state = connection.state();
    let away_for = state.away_since.map_or(Duration::ZERO, |since| now.since(since));
    let paused = state.paused || exists.is_some_and(|hypervisor| hypervisor.spec.paused);
    (state.verdict, away_for, paused)
}

/// Where the inventory sees the VM, with power as it was read live if that is newer.
fn presence(context: &Context, worker: &Worker, connection: Option<&Connection>, now: BootTime) -> Presence {
    let Some(connection) = connection else {
        return Presence::Unknown(Problem::new(WorkerReason::Waiting, "its Hypervisor has not been reached yet"));
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
    if let (Presence::Unknown(why), Some(at)) = (&mut presence, worker.status.as_ref().and_then(known_vm))
        && connection.view(|view| view.inventory().hosts.get(&at.host).is_some_and(|host| !host.online))
    {
        *why = Problem::silent_host(&at);
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

/// Why nothing is launched on the worker's host.
fn host_refuses(connection: &Connection, worker: &Worker, declared: &Declared) -> Option<Unavailable> {
    let known = worker.status.as_ref().and_then(known_vm);
    let host = known.map_or_else(|| declared.wanted.host.clone(), |at| at.host);
    let refuses = |text: String| Some(Unavailable::new(TaskReason::HostUnschedulable, text));
    if connection.state().unschedulable_hosts.contains(&host) {
        return refuses(format!("its host {host} is in unschedulableHosts of its Hypervisor"));
    }
    match connection.view(|view| view.inventory().hosts.get(&host).map(|seen| (seen.online, seen.maintenance)))? {
        (_, true) => refuses(format!("its host {host} is in maintenance")),
        (false, _) => Some(Unavailable::new(TaskReason::HostOffline, format!("its host {host} is not online"))),
        (true, false) => None,
    }
}

/// Since when the VM has been powered on with nothing to do, as far as this process has seen.
fn idle_since(
    context: &Context,
    uid: &str,
    remembered: &Remembered,
    presence: &Presence,
    now: BootTime,
) -> Option<BootTime> {
    let idle = remembered.operation.is_none()
        && remembered.claims.is_empty()
        && matches!(presence, Presence::Present { power: Power::On, .. });
    context.tracks.with(uid, |track| {
        if !idle {
            track.idle_since = None;
            return None;
        }
        Some(*track.idle_since.get_or_insert(now))
    })
}

/// How long place or power of the VM have not been known, as far as this process has seen.
fn dark_for(context: &Context, uid: &str, dark: bool, now: BootTime) -> Duration {
    context.tracks.with(uid, |track| {
        let since = track.dark_since.filter(|_| dark).unwrap_or(now);
        track.dark_since = dark.then_some(since);
        now.since(since)
    })
}

/// The same static address, or the same VM name, in an earlier worker of this hypervisor.
fn conflict(context: &Context, worker: &Worker, declared: &Declared) -> Option<Problem> {
    let key = hypervisor_key(worker);
    let name = declared.wanted.name.to_lowercase();
    let statics: Vec<_> = network::static_addresses(&declared.wanted.networks).collect();
    let name_in_use = || {
        let text = format!(
            "the VM name {} is taken by an earlier Worker of this Hypervisor: set another spec.vmName",
            declared.wanted.name
        );
        Problem::new(WorkerReason::VmNameInUse, text)
    };
    let address_in_use = |address: IpAddr, other: &str| {
        let text = format!("the static address {address} is declared by Worker {other}, too: give one of them another");
        Problem::new(WorkerReason::AddressInUse, text)
    };
    let readable = workers_of(context, &key).iter().find_map(|other| {
        if !is_earlier(&other.metadata, &worker.metadata) {
            return None;
        }
        if other.vm_name().to_lowercase() == name {
            return Some(name_in_use());
        }
        if statics.is_empty() {
            return None;
        }
        let networks: Vec<_> = other.spec.networks.iter().filter_map(|network| network::wanted(network).ok()).collect();
        let (address, _) = statics.iter().find(|(address, mine)| {
            network::static_addresses(&networks)
                .any(|(taken, theirs)| taken == *address && theirs.bridge == mine.bridge && theirs.vlan == mine.vlan)
        })?;
        Some(address_in_use(*address, &other.name_any()))
    });
    let unreadable = || {
        let earlier = context.unreadable_workers.of(&key).into_iter();
        let mut earlier = earlier.filter(|other| is_earlier(&other.metadata, &worker.metadata));
        earlier.find_map(|other| {
            if other.vm_name().to_lowercase() == name {
                return Some(name_in_use());
            }
            let taken = other.addresses().find(|taken| statics.iter().any(|(address, _)| address == taken))?;
            Some(address_in_use(taken, other.name()))
        })
    };
    readable.or_else(unreadable)
}

fn is_earlier(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let key = |metadata: &'_ ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0);
    (key(one), &one.name) < (key(other), &other.name)
}

/// Whether the operation needs a launch permit while it is open. As long as an image is downloaded it does not.
pub fn launches(operation: &Operation) -> bool {
    matches!(operation.kind, Kind::Test | Kind::Launch) && operation.step != Step::Download
}

/// The time from `since` to `now`; zero if it lies in the future.
pub fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).max(SignedDuration::ZERO).unsigned_abs()
}

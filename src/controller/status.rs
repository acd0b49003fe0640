//! What a Worker's status says, and its writing: by server-side apply, with the resourceVersion it was computed from,
//! and only if something other than times has changed.

use jiff::Timestamp;
use kube::api::Api;

use super::apply;
use super::record::WriteError;
use crate::api::common::Quantity;
use crate::api::conditions::{self, Answer, Condition, NewCondition};
use crate::api::reasons::WorkerReason;
use crate::api::worker_status::{Applied, EffectiveResources, VmStatus};
use crate::api::{Worker, WorkerStatus};
use crate::domain::declare;
use crate::domain::observation::{Declared, Problem};
use crate::domain::phase::{PhaseFacts, phase};
use crate::domain::plan::{Currency, KnownVm, Report, Stalling, Verdict, VmReport};
use crate::hypervisor::vm::{Power, VmWanted};

/// The status that a report makes of the one before. `declared` is absent if the declaration cannot be read.
pub fn render(
    worker: &Worker,
    declared: Option<&Declared>,
    report: &Report,
    claims: usize,
    now: Timestamp,
) -> WorkerStatus {
    let before = worker.status.clone().unwrap_or_default();
    let mut status = WorkerStatus { observed_generation: worker.metadata.generation, ..before };
    apply_vm(&mut status, &report.vm);
    if let Some(declared) = declared {
        let disk = disk(&declared.wanted, &status, &report.vm);
        status.resources = Some(resources(&declared.wanted, disk.clone()));
        if report.fits {
            let hash = declared.spec_hash.clone();
            status.applied = Some(Applied { hash, summary: declare::summary(&declared.wanted, &disk) });
        } else if status.applied.is_none() && !report.made_as.is_empty() {
            status.applied = Some(Applied { hash: String::new(), summary: report.made_as.clone() });
        }
    }
    if report.vm == VmReport::Gone {
        status.applied = None;
    }
    if report.off {
        status.launch = None;
    }
    status.tasks = Some(format!("{claims}/{}", worker.spec.max_concurrent_tasks));
    let facts = PhaseFacts {
        before: status.phase.as_deref(),
        unknown: report.unknown,
        deleting: worker.metadata.deletion_timestamp.is_some(),
        under_test: report.under_test,
        claims,
        vm: power_of(&status),
    };
    status.phase = phase(facts).map(ToOwned::to_owned);
    apply_conditions(&mut status, worker.metadata.generation, report, now);
    status
}

fn apply_vm(status: &mut WorkerStatus, report: &VmReport) {
    match report {
        VmReport::Keep => {}
        VmReport::Gone => status.vm = None,
        VmReport::Known(KnownVm { at, uuid, power, .. }) | VmReport::Making(KnownVm { at, uuid, power, .. }) => {
            let before = status.vm.take().unwrap_or_default();
            if before.id.as_ref() != Some(&at.id) || matches!(report, VmReport::Making(_)) {
                // What was applied was applied to another VM, and that had another disk.
                status.applied = None;
                status.resources = None;
            }
            status.vm = Some(VmStatus {
                id: Some(at.id.clone()),
                uuid: Some(uuid.clone()).filter(|uuid| !uuid.is_empty()).or(before.uuid),
                host: Some(at.host.clone()),
                power: Some(power.to_string()),
                addresses: before.addresses,
            });
        }
    }
}

/// Whether there is a VM, and whether it is on.
fn power_of(status: &WorkerStatus) -> Option<bool> {
    let vm = status.vm.as_ref()?;
    Some(vm.power.as_deref() == Some(&Power::On.to_string()))
}

/// The size of the disk that the VM has, as it was read last; what is declared if there is no VM, or none was read.
fn disk(wanted: &VmWanted, status: &WorkerStatus, report: &VmReport) -> Quantity {
    let read_before = status.resources.as_ref().filter(|_| status.vm.is_some());
    match (report, read_before) {
        (VmReport::Known(KnownVm { disk_bytes: Some(bytes), .. }), _) => {
            Quantity::from_bytes(i64::try_from(*bytes).unwrap_or(i64::MAX))
        }
        (_, Some(resources)) => resources.disk.clone(),
        _ => Quantity::gib(wanted.disk_gib),
    }
}

fn resources(wanted: &VmWanted, disk: Quantity) -> EffectiveResources {
    EffectiveResources {
        cpus: i32::try_from(wanted.cpus).unwrap_or(i32::MAX),
        memory: Quantity::mib(wanted.memory_mib),
        disk,
    }
}

fn apply_conditions(status: &mut WorkerStatus, generation: Option<i64>, report: &Report, now: Timestamp) {
    let list = &mut status.conditions;
    let mut set = |kind, verdict: &Verdict| {
        let answer = verdict.status.map_or(Answer::Unknown, Answer::from);
        let condition = NewCondition::new(kind, answer, verdict.reason, verdict.message.clone());
        conditions::set(list, condition.observed(generation), now);
    };
    set(conditions::TESTED, &report.tested);
    let told = [
        (conditions::READY, &report.ready),
        (conditions::DEPLOYED, &report.deployed),
        (conditions::SCHEDULABLE, &report.schedulable),
    ];
    for (kind, verdict) in told {
        if let Some(verdict) = verdict {
            set(kind, verdict);
        }
    }
    if let Currency::Told(verdict) = &report.packages {
        set(conditions::PACKAGES_CURRENT, verdict);
    }
    if report.packages == Currency::Untold {
        conditions::remove(list, conditions::PACKAGES_CURRENT);
    }
    for kind in [conditions::READY, conditions::DEPLOYED] {
        // A condition that was never told is told to be unknown: clients wait for it to be there.
        if conditions::find(list, kind).is_none() {
            let waiting = NewCondition::new(kind, Answer::Unknown, WorkerReason::Waiting, "not known yet");
            conditions::set(list, waiting.observed(generation), now);
        }
    }
    let mut is_so = |kind, problem: Option<&Problem>| match problem {
        Some(Problem { reason, message }) => {
            let condition = NewCondition::new(kind, Answer::True, *reason, message.clone());
            conditions::set(list, condition.observed(generation), now);
        }
        None => {
            conditions::remove(list, kind);
        }
    };
    is_so(conditions::RECONCILING, report.reconciling.as_ref());
    match &report.stalled {
        Stalling::Stays => {}
        Stalling::No => is_so(conditions::STALLED, None),
        Stalling::Yes(problem) => is_so(conditions::STALLED, Some(problem)),
    }
    // One order, so that the status reads the same whichever condition came first.
    list.sort_by_key(|condition| ORDER.iter().position(|kind| *kind == condition.type_).unwrap_or(ORDER.len()));
}

const ORDER: [&str; 7] = [
    conditions::READY,
    conditions::DEPLOYED,
    conditions::TESTED,
    conditions::PACKAGES_CURRENT,
    conditions::SCHEDULABLE,
    conditions::RECONCILING,
    conditions::STALLED,
];

/// Whether two statuses say the same; the operation has a writer of its own.
pub fn same(one: &WorkerStatus, other: &WorkerStatus) -> bool {
    let plain = |status: &WorkerStatus| WorkerStatus {
        operation: None,
        assignments: Vec::new(),
        conditions: by_kind(&status.conditions),
        ..status.clone()
    };
    plain(one) == plain(other)
}

/// In an order of their own: an API server that merges a new one into its list may put it where it likes.
fn by_kind(conditions: &[Condition]) -> Vec<Condition> {
    let mut all = conditions.to_vec();
    all.sort_by(|one, other| one.type_.cmp(&other.type_));
    all
}

/// Whether one status says nothing more than another that a person waits for: while an operation is open, the VM's
/// details are written together with the operation's result.
pub fn same_outline(one: &WorkerStatus, other: &WorkerStatus) -> bool {
    let outline = |status: &WorkerStatus| {
        let mut conditions = by_kind(&status.conditions);
        conditions.retain(|condition| condition.type_ != conditions::DEPLOYED);
        let vm = status.vm.as_ref().map(|vm| (vm.id.clone(), vm.host.clone()));
        (status.observed_generation, status.phase.clone(), conditions, vm, status.last_test.clone())
    };
    outline(one) == outline(other)
}

/// Writes a status if it says something new; the answer is the worker as it is now.
pub async fn write(api: &Api<Worker>, worker: &Worker, status: WorkerStatus) -> Result<Worker, WriteError> {
    if same(&status, &worker.status.clone().unwrap_or_default()) {
        return Ok(worker.clone());
    }
    // Both have writers of their own.
    let status = WorkerStatus { operation: None, assignments: Vec::new(), ..status };
    Ok(apply::status(api, worker, &status).await?)
}

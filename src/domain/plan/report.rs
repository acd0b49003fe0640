//! What the status says: the conditions and the VM, derived from the same facts as the decision.

use crate::api::reasons::{TaskReason, WorkerReason};
use std::collections::BTreeMap;
use std::time::Duration;

use super::super::availability::{Availability, availability};
use super::super::identity::Ownership;
use super::super::observation::{Facts, HypervisorState, Live, Presence, Problem, TestRecord};
use super::super::operation::{Kind, Operation, Step};
use crate::hypervisor::vm::{Power, VmRef};

/// One condition's status, reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Some(true)` is `True`, `None` is `Unknown`.
    pub status: Option<bool>,
    /// Why, in one CamelCase word.
    pub reason: WorkerReason,
    /// Why, for people.
    pub message: String,
}

impl Verdict {
    fn new(status: Option<bool>, reason: WorkerReason, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }
}

/// The VM as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVm {
    /// Where it is.
    pub at: VmRef,
    /// Its uuid; empty if not known.
    pub uuid: String,
    /// Power.
    pub power: Power,
    /// Size of its boot disk, bytes, if it was read just now.
    pub disk_bytes: Option<u64>,
}

/// What the status says of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmReport {
    /// Leave it as it is: nothing is known.
    Keep,
    /// There is none.
    Gone,
    /// It is being made, here.
    Making(KnownVm),
    /// This one.
    Known(KnownVm),
}

/// What a decision says of the condition `Stalled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stalling {
    /// It is not known now: what was said of the present declaration stays.
    Stays,
    /// Nothing stalls it.
    No,
    /// The declaration cannot be met until somebody changes something.
    Yes(Problem),
}

/// What a decision says of the condition `PackagesCurrent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Currency {
    /// It is not known now: what was said stays.
    Stays,
    /// The packages are never updated: nothing is said.
    Untold,
    /// This.
    Told(Verdict),
}

/// What holds the work up, if something does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holdup {
    /// Nothing, or what need not be told.
    Nothing,
    /// It waits for something that passes, or that a person has to see to.
    Waits(Problem),
    /// What it depends on is not known just now. That there is something else in the way than before is not known either.
    Unsure(Option<Problem>),
    /// What it depends on cannot be seen: the looks at it fail again and again.
    Blind(Problem),
    /// Where the VM is, or whether it is powered on, is not known just now.
    Dark(Problem),
    /// The declaration cannot be met until somebody changes something.
    Stalls(Problem),
}

impl Holdup {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Nothing | Self::Unsure(None) => None,
            Self::Unsure(Some(problem))
            | Self::Waits(problem)
            | Self::Blind(problem)
            | Self::Dark(problem)
            | Self::Stalls(problem) => Some(problem),
        }
    }
}

/// What a decision says to people.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they come in every combination")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether the declaration is met; `None` leaves the condition as it is.
    pub ready: Option<Verdict>,
    /// Whether there is a VM; `None` leaves the condition as it is.
    pub deployed: Option<Verdict>,
    /// Whether the present declaration passed its test.
    pub tested: Verdict,
    /// Whether the worker takes tasks; `None` leaves the condition as it is, for it passes in a moment.
    pub schedulable: Option<Verdict>,
    /// Whether the packages are current.
    pub packages: Currency,
    /// Work for the declaration is under way.
    pub reconciling: Option<Problem>,
    /// Whether the declaration can be met.
    pub stalled: Stalling,
    /// Whether the VM is being made, changed, launched or tested.
    pub under_test: bool,
    /// Whether the state of hypervisor or VM is not known.
    pub unknown: bool,
    /// The VM.
    pub vm: VmReport,
    /// The VM was seen to be off, as read live, or is gone: what was launched is no more.
    pub off: bool,
    /// The VM's configuration is the declared one, as read live.
    pub fits: bool,
    /// What the open operation has made the VM as, by field; empty if it has made none.
    pub made_as: BTreeMap<String, String>,
}

/// For this long the hypervisor, or the VM's host, may be away before a worker's `Ready` becomes `Unknown`.
const AWAY_TOLERANCE: Duration = Duration::from_secs(120);

/// Reasons that make `Ready` false although the operation only waits.
const NOT_READY: [WorkerReason; 6] = [
    WorkerReason::Forbidden,
    WorkerReason::IdentityMismatch,
    WorkerReason::OrphanLock,
    WorkerReason::OperationFailed,
    WorkerReason::IsTemplate,
    WorkerReason::VmLocked,
];

/// What to say, given what holds the work up.
pub(super) fn report(facts: &Facts, operation: Option<&Operation>, holdup: &Holdup) -> Report {
    let vm = vm(facts, operation);
    let tested = tested(facts, holdup);
    let stalled = stalling(facts, holdup);
    Report {
        ready: ready(facts, holdup, &stalled, &vm),
        deployed: deployed(&vm),
        reconciling: match stalled {
            Stalling::No => reconciling(facts, operation, holdup.problem()),
            Stalling::Stays | Stalling::Yes(_) => None,
        },
        stalled,
        schedulable: schedulable(facts),
        packages: packages(facts),
        under_test: is_under_test(facts, operation),
        unknown: is_unknown(facts, operation, &vm),
        off: vm == VmReport::Gone || matches!(&facts.looks.live, Some(Live::Found(vm)) if vm.power == Power::Off),
        fits: fits(facts),
        made_as: made_as(facts, &vm),
        vm,
        tested,
    }
}

/// Nothing is known but that the declaration cannot be read.
pub(super) fn unreadable(problem: Problem) -> Report {
    Report {
        ready: Some(Verdict::new(Some(false), problem.reason, problem.message.clone())),
        deployed: None,
        tested: Verdict::new(None, WorkerReason::NotTested, "the present declaration has not been tested"),
        schedulable: Some(Verdict::new(Some(false), problem.reason, problem.message.clone())),
        packages: Currency::Stays,
        reconciling: None,
        stalled: Stalling::Yes(problem),
        under_test: false,
        unknown: true,
        off: false,
        vm: VmReport::Keep,
        fits: false,
        made_as: BTreeMap::new(),
    }
}

fn is_under_test(facts: &Facts, operation: Option<&Operation>) -> bool {
    let at_work = |operation: &Operation| matches!(operation.kind, Kind::Test | Kind::Launch | Kind::Apply);
    let waits = facts.remembered.claims.iter().any(|held| held.listed) && facts.remembered.launch.is_none();
    match &facts.remembered.operation {
        Some(_) => operation.is_some_and(at_work),
        // Its launch is due, and waits for its turn.
        None => waits,
    }
}

/// Whether it takes tasks, as far as that lasts: a shutdown passes by itself, and of a hypervisor that is away `Ready`
/// speaks.
fn schedulable(facts: &Facts) -> Option<Verdict> {
    let Availability::Not(why) = availability(facts) else {
        let text = "takes tasks; it is launched when a session needs it";
        return Some(Verdict::new(Some(true), WorkerReason::Schedulable, text));
    };
    let reason = match why.reason {
        TaskReason::Deleting => WorkerReason::Deleting,
        TaskReason::Paused if facts.declared.paused => WorkerReason::Paused,
        TaskReason::Paused => WorkerReason::HypervisorPaused,
        TaskReason::Disabled => WorkerReason::Disabled,
        TaskReason::TestFailed => WorkerReason::TestFailed,
        TaskReason::Stalled => WorkerReason::Stalled,
        TaskReason::HostUnschedulable => WorkerReason::HostUnschedulable,
        TaskReason::Draining => WorkerReason::Draining,
        _ => return None,
    };
    Some(Verdict::new(Some(false), reason, why.sentence("it")))
}

/// Whether the packages are current, by the last update: nothing asks for newer ones between two launches.
fn packages(facts: &Facts) -> Currency {
    if facts.declared.updates.is_none() {
        return Currency::Untold;
    }
    Currency::Told(match &facts.remembered.last_update {
        None => Verdict::new(None, WorkerReason::NotUpdated, "its packages have not been updated yet"),
        Some(update) if !update.succeeded() => {
            Verdict::new(Some(false), WorkerReason::UpdateFailed, update.message.clone())
        }
        Some(update) if update.pending > 0 => {
            Verdict::new(Some(false), WorkerReason::PackagesHeldBack, update.message.clone())
        }
        Some(update) => Verdict::new(Some(true), WorkerReason::PackagesCurrent, update.message.clone()),
    })
}

fn is_unknown(facts: &Facts, operation: Option<&Operation>, vm: &VmReport) -> bool {
    facts.observed.hypervisor != HypervisorState::Ready
        || matches!(vm, VmReport::Known(KnownVm { power: Power::Unknown, .. }))
        || operation.is_none() && matches!(facts.observed.presence, Presence::Unknown(_))
}

fn fits(facts: &Facts) -> bool {
    let Some(Live::Found(vm)) = &facts.looks.live else { return false };
    vm.differences.is_empty() && vm.ownership == Ownership::Ours && facts.takes_another(vm).is_none()
}

fn made_as(facts: &Facts, vm: &VmReport) -> BTreeMap<String, String> {
    match (&facts.remembered.operation, vm) {
        (Some(Ok(operation)), VmReport::Known(vm)) if vm.at.id == operation.target.vm_id => operation.made_as.clone(),
        _ => BTreeMap::new(),
    }
}

/// The VM as the closest look shows it.
fn vm(facts: &Facts, operation: Option<&Operation>) -> VmReport {
    if facts.observed.hypervisor != HypervisorState::Ready {
        return VmReport::Keep;
    }
    if let Some(Live::Found(vm)) = &facts.looks.live
        && matches!(vm.ownership, Ownership::Ours | Ownership::Unfinished { .. })
    {
        let (at, uuid) = (vm.at.clone(), vm.uuid.clone());
        return VmReport::Known(KnownVm { at, uuid, power: vm.power, disk_bytes: vm.disk_bytes });
    }
    if let Some(operation) = operation.filter(|operation| operation.step == Step::Create && operation.task.is_some()) {
        let (at, uuid) = (operation.target.at(), operation.target.uuid.clone());
        return VmReport::Making(KnownVm { at, uuid, power: Power::Unknown, disk_bytes: None });
    }
    match &facts.observed.presence {
        _ if operation.is_some() && facts.remembered.operation.is_some() => VmReport::Keep,
        // Only a VM that is the worker's goes into its status: by that, one that loses its marks is known again. Of a
        // copy the status must know nothing, or it would be taken for the worker's VM once its marks are taken out.
        Presence::Present { at, power, uuid, ownership: Ownership::Ours | Ownership::Unfinished { .. } } => {
            VmReport::Known(KnownVm { at: at.clone(), uuid: uuid.clone(), power: *power, disk_bytes: None })
        }
        presence if presence.is_gone() => VmReport::Gone,
        _ => VmReport::Keep,
    }
}

fn deployed(vm: &VmReport) -> Option<Verdict> {
    match vm {
        VmReport::Keep => None,
        VmReport::Gone => {
            Some(Verdict::new(Some(false), WorkerReason::NotDeployed, "there is no VM; it is made when it is needed"))
        }
        VmReport::Making(vm) => {
            Some(Verdict::new(Some(false), WorkerReason::Deploying, format!("{} is being made", vm.at)))
        }
        VmReport::Known(vm) => Some(Verdict::new(Some(true), WorkerReason::Deployed, vm.at.to_string())),
    }
}

/// The last test, if it speaks of the present declaration.
fn current_test(facts: &Facts) -> Option<&TestRecord> {
    facts.remembered.last_test.as_ref().filter(|test| test.spec_hash == facts.declared.spec_hash)
}

fn tested(facts: &Facts, holdup: &Holdup) -> Verdict {
    let mut verdict = match current_test(facts) {
        Some(test) if test.passed => Verdict::new(Some(true), WorkerReason::TestPassed, "every check passed"),
        Some(test) => Verdict::new(Some(false), WorkerReason::TestFailed, test.message.clone()),
        None => Verdict::new(None, WorkerReason::NotTested, "the present declaration has not been tested"),
    };
    // Who asked would see nothing else happen.
    if let Holdup::Unsure(Some(problem)) = holdup
        && is_asked_for(facts)
    {
        verdict.message = format!("{}; the test that was asked for waits: {}", verdict.message, problem.message);
    }
    verdict
}

/// Whether a person asked for a test that has not begun.
fn is_asked_for(facts: &Facts) -> bool {
    let (asked, handled) = (&facts.declared.test_request, &facts.remembered.handled_request);
    asked.is_some() && asked != handled && facts.remembered.operation.is_none() && !facts.declared.deleting
}

/// What is not known takes nothing back: only a declaration that was seen to be in order again is not stalled any more.
fn stalling(facts: &Facts, holdup: &Holdup) -> Stalling {
    match holdup {
        Holdup::Stalls(problem) => Stalling::Yes(problem.clone()),
        Holdup::Unsure(_) | Holdup::Blind(_) | Holdup::Dark(_)
            if facts.remembered.stalled && !facts.declared.deleting =>
        {
            Stalling::Stays
        }
        _ => Stalling::No,
    }
}

fn ready(facts: &Facts, holdup: &Holdup, stalled: &Stalling, vm: &VmReport) -> Option<Verdict> {
    let problem = holdup.problem();
    let verdict = |status, problem: &Problem| Some(Verdict::new(status, problem.reason, problem.message.clone()));
    if facts.declared.deleting {
        return Some(match problem {
            Some(problem) => Verdict::new(Some(false), problem.reason, problem.message.clone()),
            None => Verdict::new(Some(false), WorkerReason::Deleting, "powering off and deleting the VM"),
        });
    }
    if let Some(problem) = problem {
        match &facts.observed.hypervisor {
            HypervisorState::Away(_) if facts.observed.away_for < AWAY_TOLERANCE => return None,
            HypervisorState::Away(_) | HypervisorState::Missing(_) => return verdict(None, problem),
            HypervisorState::Ready => match holdup {
                Holdup::Dark(_) if facts.observed.dark_for < AWAY_TOLERANCE => return None,
                Holdup::Dark(_) => return verdict(None, problem),
                Holdup::Blind(_) if problem.reason != WorkerReason::Forbidden => return verdict(None, problem),
                Holdup::Stalls(_) => return verdict(Some(false), problem),
                _ if NOT_READY.contains(&problem.reason) => return verdict(Some(false), problem),
                _ => {}
            },
        }
    }
    if *stalled == Stalling::Stays {
        return None;
    }
    match current_test(facts) {
        Some(test) if test.passed && *vm == VmReport::Gone => {
            let message =
                "declared and tested, but its VM is gone; it is made anew when a test is asked for or work needs it";
            Some(Verdict::new(Some(true), WorkerReason::Configured, message))
        }
        Some(test) if test.passed => {
            Some(Verdict::new(Some(true), WorkerReason::TestPassed, "deployed and tested as declared"))
        }
        Some(test) => Some(Verdict::new(Some(false), WorkerReason::TestFailed, test.message.clone())),
        None if facts.declared.test_on_change => {
            let testing = Problem::new(WorkerReason::Testing, "the present declaration is being tested");
            verdict(None, problem.unwrap_or(&testing))
        }
        None => match vm {
            VmReport::Keep | VmReport::Making(_) => None,
            VmReport::Gone => Some(Verdict::new(
                Some(true),
                WorkerReason::Configured,
                "declared; the VM is made when a test is asked for or work needs it",
            )),
            VmReport::Known(_) => {
                Some(Verdict::new(Some(true), WorkerReason::Deployed, "the VM exists; it has not been tested"))
            }
        },
    }
}

/// Work for the declaration: a deletion, a test that a change asks for, a change that is applied. A test that a
/// person asks for is not: tools that wait for the declaration would see it in progress again.
fn reconciling(facts: &Facts, operation: Option<&Operation>, problem: Option<&Problem>) -> Option<Problem> {
    let text = |fallback: &str| problem.map_or_else(|| fallback.to_owned(), |problem| problem.message.clone());
    let waits = |reason| problem.map_or(reason, |problem| problem.reason);
    if facts.declared.deleting {
        return Some(Problem::new(WorkerReason::Deleting, text("powering off and deleting the VM")));
    }
    if let HypervisorState::Missing(problem) = &facts.observed.hypervisor {
        return Some(problem.clone());
    }
    if facts.declared.test_on_change && current_test(facts).is_none() {
        return Some(Problem::new(
            waits(WorkerReason::Testing),
            text("the present declaration is being deployed and tested"),
        ));
    }
    if operation.is_some_and(|operation| operation.kind == Kind::Apply) && facts.remembered.operation.is_some() {
        return Some(Problem::new(waits(WorkerReason::Applying), text("the declaration is being applied to the VM")));
    }
    None
}

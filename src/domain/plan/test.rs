//! A test: make the VM if there is none, apply the declaration, power on, check, power off.

use super::{
    AfterChecks, BUSY, Decision, Effect, Facts, GUEST, Look, MOST_SENDS, Next, SLOW, apply, forget, on_target,
    power_down, unfit, update,
};
use crate::api::reasons::WorkerReason;
use crate::domain::declare;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Mark, Ownership};
use crate::domain::observation::{Inside, LaunchRecord, Live, LiveVm, NewId, Problem, TestRecord};
use crate::domain::operation::{Kind, Operation, Step, Target};
use crate::domain::update::UpdateRecord;
use crate::hypervisor::vm::{Power, TaskState, VmRef};
use jiff::SignedDuration;
use std::time::Duration;

/// A worker that a task has waited for is given to it, or is not, within this time after its test.
const HANDOVER: Duration = Duration::from_secs(20);

/// Goes on with a test.
pub(super) fn plan(facts: &Facts, operation: &Operation) -> Decision {
    if operation.step == Step::Create {
        return created(facts, operation);
    }
    on_target(facts, operation, |vm| on_vm(facts, operation, vm))
}

/// Begins or goes on only with a launch permit: not too many VMs are made and booted at a time. Who waited for long gave
/// it back, and asks again.
pub(super) fn permitted(facts: &Facts, operation: &Operation, go_on: impl FnOnce(&Facts) -> Decision) -> Decision {
    match facts.looks.permit {
        None => facts.look(Look::Permit, operation),
        Some(true) => go_on(facts),
        Some(false) => {
            let text = "as many workers as limits.parallelLaunches allows are being launched; it is next in turn";
            facts.queued(Problem::new(WorkerReason::Waiting, text), operation)
        }
    }
}

/// Sends the call that makes the VM, under an id that is this worker's alone, when it is its turn.
pub(super) fn create(facts: &Facts, operation: &Operation) -> Decision {
    permitted(facts, operation, |facts| create_now(facts, operation))
}

fn create_now(facts: &Facts, operation: &Operation) -> Decision {
    match &facts.looks.new_id {
        None => facts.look(Look::NewId, operation),
        Some(NewId::Exhausted(text)) => {
            facts.stalled(Problem::new(WorkerReason::VmIdRangeExhausted, text.clone()), None)
        }
        Some(NewId::Reserved(id)) => {
            let mark =
                Mark { operation: operation.id.clone(), vm_id: id.clone(), ..facts.declared.wanted.mark.clone() };
            let target =
                Target { host: facts.declared.wanted.host.clone(), vm_id: id.clone(), uuid: mark.uuid().to_string() };
            // Another id is another intent: it has not been sent before.
            let intent = Operation {
                target,
                sends: 0,
                spec_hash: facts.declared.spec_hash.clone(),
                made_as: declare::made_as(&facts.declared.wanted),
                ..operation.clone()
            };
            facts.act(&intent, Effect::Create)
        }
    }
}

/// The call that makes the VM has been sent, perhaps: what came of it?
fn created(facts: &Facts, operation: &Operation) -> Decision {
    if facts.looks.task == Some(TaskState::Running) {
        return facts.busy(operation);
    }
    match facts.looks.live.as_ref() {
        None => facts.look(Look::Vm(operation.target.at()), operation),
        Some(Live::NotThere) => not_made(facts, operation),
        Some(Live::Found(vm)) => made(facts, operation, vm),
    }
}

/// There is no VM of that id on that host.
fn not_made(facts: &Facts, operation: &Operation) -> Decision {
    if was_told(facts, operation) {
        return if may_still_come(facts, operation) { facts.poll(operation) } else { facts.close(operation) };
    }
    match &facts.looks.task {
        Some(TaskState::Failed { kind: FaultKind::AlreadyExists, .. }) if operation.sends == 1 => {
            return create(facts, operation);
        }
        Some(TaskState::Failed { message, kind }) if !passes(kind) => {
            return facts.conclude(operation, "deployed", format!("the VM could not be made: {message}"));
        }
        Some(TaskState::Succeeded { .. }) => return super::not_there(facts, operation),
        _ => {}
    }
    if let Some(fault) = &facts.observed.last_call {
        if fault.kind == FaultKind::AlreadyExists && operation.sends == 1 {
            return create(facts, operation);
        }
        if !passes(&fault.kind) {
            return facts.conclude(operation, "deployed", format!("the VM could not be made: {fault}"));
        }
    }
    match facts.looks.being_made {
        None => facts.look(Look::BeingMade, operation),
        Some(true) => facts.busy(operation),
        Some(false) => send_again(facts, operation),
    }
}

/// Nothing is there and nothing is being made: the same call under the same id, or, if the declaration changed
/// meanwhile, none at all. Not before it is certain that the call before comes no more: it could make the VM once more
/// after that of the second call was deleted.
fn send_again(facts: &Facts, operation: &Operation) -> Decision {
    let answered = |fault: &Fault| fault.kind != FaultKind::UnknownOutcome;
    if may_still_come(facts, operation) && !facts.observed.last_call.as_ref().is_some_and(answered) {
        return facts.poll(operation);
    }
    if operation.spec_hash != facts.declared.spec_hash {
        return facts.close(operation);
    }
    if operation.sends >= MOST_SENDS {
        let why = facts.observed.last_call.as_ref().map_or_else(|| "no answer".to_owned(), ToString::to_string);
        return facts.conclude(operation, "deployed", format!("the VM could not be made: {why}"));
    }
    permitted(facts, operation, |facts| facts.act(operation, Effect::Create))
}

/// Whether a call that makes the VM may still be on its way to the host: it was sent, no task is known, and the longest
/// time that a call can take has not passed twice.
pub(super) fn may_still_come(facts: &Facts, operation: &Operation) -> bool {
    let unheard_of = operation.step == Step::Create && operation.task.is_none();
    unheard_of && facts.observed.quiet_for < facts.observed.call_deadline * 2
}

/// There is a VM of that id on that host.
fn made(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Decision {
    if vm.ownership == Ownership::Foreign {
        return perhaps_ours(facts, operation, vm);
    }
    match unfit(facts, operation, vm) {
        Some(decision) => decision,
        None => on_vm(facts, operation, vm),
    }
}

/// The VM does not carry our mark. While it is being made that proves nothing; afterwards it is somebody else's, and
/// another id is taken. It is never touched.
fn perhaps_ours(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Decision {
    let first_and_refused = operation.sends == 1
        && operation.task.is_none()
        && facts.observed.last_call.as_ref().is_some_and(|fault| fault.kind == FaultKind::AlreadyExists);
    if vm.lock.is_none() && matches!(facts.looks.task, Some(TaskState::Succeeded { .. })) {
        // The call made this very VM: somebody took its mark away. A second one is not made.
        let mark = declare::wanted_by(&facts.declared.wanted, operation).mark;
        let text = format!("{} has lost its mark; put this into its notes again:\n{}", vm.at, mark.block());
        return facts.waiting(Problem::new(WorkerReason::IdentityMismatch, text), operation, SLOW);
    }
    if vm.lock.is_none() {
        return create(facts, operation);
    }
    if first_and_refused {
        // A call that arrived twice is refused by what its first arrival has begun. That shows as a task, in a moment.
        return match facts.looks.being_made {
            None => facts.look(Look::BeingMade, operation),
            Some(false) if facts.observed.quiet_for >= BUSY * 5 => create(facts, operation),
            Some(_) => facts.busy(operation),
        };
    }
    super::locked(facts, operation, vm, vm.lock.as_deref().unwrap_or_default())
}

/// The VM is there, ours, and not locked.
fn on_vm(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Decision {
    match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::Off => off(facts, operation, vm),
        Power::On => on(facts, operation, vm),
    }
}

fn off(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Decision {
    if was_told(facts, operation) || is_needless(facts, operation) {
        return facts.close(operation);
    }
    if operation.step == Step::Start
        && let Some(decision) = not_started(facts, operation)
    {
        return decision;
    }
    if facts.takes_another(vm).is_some() {
        // A VM that a call may still power on is not left alone yet.
        let may_start = operation.step == Step::Start && facts.observed.quiet_for < facts.observed.call_deadline * 2;
        return if may_start { facts.busy(operation) } else { facts.close(operation) };
    }
    if let Some(decision) = apply::change(facts, operation, vm) {
        return decision;
    }
    let current = Operation { spec_hash: facts.declared.spec_hash.clone(), ..operation.clone() };
    permitted(facts, operation, |facts| facts.act(&current, Effect::Start))
}

/// It was powered on and is off: not yet, or it failed.
fn not_started(facts: &Facts, operation: &Operation) -> Option<Decision> {
    match &facts.looks.task {
        Some(TaskState::Running) => return Some(facts.busy(operation)),
        Some(TaskState::Succeeded { .. }) if facts.observed.step_age < BUSY * 5 => return Some(facts.busy(operation)),
        Some(TaskState::Failed { message, kind }) if !passes(kind) => {
            return Some(facts.conclude(operation, "deployed", format!("the VM could not be powered on: {message}")));
        }
        _ => {}
    }
    if let Some(fault) = facts.observed.last_call.as_ref().filter(|fault| !passes(&fault.kind)) {
        return Some(facts.conclude(operation, "deployed", format!("the VM could not be powered on: {fault}")));
    }
    (operation.sends >= MOST_SENDS).then(|| {
        let why = facts.observed.last_call.as_ref().map_or_else(String::new, |fault| format!(" ({fault})"));
        facts.conclude(operation, "deployed", format!("the VM was powered on and did not stay on{why}"))
    })
}

fn on(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Decision {
    if was_told(facts, operation) {
        return told(facts, operation, &vm.at);
    }
    if !operation.has_powered_on() {
        // Somebody else powered it on: a test begins with a VM that is off and as declared.
        return power_down(facts, operation);
    }
    if operation.step == Step::Update
        && let Some(decision) = update::under_way(facts, operation, &vm.at)
    {
        return decision;
    }
    if operation.spec_hash != facts.declared.spec_hash {
        // The declaration changed under the test: it ends without a result, and a new one begins.
        let over = Operation { checked: true, ..operation.clone() };
        return power_down(facts, &over);
    }
    if operation.step == Step::Update {
        return update::go_on(facts, operation, &vm.at);
    }
    match facts.looks.guest {
        None => facts.look(Look::Guest(vm.at.clone()), operation),
        Some(true) => answering(facts, operation, &vm.at),
        Some(false) if facts.observed.step_age > facts.observed.guest_timeout => facts.conclude(
            operation,
            "guest",
            format!(
                "the guest agent did not answer within {} s after {}: does the image have qemu-guest-agent, and does \
                 it start?",
                facts.observed.guest_timeout.as_secs(),
                if operation.step == Step::Reboot { "the reboot that its update asked for" } else { "power-on" }
            ),
        ),
        Some(false) => facts.say(Next::Wait { after: GUEST, poll: false }, Some(operation)),
    }
}

/// The guest answers: its checks, then the update of its packages, then the result.
fn answering(facts: &Facts, operation: &Operation, at: &VmRef) -> Decision {
    if facts.remembered.launch.as_ref().is_some_and(|launch| launch.operation == operation.id) {
        return facts.close(operation);
    }
    if operation.step != Step::Start {
        return update::go_on(facts, operation, at);
    }
    if facts.declared.updates.is_none() {
        return result(facts, operation, at, None);
    }
    if is_fresh(facts, operation) || facts.observed.checked {
        return update::go_on(facts, operation, at);
    }
    let operation_box = Box::new(operation.clone());
    facts.say(Next::Check { operation: operation_box, after: AfterChecks::Update }, Some(operation))
}

/// Everything was done that comes before the result. After an update that changed something, the guest is checked in any
/// case: it may not be what it was.
pub(super) fn result(facts: &Facts, operation: &Operation, at: &VmRef, update: Option<UpdateRecord>) -> Decision {
    let changed = update.as_ref().is_some_and(UpdateRecord::changed_something);
    if is_fresh(facts, operation) && !changed {
        return launched(facts, operation, at, update);
    }
    let after = AfterChecks::Record(update.map(Box::new));
    facts.say(Next::Check { operation: Box::new(operation.clone()), after }, Some(operation))
}

/// The result is recorded. Work that waits goes on with a VM that passed; else it is powered off.
fn told(facts: &Facts, operation: &Operation, at: &VmRef) -> Decision {
    let is_fit = operation.has_powered_on() && !operation.checked && passed(facts);
    let goes_on = operation.kind == Kind::Launch || facts.remembered.claims.iter().any(|held| held.listed);
    if is_fit && goes_on {
        return launched(facts, operation, at, None);
    }
    if is_fit && is_awaited(facts) {
        return facts.say(Next::Wait { after: BUSY, poll: false }, Some(operation));
    }
    let over = Operation { checked: true, ..operation.clone() };
    power_down(facts, &over)
}

/// Whether a task has waited for this very result and may be given the worker in a moment. Whoever powers it off and who
/// gives it a task both write the Worker as it was read, so only one of them does.
fn is_awaited(facts: &Facts) -> bool {
    let age = |test: &TestRecord| facts.now.duration_since(test.finished).unsigned_abs();
    facts.observed.needed && facts.remembered.last_test.as_ref().is_some_and(|test| age(test) < HANDOVER)
}

/// The VM is fit: which boot of it that is is recorded, and it stays powered on.
fn launched(facts: &Facts, operation: &Operation, at: &VmRef, update: Option<UpdateRecord>) -> Decision {
    let recorded = |launch: &LaunchRecord| launch.operation == operation.id;
    if facts.remembered.launch.as_ref().is_some_and(recorded) {
        return facts.close(operation);
    }
    match &facts.looks.inside {
        None => facts.look(Look::Inside(at.clone()), operation),
        Some(Inside::Silent(since)) if *since > facts.observed.guest_timeout => {
            let text = format!("the guest was launched, and has not answered since for {} s", since.as_secs());
            facts.conclude(operation, "guest", text)
        }
        Some(Inside::Silent(_)) => facts.say(Next::Wait { after: GUEST, poll: false }, Some(operation)),
        Some(Inside::Told(sight)) => {
            if let Some(decision) = forget::first(facts, operation, sight) {
                return decision;
            }
            let (boot_id, update) = (sight.boot_id.clone(), update.map(Box::new));
            facts.say(Next::Launched { operation: Box::new(operation.clone()), boot_id, update }, Some(operation))
        }
    }
}

/// Whether nothing waits any more for what this operation was to launch, and it has not powered anything on.
fn is_needless(facts: &Facts, operation: &Operation) -> bool {
    operation.kind == Kind::Launch && operation.step != Step::Start && facts.remembered.claims.is_empty()
}

/// Whether a test of this very declaration passed so lately that a launch goes without checks.
fn is_fresh(facts: &Facts, operation: &Operation) -> bool {
    let fresh = |test: &TestRecord| {
        let age = facts.now.duration_since(test.finished).max(SignedDuration::ZERO).unsigned_abs();
        test.passed && test.spec_hash == facts.declared.spec_hash && age < facts.declared.max_age
    };
    operation.kind == Kind::Launch && facts.remembered.last_test.as_ref().is_some_and(fresh)
}

fn passed(facts: &Facts) -> bool {
    let current = |test: &TestRecord| test.passed && test.spec_hash == facts.declared.spec_hash;
    facts.remembered.last_test.as_ref().is_some_and(current)
}

/// Whether the test's result is recorded, or the test was given up: from here on the VM is only powered off.
pub(super) fn was_told(facts: &Facts, operation: &Operation) -> bool {
    // A VM that outlived its record keeps the id of the operation that made it: a result of an earlier test under that
    // id does not end this one. Equal, not later: a wall clock may step back.
    let this = |test: &TestRecord| test.operation == operation.id && test.started == operation.since;
    operation.checked || facts.remembered.last_test.as_ref().is_some_and(this)
}

/// Whether a fault passes by itself, so that the same call may be sent again after a look.
pub(super) fn passes(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Unreachable
            | FaultKind::Busy
            | FaultKind::Locked(_)
            | FaultKind::NoQuorum
            | FaultKind::GuestAway
            | FaultKind::NotSent
            | FaultKind::UnknownOutcome
            | FaultKind::AlreadyDone
            | FaultKind::Unauthorized
            | FaultKind::Certificate
    )
}

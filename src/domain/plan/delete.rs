//! Deleting a worker: power off, delete with proof of identity, wait until the hypervisor shows it gone, release.

use super::{Decision, Effect, Facts, Look, Next, SLOW, locked, power_down, test, unfit, work};
use crate::api::reasons::WorkerReason;
use crate::domain::fault::FaultKind;
use crate::domain::observation::{Budget, Live, LiveVm, Presence, Problem};
use crate::domain::operation::{Operation, Step};
use crate::hypervisor::vm::{Power, TaskState};

/// Goes on with a deletion.
pub(super) fn plan(facts: &Facts, operation: &Operation) -> Decision {
    if let Some(decision) = wait_for_task(facts, operation) {
        return decision;
    }
    match facts.looks.live.as_ref() {
        None => facts.look(Look::Vm(operation.target.at()), operation),
        Some(Live::NotThere) => gone(facts, operation),
        Some(Live::Found(vm)) => match unfit_to_delete(facts, operation, vm) {
            Some(decision) => decision,
            None => remove(facts, operation, vm),
        },
    }
}

/// A task that makes or deletes the VM ends before anything else is done: never a second operation beside the first.
fn wait_for_task(facts: &Facts, operation: &Operation) -> Option<Decision> {
    let holds = matches!(operation.step, Step::Create | Step::Destroy);
    (holds && facts.looks.task == Some(TaskState::Running)).then(|| facts.busy(operation))
}

/// The VM is not where it was: released only when its absence is proven, and no call that makes it is under way.
fn gone(facts: &Facts, operation: &Operation) -> Decision {
    if operation.step == Step::Create && operation.task.is_none() {
        match facts.looks.being_made {
            None => return facts.look(Look::BeingMade, operation),
            Some(true) => return facts.busy(operation),
            // The call may still be on its way to the host.
            Some(false) if test::may_still_come(facts, operation) => return facts.poll(operation),
            Some(false) => {}
        }
    }
    match &facts.observed.presence {
        Presence::Present { at, .. } if at.id == operation.target.vm_id && *at != operation.target.at() => {
            facts.look(Look::Vm(at.clone()), operation)
        }
        presence if presence.is_gone() => {
            work::without_vm(facts).unwrap_or_else(|| facts.say(Next::Release { abandoned: false }, Some(operation)))
        }
        _ => facts.poll(operation),
    }
}

/// Why the VM must not be deleted now. While it is being made, the create step knows that it is not marked yet.
fn unfit_to_delete(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Option<Decision> {
    if operation.step == Step::Create
        && let Some(decision) = unfinished(facts, operation, vm)
    {
        return Some(decision);
    }
    if let Some(decision) = unfit(facts, operation, vm) {
        return Some(decision);
    }
    if vm.protected {
        let text = format!("{} is protected against removal: switch its protection off, or keep it", vm.at);
        return Some(facts.waiting(Problem::new(WorkerReason::VmProtected, text), operation, SLOW));
    }
    None
}

/// What to do about a VM that may not be marked yet; `None` if it is.
fn unfinished(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Option<Decision> {
    match (&vm.lock, facts.looks.being_made) {
        (Some(_), None) => Some(facts.look(Look::BeingMade, operation)),
        (Some(_), Some(true)) => Some(facts.busy(operation)),
        _ if claims_to_be_ours(vm) => None,
        // Whose it is shows when the lock is gone.
        (Some(lock), Some(false)) => Some(locked(facts, operation, vm, lock)),
        (None, _) if made_it(facts, operation) => Some(leave_behind(facts, operation)),
        // The id went to somebody else: there is nothing of ours to delete here.
        (None, _) => Some(facts.close(operation)),
    }
}

/// Whether the call that was sent may have made the VM that has its id: it began, and not just to find the id taken.
fn made_it(facts: &Facts, operation: &Operation) -> bool {
    let taken = |task: &TaskState| matches!(task, TaskState::Failed { kind: FaultKind::AlreadyExists, .. });
    operation.task.is_some() && !facts.looks.task.as_ref().is_some_and(taken)
}

/// A VM that never got its mark is not ours to delete, whoever made it: people are told of it.
fn leave_behind(facts: &Facts, operation: &Operation) -> Decision {
    match &facts.observed.presence {
        Presence::Present { .. } => facts.close(operation),
        presence if presence.is_gone() => facts.say(Next::Release { abandoned: true }, Some(operation)),
        _ => facts.poll(operation),
    }
}

fn claims_to_be_ours(vm: &LiveVm) -> bool {
    !matches!(vm.ownership, crate::domain::identity::Ownership::Foreign)
}

/// Powers off, asks the budget, deletes.
fn remove(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Decision {
    match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::On => power_down(facts, operation),
        // Tasks that were with it end before the last trace of them is deleted.
        Power::Off => work::without_vm(facts).unwrap_or_else(|| destroy(facts, operation)),
    }
}

fn destroy(facts: &Facts, operation: &Operation) -> Decision {
    match &facts.looks.budget {
        None => facts.look(Look::Budget(Box::new(operation.clone())), operation),
        Some(Budget::Held(text)) => {
            facts.waiting(Problem::new(WorkerReason::DeletionBudget, text.clone()), operation, SLOW)
        }
        Some(Budget::Granted) => facts.act(operation, Effect::Destroy),
    }
}

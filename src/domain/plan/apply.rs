//! Operations on a VM without a test: bringing its configuration up to date, and powering it off.

use super::work::DEAD;
use super::{Decision, Effect, Facts, Look, MOST_SENDS, SLOW, Takes, named, on_target, power_down, takes};
use crate::api::reasons::WorkerReason;
use crate::domain::fault::FaultKind;
use crate::domain::observation::{Inside, LiveVm, Problem};
use crate::domain::operation::{Kind, Operation, Step};
use crate::hypervisor::vm::{Power, TaskState};

/// Applies the declaration to a VM that is powered off. One that is powered on is left to the shutdown first.
pub(super) fn plan(facts: &Facts, operation: &Operation) -> Decision {
    on_target(facts, operation, |vm| match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::On => facts.close(operation),
        Power::Off if operation.spec_hash != facts.declared.spec_hash => outdated(facts, operation),
        Power::Off => change(facts, operation, vm).unwrap_or_else(|| facts.close(operation)),
    })
}

/// The declaration is another one by now: it is begun anew, with all that is looked at before. What was sent for the
/// earlier one ends first.
fn outdated(facts: &Facts, operation: &Operation) -> Decision {
    let unanswered = facts.observed.last_call.as_ref().is_some_and(|fault| fault.kind == FaultKind::UnknownOutcome);
    let may_come = unanswered && facts.observed.quiet_for < facts.observed.call_deadline * 2;
    if may_come || facts.looks.task == Some(TaskState::Running) {
        return facts.busy(operation);
    }
    facts.close(operation)
}

/// The next change that brings a powered-off VM to what is declared; `None` when it fits.
pub(super) fn change(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Option<Decision> {
    if facts.takes_another(vm).is_some() {
        return None;
    }
    let current = Operation { spec_hash: facts.declared.spec_hash.clone(), ..operation.clone() };
    let effect = match (takes(vm, Takes::Configure), takes(vm, Takes::Grow)) {
        (false, false) => return None,
        (true, _) => Effect::Configure,
        (false, true) => Effect::GrowDisk,
    };
    if operation.step != Step::ShutDown && facts.observed.calls > MOST_SENDS {
        let refused = facts.observed.last_call.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
        let text = format!("{} does not take its configuration{refused} ({})", vm.at, named(vm));
        if operation.kind == Kind::Test {
            return Some(facts.conclude(operation, "deployed", text));
        }
        // A privilege may be granted, or the declaration corrected: it is tried again now and then.
        let left = (SLOW * 2).saturating_sub(facts.observed.quiet_for).max(facts.observed.hold);
        if !left.is_zero() {
            return Some(facts.waiting(Problem::new(WorkerReason::OperationFailed, text), operation, left));
        }
    }
    if let Some(TaskState::Running) = facts.looks.task {
        return Some(facts.busy(operation));
    }
    Some(facts.act(&current, effect))
}

/// Powers off a VM on which nothing runs.
pub(super) fn shut_down(facts: &Facts, operation: &Operation) -> Decision {
    on_target(facts, operation, |vm| match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::Off => facts.close(operation),
        Power::On if !facts.remembered.claims.is_empty() && operation.sends == 0 => facts.close(operation),
        Power::On => power_down(facts, operation),
    })
}

/// Cuts the power of a VM whose guest is dead under its tasks.
pub(super) fn fence(facts: &Facts, operation: &Operation) -> Decision {
    on_target(facts, operation, |vm| match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::Off => facts.close(operation),
        Power::On if facts.looks.task == Some(TaskState::Running) => facts.busy(operation),
        Power::On if operation.sends > 0 && operation.step == Step::PowerOff => facts.act(operation, Effect::PowerOff),
        Power::On => match &facts.looks.inside {
            None => facts.look(Look::Inside(vm.at.clone()), operation),
            Some(Inside::Silent(since)) if *since >= DEAD => facts.act(operation, Effect::PowerOff),
            // It is back, or the time has begun anew with this process.
            Some(_) => facts.close(operation),
        },
    })
}

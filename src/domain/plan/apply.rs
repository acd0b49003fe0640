//! Operations on a VM without a test: bringing its configuration up to date, and powering it off.

use super::{Decision, Effect, Facts, MOST_SENDS, Takes, named, power_down, takes, target};
use crate::api::reasons::WorkerReason;
use crate::domain::observation::{LiveVm, Problem};
use crate::domain::operation::{Kind, Operation, Step};
use crate::hypervisor::vm::Power;

/// Applies the declaration to a VM that is powered off. One that is powered on is left to the shutdown first.
pub(super) fn plan(facts: &Facts, operation: &Operation) -> Decision {
    let vm = match target(facts, operation) {
        Ok(vm) => vm,
        Err(decision) => return *decision,
    };
    match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::On => facts.close(operation),
        Power::Off => change(facts, operation, vm).unwrap_or_else(|| facts.close(operation)),
    }
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
        return Some(facts.waiting(Problem::new(WorkerReason::OperationFailed, text), operation, super::SLOW * 2));
    }
    if let Some(super::TaskState::Running) = facts.looks.task {
        return Some(facts.busy(operation));
    }
    Some(facts.act(&current, effect))
}

/// Powers off a VM on which nothing runs.
pub(super) fn shut_down(facts: &Facts, operation: &Operation) -> Decision {
    let vm = match target(facts, operation) {
        Ok(vm) => vm,
        Err(decision) => return *decision,
    };
    match vm.power {
        Power::Unknown => facts.busy(operation),
        Power::Off => facts.close(operation),
        Power::On if facts.remembered.claims > 0 => facts.close(operation),
        Power::On => power_down(facts, operation),
    }
}

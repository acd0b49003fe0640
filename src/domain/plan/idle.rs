//! No operation is open: is there a reason to begin one?

use crate::api::reasons::WorkerReason;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Decision, Facts, Look, Next, SLOW, apply, delete, download, test, work};
use crate::domain::availability::{Availability, availability};
use crate::domain::backoff;
use crate::domain::identity::Ownership;
use crate::domain::observation::{Live, LiveVm, Presence, Problem};
use crate::domain::operation::{Kind, Operation, Step, Target, VERSION};
use crate::hypervisor::vm::{Power, VmRef};

/// Whether a test is wanted, now or later.
pub(super) enum Wanted {
    Now { request: Option<String> },
    Later(Duration),
    No,
}

/// Decides what to begin.
pub(super) fn plan(facts: &Facts) -> Decision {
    match &facts.observed.presence {
        Presence::Unknown(why) => {
            let wants = facts.declared.deleting || matches!(wanted(facts), Wanted::Now { .. });
            facts.unseen(why.clone(), wants)
        }
        Presence::Elsewhere { text, .. } => elsewhere(facts, text),
        Presence::Absent { .. } => absent(facts),
        Presence::Present { at, power, ownership, uuid } => present(facts, at, *power, ownership, uuid),
    }
}

/// A VM of this name belongs to an earlier worker or another installation: it is never linked by itself.
fn elsewhere(facts: &Facts, text: &str) -> Decision {
    if !facts.observed.presence.is_gone() {
        return facts.until_polled(super::BUSY);
    }
    if facts.declared.deleting {
        return facts.say(Next::Release { abandoned: false }, None);
    }
    facts.stalled(Problem::new(WorkerReason::ClaimedElsewhere, text), None)
}

fn absent(facts: &Facts) -> Decision {
    let proven = facts.observed.presence.is_gone();
    let wanted = if facts.declared.deleting { Wanted::No } else { wanted(facts) };
    // Without a VM, and with nothing that could be making one, a worker holds nothing up.
    let releases = facts.declared.has_finalizer && !matches!(wanted, Wanted::Now { .. });
    match wanted {
        _ if proven && !facts.remembered.claims.is_empty() => {
            work::absent(facts, || begin_with_create(facts, Kind::Launch, None))
        }
        Wanted::Now { request } if proven => begin_with_create(facts, Kind::Test, request),
        _ if releases && proven => facts.say(Next::Release { abandoned: false }, None),
        // Not until it is certain is it said that there is no VM.
        _ if !proven => facts.until_polled(super::BUSY),
        Wanted::Later(after) => facts.say(Next::Wait { after, poll: false }, None),
        Wanted::Now { .. } | Wanted::No => in_order(facts),
    }
}

/// Nothing is to be done. What could not be met is looked at again, for it is what keeps tasks away.
fn in_order(facts: &Facts) -> Decision {
    if !facts.remembered.stalled || facts.declared.deleting {
        return facts.say(Next::Rest, None);
    }
    let nothing =
        || begin(facts, Kind::Launch, &VmRef { host: facts.declared.wanted.host.clone(), id: String::new() }, "");
    obstructed(facts, nothing).unwrap_or_else(|| facts.say(Next::Rest, None))
}

/// What keeps the declaration's VM from being made, if something does. `nothing`: the operation that would make it.
fn obstructed(facts: &Facts, nothing: impl FnOnce() -> Operation) -> Option<Decision> {
    if let Some(problem) = &facts.observed.conflict {
        return Some(facts.stalled(problem.clone(), None));
    }
    let Some(obstacles) = &facts.looks.obstacles else {
        return Some(facts.look(Look::Obstacles(None), &nothing()));
    };
    let problem = obstacles.first()?.clone();
    // A host that is down comes back by itself; what is on it cannot be seen until then.
    let passes = problem.reason == WorkerReason::HostOffline;
    Some(if passes { facts.unsure(problem, None) } else { facts.stalled(problem, None) })
}

fn begin_with_create(facts: &Facts, kind: Kind, request: Option<String>) -> Decision {
    let placeholder = begin(facts, kind, &VmRef { host: facts.declared.wanted.host.clone(), id: String::new() }, "");
    match &facts.looks.strangers {
        None if facts.observed.conflict.is_none() => return facts.look(Look::Strangers, &placeholder),
        Some(ids) if !ids.is_empty() => {
            let text = format!(
                "VM {} is just being made by nobody known here; waiting to see whether it is this worker's",
                ids.join(", ")
            );
            return facts.unsure(Problem::new(WorkerReason::Waiting, text), None);
        }
        _ => {}
    }
    if let Some(decision) = obstructed(facts, || placeholder.clone()) {
        return decision;
    }
    let operation = Operation { request, ..placeholder };
    download::before(facts, &operation, |facts| test::create(facts, &operation))
}

fn present(facts: &Facts, at: &VmRef, power: Power, ownership: &Ownership, uuid: &str) -> Decision {
    if let Ownership::Mismatch(why) = ownership {
        let problem = Problem::new(WorkerReason::IdentityMismatch, format!("{at} is not touched: {why}"));
        return facts.stalled(problem, None);
    }
    // A VM that an operation made but did not complete belongs to that operation, also when its record was lost.
    let id = match ownership {
        Ownership::Unfinished { operation } => Some(operation.clone()),
        _ => None,
    };
    let unfinished = id.is_some();
    if let Some(made_by) = id.as_ref().filter(|_| was_complete(facts, at, power)) {
        return facts.stalled(Problem::new(WorkerReason::IdentityMismatch, facts.other_uuid(at, made_by)), None);
    }
    let begun = |kind| {
        let operation = begin(facts, kind, at, uuid);
        Operation { id: id.clone().unwrap_or(operation.id.clone()), ..operation }
    };
    if !facts.remembered.claims.is_empty() {
        return work::present(facts, at, power, &begun);
    }
    if facts.declared.deleting {
        return delete::plan(facts, &begun(Kind::Delete));
    }
    match wanted(facts) {
        Wanted::Now { request } => {
            let operation = Operation { request, ..begun(Kind::Test) };
            begin_on_vm(facts, &operation, |facts| {
                test::permitted(facts, &operation, |facts| test::plan(facts, &operation))
            })
        }
        Wanted::Later(_) | Wanted::No if power == Power::On => idle_on(facts, &begun(Kind::ShutDown)),
        _ if unfinished || facts.remembered.applied.as_deref() != Some(&facts.declared.spec_hash) => {
            let operation = begun(Kind::Apply);
            begin_on_vm(facts, &operation, |facts| apply_or_rest(facts, &operation))
        }
        _ if power == Power::Unknown => facts.unseen(Problem::silent_host(at), false),
        Wanted::Later(after) => facts.say(Next::Wait { after, poll: false }, None),
        Wanted::No => facts.say(Next::Rest, None),
    }
}

/// Whether a VM once had all its marks: it was configured, or powered on, which comes after them.
fn was_complete(facts: &Facts, at: &VmRef, power: Power) -> bool {
    let is_known = facts.remembered.vm.as_ref().is_some_and(|known| known.id == at.id);
    power == Power::On || is_known && facts.remembered.applied.is_some()
}

/// Begins only if the declaration can be met by this VM; what takes another VM is said.
pub(super) fn begin_on_vm(facts: &Facts, operation: &Operation, begin: impl FnOnce(&Facts) -> Decision) -> Decision {
    if let Some(problem) = &facts.observed.conflict {
        return facts.stalled(problem.clone(), None);
    }
    match &facts.looks.live {
        None => facts.look(Look::Vm(operation.target.at()), operation),
        Some(Live::Found(vm)) => match facts.takes_another(vm) {
            Some(why) => {
                let text = format!(
                    "{} must be made anew for this change ({why}); delete this Worker and create it again",
                    vm.at
                );
                facts.stalled(Problem::new(WorkerReason::RedeployNeeded, text), None)
            }
            None => in_the_way(facts, operation, vm).unwrap_or_else(|| begin(facts)),
        },
        Some(Live::NotThere) => begin(facts),
    }
}

/// What a change of the VM's name, size or networks meets where the VM is: the hypervisor would take it without a word, and
/// not power the VM on again. What concerns only the making of a VM is in nobody's way here.
fn in_the_way(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Option<Decision> {
    let differs = |field: &str| vm.differences.iter().any(|difference| difference.field.starts_with(field));
    let (networks, name, size) = (differs("networks"), differs("vmName"), differs("resources"));
    if !networks && !name && !size {
        return None;
    }
    let Some(obstacles) = &facts.looks.obstacles else {
        return Some(facts.look(Look::Obstacles(Some(vm.at.clone())), operation));
    };
    let problem = obstacles.iter().find(|problem| match problem.reason {
        WorkerReason::BridgeMissing => networks,
        WorkerReason::VmNameInUse => name,
        WorkerReason::HostTooSmall => size,
        _ => false,
    })?;
    Some(facts.stalled(problem.clone(), None))
}

fn apply_or_rest(facts: &Facts, operation: &Operation) -> Decision {
    match &facts.looks.live {
        Some(Live::Found(vm)) if vm.differences.is_empty() && vm.ownership == Ownership::Ours => {
            facts.say(Next::Rest, None)
        }
        _ => match apply::plan(facts, operation) {
            // Nothing was begun, so there is nothing to close.
            Decision { next: Next::Close(_), .. } => facts.until_polled(SLOW),
            decision => decision,
        },
    }
}

/// Powered on with nothing to do (by hand, or left over): powered off after one grace period.
fn idle_on(facts: &Facts, operation: &Operation) -> Decision {
    if facts.remembered.launch.is_some() && facts.observed.undecided {
        return facts.say(Next::Wait { after: super::BUSY, poll: false }, None);
    }
    let left = lingers(facts).saturating_sub(facts.observed.idle_for);
    if !left.is_zero() {
        return facts.until_polled(left.max(super::BUSY));
    }
    match apply::shut_down(facts, operation) {
        Decision { next: Next::Close(_), .. } => facts.until_polled(super::BUSY),
        decision => decision,
    }
}

/// How long a VM stays on without a task: one that was launched as long as is declared, unless it takes no task again
/// before it was powered off; one that somebody powered on for one grace period.
fn lingers(facts: &Facts) -> Duration {
    match (&facts.remembered.launch, availability(facts)) {
        (Some(_), Availability::Running) => facts.declared.delay,
        (Some(_), _) => Duration::ZERO,
        (None, _) => facts.declared.grace,
    }
}

/// Whether a test is wanted: asked for by a person, by every change, or by a session that could use the worker.
pub(super) fn wanted(facts: &Facts) -> Wanted {
    let (declared, remembered) = (&facts.declared, &facts.remembered);
    if let Some(request) = &declared.test_request
        && remembered.handled_request.as_ref() != Some(request)
    {
        return Wanted::Now { request: Some(request.clone()) };
    }
    if !declared.test_on_change && !facts.observed.needed {
        return Wanted::No;
    }
    match &remembered.last_test {
        Some(test) if test.spec_hash != declared.spec_hash => Wanted::Now { request: None },
        None => Wanted::Now { request: None },
        Some(test) if test.passed => Wanted::No,
        Some(test) => {
            let delay = backoff::TEST.delay(remembered.failures, seed(&test.operation));
            let passed = facts.now.duration_since(test.finished).max(SignedDuration::ZERO).unsigned_abs();
            match delay.saturating_sub(passed) {
                Duration::ZERO => Wanted::Now { request: None },
                left => Wanted::Later(left),
            }
        }
    }
}

fn seed(text: &str) -> u64 {
    text.bytes().fold(17, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

fn begin(facts: &Facts, kind: Kind, at: &VmRef, uuid: &str) -> Operation {
    Operation {
        version: VERSION,
        id: facts.observed.fresh_operation_id.clone(),
        kind,
        step: if kind == Kind::Delete { Step::ShutDown } else { Step::Configure },
        spec_hash: facts.declared.spec_hash.clone(),
        target: Target { host: at.host.clone(), vm_id: at.id.clone(), uuid: uuid.to_owned() },
        sends: 0,
        task: None,
        checked: false,
        made_as: std::collections::BTreeMap::new(),
        request: None,
        since: facts.now,
        step_since: facts.now,
    }
}

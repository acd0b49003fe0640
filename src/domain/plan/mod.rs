//! The one function that decides: facts in, the next thing to do and what to say about it out.
//!
//! It never acts. It asks for a closer [`Look`] when it must know more, and names an [`Effect`] together with the
//! record that must stand in the status *before* that effect. Calling it again with the same facts gives the same
//! answer, so that a crash between any two steps costs nothing but time.

mod apply;
mod decision;
mod delete;
mod download;
mod forget;
mod idle;
mod report;
mod test;
mod update;
mod work;

#[cfg(test)]
mod tests;

use crate::api::names;
use crate::api::reasons::WorkerReason;
use std::collections::BTreeMap;
use std::time::Duration;

pub use decision::{AfterChecks, Decision, Look, Next};
use report::Holdup;
pub use report::{Currency, KnownVm, Report, Stalling, Verdict, VmReport};

use super::declare;
use super::effect::Effect;
use super::fault::{Fault, FaultKind};
use super::identity::{self, Mark, Ownership};
use super::observation::{Abandon, Facts, HypervisorState, Live, LiveVm, Presence, Problem};
use super::operation::{Kind, Operation, Step, Target};
use crate::hypervisor::vm::{Takes, TaskState, VmRef};

/// While something is under way on the hypervisor.
const BUSY: Duration = Duration::from_secs(2);
/// Between two questions to a guest that does not answer yet: each holds one of the host's few API workers for 3 s.
const GUEST: Duration = Duration::from_secs(5);
/// While a person must do something, or something unusual must pass.
const SLOW: Duration = Duration::from_secs(30);
/// How often a call of one step is repeated before the operation gives up.
const MOST_SENDS: u32 = 5;

/// Decides.
pub fn plan(facts: &Facts) -> Decision {
    if let Some(decision) = unasked(facts) {
        return decision;
    }
    let operation = facts.remembered.operation.as_ref().and_then(|record| record.as_ref().ok());
    if let Some(problem) = gate(facts) {
        if let Some(decision) = work::gated(facts, operation) {
            return decision;
        }
        // That there is no Hypervisor is known; behind one that is away or paused nothing is.
        return match &facts.observed.hypervisor {
            HypervisorState::Missing(_) => facts.held_up(problem, operation),
            _ => facts.unsure(problem, operation),
        };
    }
    match operation {
        Some(operation) => go_on(facts, operation),
        None => idle::plan(facts),
    }
}

/// What is decided whether the hypervisor answers or not; `None` if it must be asked.
pub fn unasked(facts: &Facts) -> Option<Decision> {
    let (declared, remembered) = (&facts.declared, &facts.remembered);
    if declared.deleting && !declared.has_finalizer {
        return Some(facts.say(Next::Rest, None));
    }
    match &declared.abandon {
        Abandon::Yes if declared.deleting => return Some(facts.say(Next::Release { abandoned: true }, None)),
        Abandon::Unclear(value) if declared.deleting => return Some(facts.held_up(unclear(value), None)),
        _ => {}
    }
    let operation = match &remembered.operation {
        Some(Err(error)) => {
            let problem = Problem::new(WorkerReason::OperationUnreadable, error.to_string());
            return Some(facts.stalled(problem, None));
        }
        Some(Ok(operation)) => Some(operation),
        None => None,
    };
    work::without_guest(facts, operation)
}

/// Deleting on a guess could destroy a VM that was to be kept.
fn unclear(value: &str) -> Problem {
    let text = format!(
        "the annotation {} is {value:?}: \"true\" leaves the VM behind; nothing is deleted until it says so or is removed",
        names::ABANDON
    );
    Problem::new(WorkerReason::AnnotationUnclear, text)
}

/// What to say when closer looks fail again and again.
pub fn hindered(facts: &Facts, problem: Problem) -> Report {
    let operation = facts.remembered.operation.as_ref().and_then(|record| record.as_ref().ok());
    report::report(facts, operation, &Holdup::Blind(problem))
}

/// What a person is told of a look that fails.
pub fn hindrance(fault: &Fault) -> Problem {
    let reason = match (&fault.kind, refused(fault).reason) {
        (FaultKind::Unreachable, _) => WorkerReason::HostOffline,
        (FaultKind::Unauthorized | FaultKind::Certificate, _) => WorkerReason::HypervisorNotReady,
        (_, WorkerReason::Waiting) => WorkerReason::OperationFailed,
        (_, reason) => reason,
    };
    let needs = match &fault.kind {
        FaultKind::Forbidden { privilege, path } if !privilege.is_empty() && !path.is_empty() => {
            format!("; the credential needs {privilege} on {path} or above")
        }
        _ => String::new(),
    };
    Problem::new(reason, format!("{}{needs}", fault.message))
}

/// What to say of a worker whose declaration cannot be read.
pub fn unreadable(problem: Problem) -> Report {
    report::unreadable(problem)
}

/// What keeps every worker of this hypervisor, or this one, from being worked on at all.
fn gate(facts: &Facts) -> Option<Problem> {
    if facts.declared.paused {
        return Some(Problem::new(WorkerReason::Paused, "spec.paused is true: nothing is changed for this worker"));
    }
    if facts.observed.hypervisor_paused {
        return Some(Problem::new(
            WorkerReason::HypervisorPaused,
            "its Hypervisor is paused: nothing is changed on it",
        ));
    }
    match &facts.observed.hypervisor {
        HypervisorState::Ready => None,
        HypervisorState::Away(problem) | HypervisorState::Missing(problem) => Some(problem.clone()),
    }
}

/// Goes on with the open operation. One that a deletion meets becomes that deletion, under the same id: what it made
/// is then still its own to delete.
fn go_on(facts: &Facts, operation: &Operation) -> Decision {
    let turned;
    let operation = if facts.declared.deleting && operation.kind != Kind::Delete {
        turned = Operation { kind: Kind::Delete, ..operation.clone() };
        &turned
    } else {
        operation
    };
    let moved;
    let operation = match &facts.looks.live {
        // Somebody moved the VM to another host: it is followed there.
        Some(Live::Found(vm)) if vm.at.id == operation.target.vm_id && vm.at.host != operation.target.host => {
            let target = Target { host: vm.at.host.clone(), ..operation.target.clone() };
            moved = Operation { target, ..operation.clone() };
            &moved
        }
        _ => operation,
    };
    match operation.kind {
        _ if operation.step == Step::Download => download::plan(facts, operation),
        Kind::Test | Kind::Launch => test::plan(facts, operation),
        Kind::Apply => apply::plan(facts, operation),
        Kind::Fence => apply::fence(facts, operation),
        Kind::ShutDown => apply::shut_down(facts, operation),
        Kind::Delete => delete::plan(facts, operation),
    }
}

/// Goes on with the VM that the operation works on, once it was read and found fit to be changed.
fn on_target(facts: &Facts, operation: &Operation, go_on: impl FnOnce(&LiveVm) -> Decision) -> Decision {
    match facts.looks.live.as_ref() {
        None => facts.look(Look::Vm(operation.target.at()), operation),
        Some(Live::NotThere) => not_there(facts, operation),
        Some(Live::Found(vm)) => unfit(facts, operation, vm).unwrap_or_else(|| go_on(vm)),
    }
}

/// Why a VM that was found must not be changed now: not ours, a template, locked.
fn unfit(facts: &Facts, operation: &Operation, vm: &LiveVm) -> Option<Decision> {
    let mismatch =
        |text: String| Some(facts.waiting(Problem::new(WorkerReason::IdentityMismatch, text), operation, SLOW));
    match &vm.ownership {
        Ownership::Ours => {}
        Ownership::Unfinished { operation: made_by } if *made_by == operation.id => {}
        Ownership::Unfinished { operation: made_by } => {
            return mismatch(facts.other_uuid(&vm.at, made_by));
        }
        Ownership::Foreign => return mismatch(unmarked(facts, operation, vm)),
        Ownership::Mismatch(why) => return mismatch(format!("{} is not touched: {why}", vm.at)),
    }
    if vm.template {
        let text = format!("{} is a template now and is not touched; delete it by hand or turn it back", vm.at);
        return Some(facts.waiting(Problem::new(WorkerReason::IsTemplate, text), operation, SLOW));
    }
    vm.lock.as_deref().map(|lock| locked(facts, operation, vm, lock))
}

/// A VM under our id without our mark: ours, if it has our uuid; else somebody else's.
fn unmarked(facts: &Facts, operation: &Operation, vm: &LiveVm) -> String {
    if !vm.uuid.eq_ignore_ascii_case(&operation.target.uuid) {
        return format!("{} is not touched: it is another VM than this worker's", vm.at);
    }
    let tested_by = facts.remembered.last_test.as_ref().map_or("", |test| test.operation.as_str());
    let mark = Mark { vm_id: vm.at.id.clone(), ..facts.declared.wanted.mark.clone() };
    let remedy = identity::remedy(&mark, &vm.uuid, &[&operation.id, tested_by]);
    format!("{} is not touched: its description does not carry this worker's mark; {remedy}", vm.at)
}

/// A VM of ours is locked: by our own task, by another one (a backup, say), or by one that died.
fn locked(facts: &Facts, operation: &Operation, vm: &LiveVm, lock: &str) -> Decision {
    if !matches!(lock, "create" | "clone") {
        let text = format!("{} is locked ({lock}); waiting for that to end", vm.at);
        return facts.waiting(Problem::new(WorkerReason::VmLocked, text), operation, BUSY * 2);
    }
    match facts.looks.being_made {
        None => facts.look(Look::BeingMade, operation),
        Some(true) => facts.busy(operation),
        Some(false) => {
            let text = format!(
                "{} is locked ({lock}), but no task works on it: the lock was left behind. Run `qm unlock {}` on {}",
                vm.at, vm.at.id, vm.at.host
            );
            facts.waiting(Problem::new(WorkerReason::OrphanLock, text), operation, SLOW)
        }
    }
}

/// The VM is not where the operation expects it: moved to another host, gone, or not yet known.
fn not_there(facts: &Facts, operation: &Operation) -> Decision {
    match &facts.observed.presence {
        Presence::Present { at, .. } if *at != operation.target.at() && at.id == operation.target.vm_id => {
            facts.look(Look::Vm(at.clone()), operation)
        }
        presence if presence.is_gone() => facts.close(operation),
        _ => facts.poll(operation),
    }
}

/// Powers a VM down that is on: asks the guest, and cuts the power only if the hypervisor did not after the grace
/// period. Both time-outs start anew with this process, so a restart makes them longer, never shorter.
fn power_down(facts: &Facts, operation: &Operation) -> Decision {
    let sent = operation.sends > 0 && matches!(operation.step, Step::ShutDown | Step::PowerOff);
    if !sent {
        // What this operation has powered on has been given no task.
        let asked =
            if operation.has_powered_on() { None } else { work::in_use(facts, operation, &operation.target.at()) };
        return asked.unwrap_or_else(|| facts.act(operation, Effect::ShutDown));
    }
    match &facts.looks.task {
        Some(TaskState::Running) => return facts.busy(operation),
        Some(TaskState::Succeeded { .. }) if facts.observed.step_age < BUSY * 5 => return facts.busy(operation),
        _ => {}
    }
    let patience = facts.declared.grace + Duration::from_secs(90);
    let effect = if facts.observed.step_age > patience || operation.step == Step::PowerOff {
        Effect::PowerOff
    } else {
        Effect::ShutDown
    };
    facts.act(operation, effect)
}

impl Facts {
    /// What to say of a VM whose SMBIOS uuid is not that of its mark, which names the operation `made_by`.
    fn other_uuid(&self, at: &VmRef, made_by: &str) -> String {
        let mark = Mark { operation: made_by.to_owned(), vm_id: at.id.clone(), ..self.declared.wanted.mark.clone() };
        format!("{at} is not touched: its SMBIOS uuid is not the one of its mark; set it back to {}", mark.uuid())
    }

    /// What only another VM can have, for people; `None` if this one will do. A VM that was moved by hand to the host
    /// that is declared now is where it should be.
    fn takes_another(&self, vm: &LiveVm) -> Option<String> {
        let differing = vm.differences.iter().filter(|difference| difference.takes == Takes::Redeploy);
        let shown = differing.map(|one| (one.field.clone(), one.from.clone(), one.to.clone()));
        let written = declare::made_otherwise(self.made_as(), &self.declared.wanted).into_iter();
        let written = written.filter(|(field, _, to)| !(field == "proxmox.host" && vm.at.host == *to));
        let all: Vec<String> =
            shown.chain(written).map(|(field, from, to)| format!("{field} is {from:?}, not {to:?}")).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// What the VM was made as: by the open operation if that has made it, else by the status.
    fn made_as(&self) -> &BTreeMap<String, String> {
        match &self.remembered.operation {
            Some(Ok(operation)) if !operation.made_as.is_empty() => &operation.made_as,
            _ => &self.remembered.made_as,
        }
    }

    fn say(&self, next: Next, operation: Option<&Operation>) -> Decision {
        Decision { next, report: report::report(self, operation, &Holdup::Nothing) }
    }

    /// A decision after a wait, with what holds the work up meanwhile.
    fn wait(&self, after: Duration, poll: bool, operation: Option<&Operation>, holdup: &Holdup) -> Decision {
        Decision { next: Next::Wait { after, poll }, report: report::report(self, operation, holdup) }
    }

    fn look(&self, look: Look, operation: &Operation) -> Decision {
        self.say(Next::Look(look), Some(operation))
    }

    fn busy(&self, operation: &Operation) -> Decision {
        self.wait(BUSY, false, Some(operation), &self.under_way())
    }

    fn poll(&self, operation: &Operation) -> Decision {
        self.wait(BUSY, true, Some(operation), &self.under_way())
    }

    /// An operation that was begun is held up by nothing; whether one can be begun is not known yet.
    fn under_way(&self) -> Holdup {
        if self.remembered.operation.is_some() { Holdup::Nothing } else { Holdup::Unsure(None) }
    }

    /// The operation waits for something that a person may have to see to.
    fn waiting(&self, problem: Problem, operation: &Operation, after: Duration) -> Decision {
        self.wait(after, false, Some(operation), &Holdup::Waits(problem))
    }

    /// Work cannot go on although nothing is wrong with the declaration.
    fn held_up(&self, problem: Problem, operation: Option<&Operation>) -> Decision {
        self.wait(SLOW, false, operation, &Holdup::Waits(problem))
    }

    /// Work cannot go on because something that it depends on is not known.
    fn unsure(&self, problem: Problem, operation: Option<&Operation>) -> Decision {
        self.wait(SLOW, false, operation, &Holdup::Unsure(Some(problem)))
    }

    /// A fresh poll must show more before anything can be said.
    fn until_polled(&self, after: Duration) -> Decision {
        self.wait(after, true, None, &Holdup::Unsure(None))
    }

    /// It waits for its turn, behind other workers.
    fn queued(&self, problem: Problem, operation: &Operation) -> Decision {
        self.waiting(problem, operation, BUSY)
    }

    /// The inventory does not tell enough yet: that comes with one of the next polls. A worker without a VM is well as
    /// it is meanwhile.
    fn unseen(&self, problem: Problem, wants: bool) -> Decision {
        let has_vm = self.remembered.vm.is_some() || matches!(self.observed.presence, Presence::Present { .. });
        let holdup = if has_vm { Holdup::Dark(problem) } else { Holdup::Unsure(Some(problem)) };
        self.wait(if wants { BUSY * 2 } else { SLOW }, wants, None, &holdup)
    }

    /// The declaration cannot be met until somebody changes something.
    fn stalled(&self, problem: Problem, operation: Option<&Operation>) -> Decision {
        self.wait(SLOW, false, operation, &Holdup::Stalls(problem))
    }

    /// Carries out an effect, unless earlier failures say to hold back.
    fn act(&self, operation: &Operation, effect: Effect) -> Decision {
        let settling = self.observed.settling.filter(|(accepted, _)| *accepted == effect).map(|(_, left)| left);
        let hold = self.observed.hold.max(settling.unwrap_or_default());
        if !hold.is_zero() {
            return match &self.observed.last_call {
                Some(fault) => self.waiting(of(effect, refused(fault)), operation, hold),
                None => self.say(Next::Wait { after: hold, poll: false }, Some(operation)),
            };
        }
        // A call that is accepted again and again without effect: something else works against it.
        if self.observed.calls > MOST_SENDS && self.observed.quiet_for < SLOW {
            let text = format!("{effect:?} of VM {} was accepted, but does not last", operation.target.vm_id);
            let left = SLOW.saturating_sub(self.observed.quiet_for);
            return self.waiting(Problem::new(WorkerReason::OperationFailed, text), operation, left);
        }
        let record = Box::new(if is_covered(operation, effect) || self.is_unsent(operation, effect) {
            operation.clone()
        } else {
            operation.intending(effect.step(), self.now)
        });
        self.say(Next::Act { record, effect }, Some(operation))
    }

    /// Whether the call that the record intends was not sent after all, so that the same intent still stands.
    fn is_unsent(&self, operation: &Operation, effect: Effect) -> bool {
        let unsent = self.observed.last_call.as_ref().is_some_and(|fault| fault.kind == FaultKind::NotSent);
        unsent && operation.sends > 0 && operation.step == effect.step()
    }

    fn conclude(&self, operation: &Operation, check: &'static str, message: impl Into<String>) -> Decision {
        let operation_box = Box::new(operation.clone());
        let (message, update) = (message.into(), None);
        self.say(Next::Conclude { operation: operation_box, check, message, update }, Some(operation))
    }

    fn close(&self, operation: &Operation) -> Decision {
        self.say(Next::Close(Box::new(operation.clone())), Some(operation))
    }
}

/// What a person is told of a call that failed and will be tried again.
fn refused(fault: &Fault) -> Problem {
    let reason = match &fault.kind {
        FaultKind::Forbidden { .. } => WorkerReason::Forbidden,
        FaultKind::NoQuorum => WorkerReason::NoQuorum,
        FaultKind::Protected => WorkerReason::VmProtected,
        FaultKind::Locked(_) => WorkerReason::VmLocked,
        FaultKind::Refused | FaultKind::Other => WorkerReason::OperationFailed,
        _ => WorkerReason::Waiting,
    };
    Problem::new(reason, fault.message.clone())
}

/// The same, with what the effect adds to it.
fn of(effect: Effect, mut problem: Problem) -> Problem {
    if effect == Effect::GrowDisk {
        problem.message.push_str("; set spec.resources.disk to what the storage can hold");
    }
    problem
}

/// Whether the intent that stands in the record covers this effect, too: bringing the configuration up to date is part
/// of making a VM, and growing the disk part of that. Both are safe to repeat after a look.
fn is_covered(operation: &Operation, effect: Effect) -> bool {
    let intended = operation.sends > 0 && matches!(operation.step, Step::Create | Step::Configure);
    match effect {
        Effect::GrowDisk => intended,
        // Without its task it is not certain that the call made this VM: then the record says that it was found.
        Effect::Configure => intended && operation.step == Step::Create && operation.task.is_some(),
        _ => false,
    }
}

/// Whether anything in `vm` must be changed while it is powered off.
fn takes(vm: &LiveVm, what: Takes) -> bool {
    vm.differences.iter().any(|difference| difference.takes == what)
}

/// The settings that still differ, for people.
fn named(vm: &LiveVm) -> String {
    vm.differences
        .iter()
        .map(|difference| format!("{} is {:?}, not {:?}", difference.field, difference.from, difference.to))
        .collect::<Vec<_>>()
        .join("; ")
}

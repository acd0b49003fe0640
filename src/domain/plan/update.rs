//! The update of a worker's packages, between its checks and their result: started once, waited for, and followed by a
//! reboot if what was installed asks for one.
//!
//! While it runs, the guest is left alone, whatever else is wanted: a package manager that is cut off in the middle leaves
//! a guest that nobody can use.

use std::time::Duration;

use super::{BUSY, Decision, Effect, Facts, GUEST, Look, MOST_SENDS, Next, test};
use crate::domain::observation::UpdateLook;
use crate::domain::operation::{Operation, Step};
use crate::domain::update::{UpdateEnd, UpdateRecord, UpdateSight, UpdateState};
use crate::hypervisor::vm::VmRef;

/// What an update may take beyond its own time limit, until it has ended itself or was ended in the guest.
const OVERDUE: Duration = Duration::from_secs(600);
/// Between two looks at an update that takes its time.
const PATIENT: Duration = Duration::from_secs(15);

/// What the update of an operation wants that has started one; `None` if it is over.
pub(super) fn under_way(facts: &Facts, operation: &Operation, at: &VmRef) -> Option<Decision> {
    match &facts.looks.update {
        None => Some(facts.look(Look::Update(at.clone()), operation)),
        Some(UpdateLook::Silent(since)) if *since > facts.observed.guest_timeout => {
            let text = format!(
                "the guest has not answered for {} s while its packages are updated",
                since.as_secs() / 60 * 60
            );
            Some(facts.conclude(operation, "guest", text))
        }
        Some(UpdateLook::Silent(_)) => Some(wait(facts, operation, GUEST)),
        Some(UpdateLook::Told(UpdateSight { state: UpdateState::Running, .. })) => Some(running(facts, operation)),
        Some(UpdateLook::Told(_)) => None,
    }
}

fn running(facts: &Facts, operation: &Operation) -> Decision {
    let limit = facts.declared.updates.as_ref().map_or(Duration::ZERO, |updates| updates.timeout);
    let age = facts.observed.step_age;
    if age > limit.max(facts.observed.guest_timeout) + OVERDUE {
        let text =
            format!("the update of the packages has not ended after {} s, and could not be ended", age.as_secs());
        return facts.conclude(operation, "updates", text);
    }
    let pace = match age.as_secs() {
        0..10 => BUSY,
        10..60 => GUEST,
        _ => PATIENT,
    };
    wait(facts, operation, pace)
}

fn wait(facts: &Facts, operation: &Operation, after: Duration) -> Decision {
    facts.say(Next::Wait { after, poll: false }, Some(operation))
}

/// Goes on with the update of an operation whose guest answers: starts it, or does what follows from its end.
pub(super) fn go_on(facts: &Facts, operation: &Operation, at: &VmRef) -> Decision {
    if let Some(decision) = under_way(facts, operation, at) {
        return decision;
    }
    let Some(UpdateLook::Told(sight)) = &facts.looks.update else { return wait(facts, operation, GUEST) };
    match &sight.state {
        UpdateState::Ended(end) if end.reboot_needed && end.boot_id == sight.boot_id => {
            reboot(facts, operation, at, end)
        }
        UpdateState::Ended(end) => {
            finish(facts, operation, at, UpdateRecord::of(&operation.id, end, &sight.boot_id, facts.now))
        }
        UpdateState::Lost => failed(facts, operation, at, "the guest went down in the middle of it"),
        UpdateState::NoResult => failed(facts, operation, at, "it left no result in the guest, whose disk may be full"),
        UpdateState::NotStarted | UpdateState::Running => not_started(facts, operation, at),
    }
}

/// The guest has never heard of it. That it is asked for twice does no harm there.
fn not_started(facts: &Facts, operation: &Operation, at: &VmRef) -> Decision {
    if operation.step != Step::Update {
        return match &facts.declared.updates {
            Some(_) => facts.act(operation, Effect::Update),
            None => test::result(facts, operation, at, None),
        };
    }
    let fault = facts.observed.last_call.as_ref();
    if let Some(fault) = fault.filter(|fault| !test::passes(&fault.kind)) {
        return failed(facts, operation, at, &fault.message);
    }
    if operation.sends < MOST_SENDS && facts.declared.updates.is_some() {
        return facts.act(operation, Effect::Update);
    }
    // One that is still on its way must not begin under a task.
    if facts.observed.quiet_for < facts.observed.call_deadline * 2 {
        return wait(facts, operation, GUEST);
    }
    match &facts.declared.updates {
        Some(_) => failed(facts, operation, at, fault.map_or("it could not be started", |fault| &fault.message)),
        None => test::result(facts, operation, at, None),
    }
}

/// What was installed takes effect with the next boot.
fn reboot(facts: &Facts, operation: &Operation, at: &VmRef, end: &UpdateEnd) -> Decision {
    if operation.step != Step::Reboot {
        return facts.act(operation, Effect::Reboot);
    }
    let fault = facts.observed.last_call.as_ref();
    if let Some(fault) = fault.filter(|fault| !test::passes(&fault.kind)) {
        // It works as it is, but for what was installed.
        let record = UpdateRecord::of(&operation.id, end, &end.boot_id, facts.now);
        return finish(facts, operation, at, record.without_reboot(&fault.message));
    }
    if facts.observed.step_age > facts.observed.guest_timeout {
        let text = "the guest was asked to reboot after its packages were updated, and has not done so";
        return facts.conclude(operation, "updates", text);
    }
    if fault.is_some() && facts.observed.quiet_for >= BUSY * 5 && operation.sends < MOST_SENDS {
        return facts.act(operation, Effect::Reboot);
    }
    wait(facts, operation, BUSY)
}

fn failed(facts: &Facts, operation: &Operation, at: &VmRef, why: &str) -> Decision {
    finish(facts, operation, at, UpdateRecord::failed(&operation.id, why, facts.now))
}

/// It is over: that goes into the status with the result of the test, or of the launch.
fn finish(facts: &Facts, operation: &Operation, at: &VmRef, record: UpdateRecord) -> Decision {
    let fails = facts.declared.updates.as_ref().is_some_and(|updates| updates.failure_fails);
    if fails && !record.succeeded() {
        let next = Next::Conclude {
            operation: Box::new(operation.clone()),
            check: "updates",
            message: record.message.clone(),
            update: Some(Box::new(record)),
        };
        return facts.say(next, Some(operation));
    }
    test::result(facts, operation, at, Some(record))
}

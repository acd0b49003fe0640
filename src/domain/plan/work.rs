//! A worker that has tasks: it is launched for them, they are attended to, and nothing else happens to it meanwhile.

use std::time::Duration;

use super::{Decision, Facts, Look, Next, SLOW, idle, test};
use crate::api::reasons::WorkerReason;
use crate::domain::attempt::Sight;
use crate::domain::attend::{self, Place, Step};
use crate::domain::availability;
use crate::domain::claims::Held;
use crate::domain::identity::Ownership;
use crate::domain::observation::{HypervisorState, Inside, Live, Presence, Problem};
use crate::domain::operation::{Kind, Operation};
use crate::hypervisor::vm::{Power, VmRef};

/// A guest that has been silent for so long is taken for dead. The time starts anew with this process.
pub(super) const DEAD: Duration = Duration::from_secs(300);
/// Between two questions to a guest in which nothing is about to end.
const ATTENDED: Duration = Duration::from_secs(5);
/// Between two questions to a guest that does not answer.
const SILENT: Duration = Duration::from_secs(15);

/// What tasks need that have not begun, while the guest is not to be asked; `None` if nothing. Before the VM was launched,
/// and while it is, nothing can have begun in it.
pub(super) fn without_guest(facts: &Facts, operation: Option<&Operation>) -> Option<Decision> {
    let launching = operation.is_some_and(|operation| matches!(operation.kind, Kind::Test | Kind::Launch));
    let untouched = operation.is_none() && facts.remembered.launch.is_none();
    if launching || untouched { attended(facts, Place::Unasked) } else { None }
}

/// What tasks need while their worker is paused, or its hypervisor away; `None` if nothing. A lease ends by its client's
/// word, which takes no call. Of a worker that is paused, what has ended by itself is seen and told; nothing is begun and
/// nothing is stopped in it.
pub(super) fn gated(facts: &Facts, operation: Option<&Operation>) -> Option<Decision> {
    let claims = &facts.remembered.claims;
    if claims.is_empty() || operation.is_some() || facts.declared.deleting {
        return None;
    }
    let settled = |place| {
        let mut steps = attend::steps(claims, facts.declared.slots, place, None, facts.now);
        steps.retain(|step| !step.act.is_call());
        steps
    };
    let told = |steps: Vec<Step>| (!steps.is_empty()).then(|| facts.say(Next::Attend(steps), None));
    let Presence::Present { at, power: Power::On, ownership: Ownership::Ours, .. } = &facts.observed.presence else {
        return told(settled(Place::Silent));
    };
    if facts.observed.hypervisor != HypervisorState::Ready || !claims.iter().any(Held::has_begun) {
        return told(settled(Place::Silent));
    }
    match &facts.looks.inside {
        None => Some(facts.say(Next::Look(Look::Inside(at.clone())), None)),
        Some(Inside::Silent(_)) => told(settled(Place::Silent)),
        Some(Inside::Told(sight)) => told(settled(Place::Told { sight, launched: is_launched(facts, sight) })),
    }
}

/// What tasks need whose worker's VM is proven to be off, or gone; `None` if nothing.
pub(super) fn without_vm(facts: &Facts) -> Option<Decision> {
    attended(facts, Place::Off)
}

/// A VM that has tasks. `begun`: an operation of this kind on it.
pub(super) fn present(facts: &Facts, at: &VmRef, power: Power, begun: &dyn Fn(Kind) -> Operation) -> Decision {
    let read = match &facts.looks.live {
        Some(Live::Found(vm)) => vm.power,
        _ => power,
    };
    match read {
        Power::Unknown => facts.unseen(Problem::silent_host(at), true),
        Power::On => on(facts, at, begun),
        Power::Off => match &facts.looks.live {
            None => facts.look(Look::Vm(at.clone()), &begun(Kind::Launch)),
            Some(Live::NotThere) => facts.until_polled(super::BUSY),
            Some(Live::Found(_)) => without_vm(facts).unwrap_or_else(|| launch(facts, begun)),
        },
    }
}

/// A worker that has tasks and, as was proven, no VM. `make`: makes one.
pub(super) fn absent(facts: &Facts, make: impl FnOnce() -> Decision) -> Decision {
    match without_vm(facts) {
        Some(decision) => decision,
        None if waits(facts) => make(),
        None => facts.say(Next::Rest, None),
    }
}

/// Whether a task waits for the worker to be launched.
fn waits(facts: &Facts) -> bool {
    facts.remembered.claims.iter().any(|held| held.listed && !held.has_begun())
}

fn launch(facts: &Facts, begun: &dyn Fn(Kind) -> Operation) -> Decision {
    if facts.declared.deleting || !waits(facts) {
        return facts.say(Next::Wait { after: SLOW, poll: true }, None);
    }
    let operation = begun(Kind::Launch);
    idle::begin_on_vm(facts, &operation, |facts| {
        test::permitted(facts, &operation, |facts| test::plan(facts, &operation))
    })
}

fn on(facts: &Facts, at: &VmRef, begun: &dyn Fn(Kind) -> Operation) -> Decision {
    match &facts.looks.inside {
        None => facts.look(Look::Inside(at.clone()), &begun(Kind::Launch)),
        Some(Inside::Silent(since)) => silent(facts, *since, begun),
        Some(Inside::Told(sight)) => told(facts, sight, begun),
    }
}

/// Nobody can say what runs in there. In the end its power is cut: then it is certain that nothing does.
fn silent(facts: &Facts, since: Duration, begun: &dyn Fn(Kind) -> Operation) -> Decision {
    if since < DEAD {
        let text = format!("the guest has not answered for {} s; tasks are with it", since.as_secs() / 60 * 60);
        let problem = Problem::new(WorkerReason::GuestSilent, text);
        return facts.wait(SILENT, false, None, &super::Holdup::Unsure(Some(problem)));
    }
    super::apply::fence(facts, &begun(Kind::Fence))
}

fn told(facts: &Facts, sight: &Sight, begun: &dyn Fn(Kind) -> Operation) -> Decision {
    let launched = is_launched(facts, sight);
    if let Some(decision) = attended(facts, Place::Told { sight, launched }) {
        return decision;
    }
    let busy = sight.active().next().is_some() || facts.remembered.claims.iter().any(Held::has_begun);
    match () {
        () if facts.declared.deleting => {
            let text = format!(
                "tasks with it: {}; the annotation stevedore.dev/force-delete: \"true\" ends them",
                facts.remembered.claims.len()
            );
            let problem = Problem::new(WorkerReason::TasksRunning, text);
            facts.wait(ATTENDED, false, None, &super::Holdup::Waits(problem))
        }
        () if launched || busy || !waits(facts) => facts.say(Next::Wait { after: ATTENDED, poll: false }, None),
        () => launch(facts, begun),
    }
}

/// Whether this very boot of the guest was launched for work.
pub(super) fn is_launched(facts: &Facts, sight: &Sight) -> bool {
    facts.remembered.launch.as_ref().is_some_and(|launch| launch.boot_id == sight.boot_id)
}

fn attended(facts: &Facts, place: Place<'_>) -> Option<Decision> {
    let refuses = availability::refusal(facts);
    let (claims, slots) = (&facts.remembered.claims, facts.declared.slots);
    let steps: Vec<Step> = attend::steps(claims, slots, place, refuses.as_ref(), facts.now);
    (!steps.is_empty()).then(|| {
        let operation = facts.remembered.operation.as_ref().and_then(|operation| operation.as_ref().ok());
        facts.say(Next::Attend(steps), operation)
    })
}

/// Why a VM that is on must not be powered off: tasks run in it, or may; `None` if that is certain not to be.
pub(super) fn in_use(facts: &Facts, operation: &Operation, at: &VmRef) -> Option<Decision> {
    if facts.looks.inside.is_none() {
        return Some(facts.look(Look::Inside(at.clone()), operation));
    }
    let waiting = |reason, text: String| Some(facts.waiting(Problem::new(reason, text), operation, SILENT));
    match facts.looks.inside.as_ref()? {
        Inside::Silent(since) if *since < DEAD => {
            let text = format!("{at} is not powered off: its guest does not say whether a task runs in it");
            waiting(WorkerReason::GuestSilent, text)
        }
        Inside::Silent(_) => None,
        Inside::Told(sight) => {
            let active = sight.active().map(ToString::to_string).chain(sight.strays.iter().cloned());
            let active: Vec<String> = active.take(3).collect();
            if active.is_empty() {
                return None;
            }
            let text = format!(
                "{at} is not powered off: something of ours runs in it that nobody here knows of ({}); it is waited for",
                active.join(", ")
            );
            waiting(WorkerReason::UnknownTask, text)
        }
    }
}

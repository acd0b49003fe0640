//! Whether a worker takes tasks, and if not, why: for the scheduler, for the condition `Schedulable`, and for tasks that
//! wait for it.

use std::time::Duration;

use super::identity::Ownership;
use super::observation::{Facts, HypervisorState, Presence, TestRecord};
use super::operation::{Kind, Operation};
use super::unfit;
use crate::api::reasons::TaskReason;
use crate::hypervisor::vm::Power;

/// A host that is away for so long is not about to come back: tasks that wait for it go elsewhere.
const DOWN: Duration = Duration::from_secs(120);

/// Whether a worker takes tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It was launched, and takes tasks at once.
    Running,
    /// It is being launched, or tested, and can take tasks then.
    Launching,
    /// It can be launched; it may have no VM yet.
    Off,
    /// It takes none now.
    Not(Unavailable),
}

impl Availability {
    /// That of a worker that the operator has told nothing of yet.
    pub fn unseen() -> Self {
        Self::Not(Unavailable::new(TaskReason::Unavailable, "the operator has not looked at it yet"))
    }
}

/// Why a worker takes no tasks now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The reason, as it stands in a task's status.
    pub reason: TaskReason,
    /// What more there is to say to people; may be empty. It goes on after the words of [`unfit`].
    pub message: String,
}

impl Unavailable {
    /// A reason with its text.
    pub fn new(reason: TaskReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The same as a sentence on `worker`.
    pub fn sentence(&self, worker: &str) -> String {
        format!("{worker} {}", unfit::says(self.reason, &self.message))
    }

    /// What such a sentence said.
    pub fn of_sentence(reason: TaskReason, worker: &str, text: &str) -> Self {
        let words = format!("{worker} {}", unfit::of_one(reason));
        let more = text.strip_prefix(&words).map(|more| more.strip_prefix(": ").unwrap_or(more));
        Self::new(reason, more.unwrap_or(text))
    }

    /// Whether tasks that have not begun on the worker go back to the queue: what keeps it from taking tasks does not
    /// pass in a moment.
    pub fn gives_back(&self) -> bool {
        matches!(
            self.reason,
            TaskReason::Deleting
                | TaskReason::Paused
                | TaskReason::Disabled
                | TaskReason::TestFailed
                | TaskReason::Stalled
                | TaskReason::HostUnschedulable
        )
    }
}

/// Whether the worker of these facts takes tasks.
pub fn availability(facts: &Facts) -> Availability {
    match declared(facts).or_else(|| remembered(facts)).or_else(|| facts.observed.host_refuses.clone()) {
        Some(why) => Availability::Not(why),
        None => match &facts.remembered.operation {
            Some(Ok(operation)) => working(operation),
            _ => resting(facts),
        },
    }
}

/// Why the worker takes back what has not begun, if it does.
pub fn refusal(facts: &Facts) -> Option<Unavailable> {
    let is_down = facts.observed.dark_for >= DOWN;
    match availability(facts) {
        Availability::Not(why) if why.gives_back() || why.reason == TaskReason::HostOffline && is_down => Some(why),
        _ => None,
    }
}

/// What people say of it, and of its hypervisor.
fn declared(facts: &Facts) -> Option<Unavailable> {
    let (declared, observed) = (&facts.declared, &facts.observed);
    let not = |reason, text: &str| Some(Unavailable::new(reason, text));
    if declared.deleting {
        return not(TaskReason::Deleting, "");
    }
    if declared.paused {
        return not(TaskReason::Paused, "spec.paused is true");
    }
    if observed.hypervisor_paused {
        return not(TaskReason::Paused, "spec.paused of its Hypervisor is true");
    }
    if let HypervisorState::Away(problem) | HypervisorState::Missing(problem) = &observed.hypervisor {
        return not(TaskReason::HypervisorNotReady, &problem.message);
    }
    (!declared.enabled).then(|| Unavailable::new(TaskReason::Disabled, "spec.enabled is false"))
}

/// What its status says of it.
fn remembered(facts: &Facts) -> Option<Unavailable> {
    let remembered = &facts.remembered;
    if let Some(Err(error)) = &remembered.operation {
        return Some(Unavailable::new(TaskReason::Stalled, error.to_string()));
    }
    let current = |test: &&TestRecord| test.spec_hash == facts.declared.spec_hash && !test.passed;
    if let Some(test) = remembered.last_test.as_ref().filter(current) {
        return Some(Unavailable::new(TaskReason::TestFailed, test.message.clone()));
    }
    let text = "its declaration cannot be met; its condition Stalled says why";
    remembered.stalled.then(|| Unavailable::new(TaskReason::Stalled, text))
}

/// The same while it is at work on this.
pub(super) fn working(operation: &Operation) -> Availability {
    match operation.kind {
        Kind::Test | Kind::Launch => Availability::Launching,
        Kind::Apply => Availability::Off,
        Kind::ShutDown | Kind::Delete | Kind::Fence => {
            Availability::Not(Unavailable::new(TaskReason::ShuttingDown, ""))
        }
    }
}

fn resting(facts: &Facts) -> Availability {
    let unknown = |text: &str| Availability::Not(Unavailable::new(TaskReason::Unavailable, text));
    match &facts.observed.presence {
        Presence::Unknown(problem) => unknown(&problem.message),
        Presence::Elsewhere { text, .. } => Availability::Not(Unavailable::new(TaskReason::Stalled, text.as_str())),
        Presence::Absent { .. } if facts.observed.presence.is_gone() => Availability::Off,
        Presence::Absent { .. } => unknown("it is not certain yet whether it has a VM"),
        Presence::Present { ownership: Ownership::Mismatch(why), .. } => {
            Availability::Not(Unavailable::new(TaskReason::Stalled, why.as_str()))
        }
        Presence::Present { power, .. } => powered(facts, *power),
    }
}

fn powered(facts: &Facts, power: Power) -> Availability {
    match power {
        Power::Off => Availability::Off,
        Power::Unknown => {
            Availability::Not(Unavailable::new(TaskReason::HostOffline, "its host does not tell whether it is on"))
        }
        // Powered on by somebody else: it is launched properly when it is needed.
        Power::On if facts.remembered.launch.is_none() => Availability::Off,
        Power::On if facts.remembered.applied.as_deref() == Some(&facts.declared.spec_hash) => Availability::Running,
        Power::On => {
            let text = "it was edited, and the change is applied when it is off";
            Availability::Not(Unavailable::new(TaskReason::Draining, text))
        }
    }
}

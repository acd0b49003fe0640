//! Why an output cannot be read from the guest that has it, or had it.

use super::chosen::Chosen;
use crate::controller::hypervisor::person::NoWay;
use crate::domain::attempt::AttemptId;
use crate::domain::fault::Fault;

/// Why an output cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// Whether that is nothing special: the worker is off, or gone.
    pub(super) is_usual: bool,
    /// Why, for people; no full stop.
    pub(super) why: String,
}

impl Lack {
    /// The worker is off, or not there any more.
    pub(super) fn usual(why: String) -> Self {
        Self { is_usual: true, why }
    }

    /// Something that a person can do something about.
    pub(super) fn other(why: String) -> Self {
        Self { is_usual: false, why }
    }

    /// The guest answers, and has nothing of the attempt.
    pub(super) fn unknown(worker: &str, id: &AttemptId) -> Self {
        Self::other(format!("worker {worker} has nothing of attempt {} in its guest", id.attempt))
    }

    /// None of the workers has it. `waited`: its beginning was waited for.
    pub(super) fn all(lacks: Vec<Self>, chosen: &Chosen, waited: bool) -> Self {
        if let Some(message) = chosen.not_begun.as_ref().filter(|_| !waited) {
            return Self::other(format!("the command has not begun yet ({message})"));
        }
        let is_usual = !lacks.is_empty() && lacks.iter().all(|lack| lack.is_usual);
        let why = if lacks.is_empty() {
            format!("nobody tells on which worker attempt {} was made", chosen.attempt)
        } else {
            lacks.into_iter().map(|lack| lack.why).collect::<Vec<_>>().join("; ")
        };
        Self { is_usual, why }
    }
}

impl From<NoWay> for Lack {
    fn from(no_way: NoWay) -> Self {
        Self::other(no_way.message)
    }
}

impl From<Fault> for Lack {
    fn from(fault: Fault) -> Self {
        Self::other(fault.message)
    }
}

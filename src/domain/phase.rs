//! The phase: one word for a person about where a worker is in its life.

use crate::api::worker_status::Phase;

/// What the phase is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseFacts<'a> {
    /// The phase before, if there was one.
    pub before: Option<&'a str>,
    /// Whether the hypervisor's or the VM's state is not known just now.
    pub unknown: bool,
    /// Whether the worker is being deleted: the phase stays as it was.
    pub deleting: bool,
    /// Whether the VM is being made, changed, launched or tested.
    pub under_test: bool,
    /// Tasks that hold a slot.
    pub claims: usize,
    /// Whether there is a VM, and whether it is powered on.
    pub vm: Option<bool>,
}

/// The phase of these facts: the first rule that fits.
pub fn phase(facts: PhaseFacts<'_>) -> Option<&str> {
    if facts.unknown || facts.deleting {
        return facts.before;
    }
    if facts.under_test {
        return Some(Phase::Testing.as_str());
    }
    if facts.claims > 0 {
        return Some(Phase::Working.as_str());
    }
    match facts.vm {
        Some(true) => Some(Phase::Idle.as_str()),
        Some(false) => Some(Phase::ShutDown.as_str()),
        None => Some(Phase::Configured.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: PhaseFacts<'static> =
        PhaseFacts { before: None, unknown: false, deleting: false, under_test: false, claims: 0, vm: None };

    #[test]
    fn the_first_rule_that_fits_wins() {
        assert_eq!(phase(FACTS), Some("Configured"));
        assert_eq!(phase(PhaseFacts { vm: Some(false), ..FACTS }), Some("ShutDown"));
        assert_eq!(phase(PhaseFacts { vm: Some(true), ..FACTS }), Some("Idle"));
        assert_eq!(phase(PhaseFacts { vm: Some(true), claims: 1, ..FACTS }), Some("Working"));
        assert_eq!(phase(PhaseFacts { vm: Some(true), claims: 1, under_test: true, ..FACTS }), Some("Testing"));
    }

    #[test]
    fn what_is_not_known_keeps_the_phase() {
        assert_eq!(phase(PhaseFacts { unknown: true, before: Some("Working"), ..FACTS }), Some("Working"));
        assert_eq!(phase(PhaseFacts { unknown: true, ..FACTS }), None);
        assert_eq!(phase(PhaseFacts { deleting: true, before: Some("ShutDown"), ..FACTS }), Some("ShutDown"));
    }
}

//! The phase: one word for a person about where a worker is in its life.

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

/// Declared, no VM yet.
pub const CONFIGURED: &str = "Configured";
/// Its configuration is being applied, updated or tested.
pub const TESTING: &str = "Testing";
/// At least one task runs on it.
pub const WORKING: &str = "Working";
/// Powered on, no task.
pub const IDLE: &str = "Idle";
/// The VM exists and is powered off.
pub const SHUT_DOWN: &str = "ShutDown";

/// The phase of these facts: the first rule that fits.
pub fn phase(facts: PhaseFacts<'_>) -> Option<&str> {
    if facts.unknown || facts.deleting {
        return facts.before;
    }
    if facts.under_test {
        return Some(TESTING);
    }
    if facts.claims > 0 {
        return Some(WORKING);
    }
    match facts.vm {
        Some(true) => Some(IDLE),
        Some(false) => Some(SHUT_DOWN),
        None => Some(CONFIGURED),
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

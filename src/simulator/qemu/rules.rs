//! What a scenario says of guests that QEMU cannot do to real ones: refused by name, never passed over.

use super::error::QemuError;
use crate::simulator::scenario::{AgentPresence, GuestRule, Scenario};

/// Make it so in the image, or from inside by the agent.
const FROM_INSIDE: &str = "remove it, and make it so in the image or from inside the guest";

/// Fails at the first rule that cannot be kept.
pub(super) fn check(scenario: &Scenario) -> Result<(), QemuError> {
    if !scenario.units.is_empty() {
        return Err(QemuError::Rule { rule: "units".to_owned(), instead: FROM_INSIDE });
    }
    scenario.guests.iter().try_for_each(check_rule)
}

fn check_rule(rule: &GuestRule) -> Result<(), QemuError> {
    let behaviour = &rule.behaviour;
    let more = behaviour.more.keys().find(|key| *key != "filtered").map(String::as_str);
    let broken = [
        (behaviour.agent == AgentPresence::Slow, "agent: slow"),
        (behaviour.boot.is_some(), "boot"),
        (behaviour.shutdown.is_some(), "shutdown"),
        (behaviour.ignores_shutdown, "ignoresShutdown"),
        (behaviour.free_bytes.is_some(), "freeBytes"),
        (!behaviour.units.is_empty(), "units"),
        (!behaviour.refuse.is_empty(), "refuse"),
    ];
    let name = broken.into_iter().find(|(is_set, _)| *is_set).map(|(_, name)| name).or(more);
    match name {
        None => Ok(()),
        Some(name) => Err(QemuError::Rule { rule: format!("guests, '{}', {name}", rule.name), instead: FROM_INSIDE }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rule: &str) -> Option<String> {
        let guests = vec![serde_yaml::from_str(&format!("{{name: 'w*', {rule}}}")).unwrap()];
        check(&Scenario { guests, ..Scenario::default() }).err().map(|error| error.to_string())
    }

    #[test]
    fn rules_for_the_inside_are_refused_by_name() {
        for rule in ["units: {a.service: failed}", "freeBytes: 1", "agent: slow", "missingUnits: [x]", "boot: 3"] {
            let name = rule.split(':').next().unwrap();
            let error = refused(rule).unwrap_or_default();
            assert!(error.contains("'w*'") && error.contains(name), "{rule}: {error}");
        }
        assert!(check(&Scenario::default_demo()).unwrap_err().to_string().contains("units"));
    }

    #[test]
    fn rules_for_the_outside_are_kept() {
        let rule = "noDhcp: true, dnsDead: true, clockOffset: 60, hangs: true, agent: absent, filtered: ['a:1']";
        assert_eq!(refused(rule), None);
    }
}

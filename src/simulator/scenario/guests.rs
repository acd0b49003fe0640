//! How guests behave, by the name of their virtual machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Seconds;
use crate::simulator::guest_exec::UnitState;

/// Behaviour of the guests whose name fits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestRule {
    /// Name of the virtual machine; `*` stands for any characters.
    pub name: String,
    /// What those guests do.
    #[serde(flatten)]
    pub behaviour: GuestBehaviour,
}

impl GuestRule {
    /// Whether the rule speaks of the machine named `name`.
    pub fn fits(&self, name: &str) -> bool {
        glob(&self.name, name)
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| glob(rest, &tail[at..]))
        }),
    }
}

/// Whether the guest agent answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentPresence {
    /// It answers when the guest has booted.
    #[default]
    Present,
    /// There is none.
    Absent,
    /// It answers after five times the boot time.
    Slow,
}

/// What a guest does; the default is a guest without faults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "independent faults, written one by one in scenario files")]
pub struct GuestBehaviour {
    /// Guest agent.
    pub agent: AgentPresence,
    /// Boot time in place of the world's.
    pub boot: Option<Seconds>,
    /// Shutdown time in place of the world's.
    pub shutdown: Option<Seconds>,
    /// The guest never boots: no agent, no reaction to the power button.
    pub hangs: bool,
    /// The power button and the agent's shutdown have no effect.
    pub ignores_shutdown: bool,
    /// No DHCP server answers this guest.
    pub no_dhcp: bool,
    /// No name resolves.
    pub dns_dead: bool,
    /// How far the guest's clock is off, in seconds; positive is ahead.
    pub clock_offset: i64,
    /// Free bytes on the root file system; half of it when absent.
    pub free_bytes: Option<u64>,
    /// State of systemd units; goes before what the world says of a unit for all guests.
    pub units: BTreeMap<String, UnitState>,
    /// Targets (`host:port` or `host`) that refuse connections although the network offers them.
    pub refuse: Vec<String>,
    /// Anything else, for the program that plays the guest's inside.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        assert!(glob("*", ""));
        assert!(glob("worker-*", "worker-7"));
        assert!(glob("*-b*d", "web-bad"));
        assert!(!glob("worker-*", "work"));
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let rule: GuestRule = serde_yaml::from_str("{name: 'a*', noDhcp: true, apt: {updates: 3}}").unwrap();
        assert!(rule.behaviour.no_dhcp);
        assert_eq!(rule.behaviour.more["apt"]["updates"], 3);
    }
}

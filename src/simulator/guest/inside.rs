//! What the facts of a simulated guest mean for a program inside it: one answer for both kinds of guest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use uuid::Uuid;

use super::updates::Updates;
use crate::guest::reach::Reached;
use crate::guest::units::UnitProperties;
use crate::simulator::guest_exec::{GuestFacts, UnitState};

/// The release of every simulated guest's kernel.
pub(super) const KERNEL: &str = "6.1.0-simulated";
/// `ID`, `VERSION_ID` and `PRETTY_NAME` of every simulated guest's operating system.
pub(super) const OS: [&str; 3] = ["debian", "12", "Debian GNU/Linux 12 (simulated)"];

/// Facts, seen from the inside.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a>(pub(super) &'a GuestFacts);

impl<'a> Inside<'a> {
    /// Whether the image lacks a program.
    pub(super) fn lacks(self, program: &str) -> bool {
        self.list("missingPrograms").contains(&program)
    }

    /// The programs that the image lacks.
    pub(super) fn missing_programs(self) -> BTreeSet<String> {
        let others = Updates::of(self).manager.lacks();
        self.list("missingPrograms").into_iter().chain(others.iter().copied()).map(str::to_owned).collect()
    }

    /// The word of `cloud-init status`.
    pub(super) fn cloud_init(self) -> &'static str {
        match self.0.behaviours.get("cloudInit").and_then(serde_json::Value::as_str) {
            Some("running") => "running",
            Some("error") => "error",
            Some("disabled") => "disabled",
            Some("not run" | "not-run") => "not run",
            _ => "done",
        }
    }

    /// An id that changes with each boot.
    pub(super) fn boot_id(self) -> String {
        self.boot_id_of(self.0.boots)
    }

    /// The id that it had in one of its boots.
    pub(super) fn boot_id_of(self, boots: u64) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{} {boots}", self.0.life).as_bytes()).to_string()
    }

    /// The users that there are.
    pub(super) fn users(self) -> Vec<&'a str> {
        let own = self.0.cloud_init.get("ciuser").map(String::as_str);
        ["root", "nobody"].into_iter().chain(own).collect()
    }

    /// The names that resolve, short ones in the search domains too.
    pub(super) fn names(self) -> BTreeMap<String, Vec<IpAddr>> {
        let mut names = BTreeMap::from([("localhost".to_owned(), vec![IpAddr::from([127, 0, 0, 1])])]);
        if self.is_offline() {
            return names;
        }
        for (name, addresses) in &self.0.hosts {
            names.insert(name.clone(), addresses.clone());
            for domain in &self.0.search_domains {
                if let Some(short) = name.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.')) {
                    names.entry(short.to_owned()).or_insert_with(|| addresses.clone());
                }
            }
        }
        names
    }

    /// How a connection to a target ends.
    pub(super) fn connect(self, host: &str, port: u16) -> Reached {
        if host.parse::<IpAddr>().is_err() && !self.names().contains_key(host) {
            return Reached::Unresolved;
        }
        if self.filtered().iter().any(|target| *target == host || *target == format!("{host}:{port}")) {
            return Reached::TimedOut;
        }
        if self.is_offline() && !is_loopback(host) {
            return Reached::Unreachable;
        }
        if self.open().contains(&(host.to_owned(), port)) { Reached::Ok } else { Reached::Refused }
    }

    /// The targets that accept, under each of their names and addresses.
    pub(super) fn open(self) -> BTreeSet<(String, u16)> {
        let names = self.names();
        let mut open = BTreeSet::new();
        for target in &self.0.reachable {
            let addresses: Vec<IpAddr> = match target.host.parse() {
                Ok(address) => vec![address],
                Err(_) => names.get(&target.host).cloned().unwrap_or_default(),
            };
            open.insert((target.host.clone(), target.port));
            open.extend(addresses.iter().map(|address| (address.to_string(), target.port)));
            let same = names.iter().filter(|(_, others)| others.iter().any(|other| addresses.contains(other)));
            open.extend(same.map(|(name, _)| (name.clone(), target.port)));
        }
        open
    }

    /// The targets, `host:port` or `host`, that give no answer.
    pub(super) fn filtered(self) -> Vec<&'a str> {
        self.list("filtered")
    }

    /// Whether nothing outside of the guest can be reached: no card has an address.
    pub(super) fn is_offline(self) -> bool {
        self.0.interfaces.iter().all(|card| card.addresses.is_empty())
    }

    /// What systemd says of the units that the facts name.
    pub(super) fn units(self) -> BTreeMap<String, UnitProperties> {
        let known = self.0.units.iter().map(|(name, state)| (name.clone(), properties(Some(*state))));
        let missing = self.list("missingUnits").into_iter().map(|name| (name.to_owned(), properties(None)));
        known.chain(missing).collect()
    }

    /// What systemd says of a unit that was not started by us. One that the facts do not name does not exist.
    pub(super) fn unit(self, name: &str) -> UnitProperties {
        self.units().remove(name).unwrap_or_else(|| properties(None))
    }

    fn list(self, name: &str) -> Vec<&'a str> {
        let list = self.0.behaviours.get(name).and_then(serde_json::Value::as_array);
        list.map(|values| values.iter().filter_map(serde_json::Value::as_str).collect()).unwrap_or_default()
    }
}

/// Whether a host is the guest itself.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What systemd says of a unit in this state; none for one that does not exist.
pub(super) fn properties(state: Option<UnitState>) -> UnitProperties {
    let [load, active, sub, result, main_status] = match state {
        None => ["not-found", "inactive", "dead", "success", "0"],
        Some(UnitState::Active) => ["loaded", "active", "running", "success", "0"],
        Some(UnitState::Inactive) => ["loaded", "inactive", "dead", "success", "0"],
        Some(UnitState::Failed) => ["loaded", "failed", "failed", "exit-code", "1"],
    }
    .map(str::to_owned);
    UnitProperties { load, active, sub, result, main_status }
}

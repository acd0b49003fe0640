//! In what a VM differs from what is wanted. Pure: no request is made.
//!
//! Values are compared by meaning, because Proxmox VE writes them its own way: property strings reordered, tags sorted
//! and in lower case, descriptions trimmed, numbers as texts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::detail::{CARDS, boot_disk};
use super::inventory::tags;
use super::lenient::truth;
use super::networks::{addresses, card, is_card, read_addresses};
use super::params::{percent_decoded, percent_encoded};
use super::property::Properties;
use crate::domain::identity::{Mark, TAG, text_of};
use crate::hypervisor::vm::{Difference, Takes, VmDetail, VmWanted};

/// The field name of a missing cloud-init drive.
pub(super) const CLOUD_INIT_DRIVE: &str = "cloud-init drive";
/// Where the cloud-init drive may go, in order of preference.
const CLOUD_INIT_BUSES: [&str; 4] = ["ide2", "ide0", "ide1", "ide3"];

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The option of the configuration.
    pub(super) key: String,
    /// What it is called in the declaration.
    pub(super) field: String,
    /// The value to send; `None` to remove the option.
    pub(super) value: Option<String>,
    pub(super) takes: Takes,
    /// What it is now, for people.
    from: String,
    /// What it becomes, for people.
    to: String,
}

impl From<Change> for Difference {
    fn from(change: Change) -> Self {
        Self { field: change.field, from: change.from, to: change.to, takes: change.takes }
    }
}

/// All that differs.
pub(super) fn changes(wanted: &VmWanted, seen: &VmDetail) -> Vec<Change> {
    let mut review = Review { wanted, config: &seen.config, changes: Vec::new() };
    review.identity();
    review.resources();
    review.behaviour();
    review.cloud_init();
    review.networks();
    review.disk(seen);
    review.changes
}

struct Review<'a> {
    wanted: &'a VmWanted,
    config: &'a BTreeMap<String, String>,
    changes: Vec<Change>,
}

impl Review<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }

    fn change(&mut self, key: &str, field: &str, value: Option<String>) {
        let from = self.get(key).unwrap_or_default().to_owned();
        let to = value.clone().unwrap_or_default();
        self.changes.push(Change {
            key: key.to_owned(),
            field: field.to_owned(),
            value,
            takes: Takes::Configure,
            from,
            to,
        });
    }

    /// Wants `key` to be `value` unless it `fits`; an empty value means that it must not be set.
    fn want(&mut self, key: &str, field: &str, value: String, fits: bool) {
        if !fits {
            self.change(key, field, (!value.is_empty()).then_some(value));
        }
    }

    fn identity(&mut self) {
        let wanted = self.wanted;
        self.want("name", "vmName", wanted.name.clone(), self.get("name") == Some(&wanted.name));

        let description = wanted.mark.describe(&wanted.description);
        let seen = self.get("description").unwrap_or_default();
        let fits =
            Mark::parse(seen).as_ref() == Some(&wanted.mark) && same_lines(&text_of(seen), &text_of(&description));
        self.want("description", "description", description, fits);

        let mut all = tags(self.get("tags").unwrap_or_default());
        let tagged = !all.insert(TAG.to_owned());
        self.want("tags", "tags", all.into_iter().collect::<Vec<_>>().join(";"), tagged);

        let uuid = wanted.mark.uuid().to_string();
        let mut smbios = Properties::parse(self.get("smbios1").unwrap_or_default(), "uuid");
        let same = smbios.get("uuid").is_some_and(|seen| seen.eq_ignore_ascii_case(&uuid));
        smbios.set("uuid", &uuid);
        self.want("smbios1", "smbios1", smbios.to_string(), same);
    }

    fn resources(&mut self) {
        let memory = self.wanted.memory_mib;
        let seen = self.get("memory").map(|text| Properties::parse(text, "current"));
        let fits = seen.and_then(|seen| seen.get("current")?.parse::<u64>().ok()) == Some(memory);
        self.want("memory", "resources.memory", memory.to_string(), fits);
        // More than the memory is refused (recorded 208).
        let balloon = self.get("balloon").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        self.want("balloon", "balloon", memory.to_string(), balloon <= memory);

        let cpus = self.wanted.cpus.to_string();
        self.want("cores", "resources.cpus", cpus.clone(), self.get("cores").unwrap_or("1") == cpus);
        self.want("sockets", "resources.cpus", "1".to_owned(), self.get("sockets").unwrap_or("1") == "1");
        // Fewer than there are: the rest would be waiting to be plugged in.
        self.want("vcpus", "resources.cpus", String::new(), self.get("vcpus").is_none());
    }

    fn behaviour(&mut self) {
        let mut agent = Properties::parse(self.get("agent").unwrap_or_default(), "enabled");
        let enabled = agent.get("enabled").and_then(truth) == Some(true);
        agent.set("enabled", "1");
        self.want("agent", "agent", agent.to_string(), enabled);
        // Who may run is decided here, not by a host that comes up.
        let onboot = self.get("onboot").and_then(truth) == Some(true);
        self.want("onboot", "onboot", "0".to_owned(), !onboot);
    }

    fn cloud_init(&mut self) {
        let wanted = self.wanted;
        if !self.config.iter().any(|(key, value)| is_cloud_init_drive(key, value)) {
            let key = self.cloud_init_place();
            self.change(&key, CLOUD_INIT_DRIVE, Some(format!("{}:cloudinit", wanted.storage)));
        }
        // Set is the default, and makes every first boot upgrade all packages, for minutes.
        let upgrades = self.get("ciupgrade").and_then(truth).unwrap_or(true);
        self.want("ciupgrade", "ciupgrade", "0".to_owned(), !upgrades);
        let user = wanted.user.clone();
        self.want("ciuser", "access.user", user, self.get("ciuser").unwrap_or_default() == wanted.user);
        self.keys();

        let servers: Vec<IpAddr> = words(self.get("nameserver")).iter().filter_map(|word| word.parse().ok()).collect();
        let to = wanted.dns_servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.want("nameserver", "dns.servers", to, servers == wanted.dns_servers);
        let domains = words(self.get("searchdomain"));
        let to = wanted.search_domains.join(" ");
        self.want("searchdomain", "dns.searchDomains", to, domains == wanted.search_domains);
    }

    /// Where a cloud-init drive goes: beside CD drives, as Proxmox VE does it, but for VMs with OVMF. That leaves the IDE
    /// controller of the default machine type switched off, and Linux sees no drive on it; so there it goes to where the
    /// disk is, or to SATA.
    fn cloud_init_place(&self) -> String {
        let free = |key: &String| {
            self.get(key).is_none_or(|value| Properties::parse(value, "file").get("file") == Some("none"))
        };
        let ide = CLOUD_INIT_BUSES.map(str::to_owned).to_vec();
        let places: Vec<String> = match boot_disk(self.config) {
            _ if self.get("bios") != Some("ovmf") => ide,
            Some((disk, _)) if disk.starts_with("scsi") => (1..31).map(|n| format!("scsi{n}")).collect(),
            _ => (0..6).map(|n| format!("sata{n}")).collect(),
        };
        places.iter().find(|key| free(key)).unwrap_or(&places[0]).clone()
    }

    /// The keys lie percent-encoded in the configuration, and are shown decoded.
    fn keys(&mut self) {
        let decoded = percent_decoded(self.get("sshkeys").unwrap_or_default());
        let lines = |text: &str| -> Vec<String> {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
        };
        let keys = lines(&self.wanted.authorized_keys.join("\n"));
        if lines(&decoded) == keys {
            return;
        }
        let text = keys.join("\n");
        self.change("sshkeys", "access.authorizedKeys", (!keys.is_empty()).then(|| percent_encoded(&text)));
        if let Some(change) = self.changes.last_mut() {
            (change.from, change.to) = (decoded.trim().to_owned(), text);
        }
    }

    fn networks(&mut self) {
        for (n, network) in self.wanted.networks.iter().enumerate() {
            let (net, ipconfig, field) = (format!("net{n}"), format!("ipconfig{n}"), format!("networks[{n}]"));
            let card = card(network, self.get(&net));
            let fits = self.get(&net).is_some_and(|seen| is_card(seen, &card));
            self.want(&net, &field, card.to_string(), fits);
            let addresses = addresses(network);
            let fits = read_addresses(self.get(&ipconfig).unwrap_or_default()).same_as(&addresses);
            self.want(&ipconfig, &field, addresses.to_string(), fits);
        }
        for n in self.wanted.networks.len()..CARDS {
            for key in [format!("net{n}"), format!("ipconfig{n}")] {
                self.want(&key, &format!("networks[{n}]"), String::new(), self.get(&key).is_none());
            }
        }
    }

    fn disk(&mut self, seen: &VmDetail) {
        let Some((key, disk)) = boot_disk(self.config) else { return };
        let storage = disk.get("file").and_then(|file| file.split_once(':')).map_or("", |(storage, _)| storage);
        let wanted = self.wanted;
        let mut push = |field: &str, from: String, to: String, takes| {
            let (key, field) = (key.clone(), field.to_owned());
            self.changes.push(Change { key, field, value: None, takes, from, to });
        };
        if storage != wanted.storage {
            push("proxmox.storage", storage.to_owned(), wanted.storage.clone(), Takes::Redeploy);
        }
        let least = wanted.disk_gib.saturating_mul(1 << 30);
        if seen.disk_bytes.is_some_and(|bytes| bytes < least) {
            let from = disk.get("size").unwrap_or_default().to_owned();
            push("resources.disk", from, format!("{}G", wanted.disk_gib), Takes::Grow);
        }
    }
}

/// Such as `ide2: fast:vm-200-cloudinit,media=cdrom`.
fn is_cloud_init_drive(key: &str, value: &str) -> bool {
    let bus = key.trim_end_matches(|c: char| c.is_ascii_digit());
    bus != key && ["ide", "scsi", "sata"].contains(&bus) && {
        let drive = Properties::parse(value, "file");
        drive.get("file").and_then(|file| file.split_once(':')).is_some_and(|(_, volume)| volume.contains("cloudinit"))
    }
}

fn words(text: Option<&str>) -> Vec<String> {
    let separators = |c: char| c.is_whitespace() || c == ',' || c == ';';
    text.unwrap_or_default().split(separators).filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
}

/// Whether two texts are the same apart from blanks at the ends of lines.
fn same_lines(one: &str, other: &str) -> bool {
    one.trim_end().lines().map(str::trim_end).eq(other.trim_end().lines().map(str::trim_end))
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;

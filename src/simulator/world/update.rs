//! Changing a configuration: who may change what, what takes effect at once, what waits.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::access::Caller;
use super::config::{Config, Drive, Pending, is_drive, is_numbered};
use super::drives::{Wish, drive_options};
use super::guests::is_cloud_init;
use super::prop::{Net, Props};
use super::refusal::{Refusal, locked};

/// A change of one configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) delete: Vec<String>,
    pub(crate) revert: Vec<String>,
    pub(crate) digest: Option<String>,
    /// Free the data of a deleted drive at once.
    pub(crate) force: bool,
}

impl Change {
    pub(crate) fn drives(&self) -> Vec<(String, Drive)> {
        drive_options(&self.set)
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty() && self.revert.is_empty()
    }
}

/// A value as it is stored: tags sorted, descriptions without trailing blanks, networks with their model first.
pub(crate) fn tidy(key: &str, value: &str) -> String {
    match key {
        "tags" => tidy_tags(value),
        "description" => value.trim_end().to_owned(),
        _ if is_numbered(key, "net") => Net::parse(value).print(),
        _ => value.to_owned(),
    }
}

fn tidy_tags(value: &str) -> String {
    let tags: BTreeSet<String> =
        value.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_lowercase).collect();
    if tags.is_empty() { " ".to_owned() } else { tags.into_iter().collect::<Vec<_>>().join(";") }
}

/// Privileges of which one is needed to change an option.
fn needed(key: &str, value: Option<&str>) -> &'static [&'static str] {
    match key {
        "cores" | "cpu" | "sockets" | "vcpus" | "cpulimit" | "cpuunits" | "numa" => &["VM.Config.CPU"],
        "memory" | "balloon" | "shares" => &["VM.Config.Memory"],
        "boot" | "bootdisk" | "vmstatestorage" => &["VM.Config.Disk"],
        "cdrom" => &["VM.Config.CDROM"],
        "scsihw" | "machine" | "vga" | "smbios1" | "rng0" | "watchdog" | "audio0" | "vmgenid" | "kvm" => {
            &["VM.Config.HWType"]
        }
        _ if is_numbered(key, "net") => &["VM.Config.Network"],
        _ if is_cloud_init(key) => &["VM.Config.Cloudinit", "VM.Config.Network"],
        _ if is_numbered(key, "serial") => &["VM.Config.HWType"],
        _ if is_drive(key) || is_numbered(key, "unused") => {
            if value.is_some_and(|value| Drive::parse(value).is_cdrom()) {
                &["VM.Config.CDROM"]
            } else {
                &["VM.Config.Disk"]
            }
        }
        _ => &["VM.Config.Options"],
    }
}

impl World {
    /// Whether the caller may use these options on a machine; drives and bridges included.
    pub(crate) fn check_options(
        &self,
        caller: &Caller,
        node: &str,
        vmid: u32,
        set: &BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), Refusal> {
        for (key, drive) in drive_options(set) {
            self.check_drive(caller, node, &key, &drive)?;
        }
        let path = format!("/vms/{vmid}");
        let deleted = delete.iter().map(|key| (key, None));
        for (key, value) in set.iter().map(|(key, value)| (key, Some(value.as_str()))).chain(deleted) {
            if matches!(key.as_str(), "args" | "lock" | "hookscript" | "affinity" | "arch") && !caller.is_root() {
                return Err(Refusal::error(format!("only root can set '{key}' config")));
            }
            self.access.need_any(caller, &path, needed(key, value))?;
            if key == "startup" {
                // The order at boot concerns all machines of the node (recorded on 9.2).
                self.access.need_any(caller, "/", &["Sys.Modify"])?;
            }
            if let Some(value) = value.filter(|_| is_numbered(key, "net")) {
                self.check_bridge(caller, value)?;
            }
        }
        Ok(())
    }

    fn check_bridge(&self, caller: &Caller, value: &str) -> Result<(), Refusal> {
        let net = Net::parse(value);
        let Some(bridge) = net.bridge() else { return Ok(()) };
        let tag = net.rest.get("tag").map_or_else(String::new, |tag| format!("/{tag}"));
        self.access.need_any(caller, &format!("/sdn/zones/localnetwork/{bridge}{tag}"), &["SDN.Use"])
    }

    /// Tags that an administrator reserved need a right of their own.
    pub(crate) fn check_tags(&self, caller: &Caller, old: &str, new: &str) -> Result<(), Refusal> {
        let split = |text: &str| -> BTreeSet<String> { tidy_tags(text).split(';').map(str::to_owned).collect() };
        let (old, new) = (split(old), split(new));
        let changed = old.symmetric_difference(&new);
        let reserved = changed.into_iter().find(|tag| self.scenario.registered_tags.contains(tag));
        match reserved {
            Some(tag) if !self.access.may(caller, "/", "Sys.Modify") => {
                Err(Refusal::denied(&format!("/, Sys.Modify for modifying tag '{tag}'")))
            }
            _ => Ok(()),
        }
    }

    /// The checks of a change that come before any lock.
    pub(crate) fn check_change(&self, caller: &Caller, node: &str, vmid: u32, change: &Change) -> Result<(), Refusal> {
        if change.is_empty() {
            return Err(Refusal::error("no options specified"));
        }
        for key in &change.delete {
            if change.set.contains_key(key) {
                let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
                return Err(Refusal::param("delete", text));
            }
        }
        self.check_options(caller, node, vmid, &change.set, &change.delete)?;
        let vm = self.vm_on(node, vmid)?;
        if let Some(tags) = change.set.get("tags") {
            self.check_tags(caller, vm.config.get("tags").unwrap_or(""), tags)?;
        }
        if self.is_v9() {
            self.check_unlocked(node, vmid)?;
        }
        Ok(())
    }

    pub(crate) fn check_unlocked(&self, node: &str, vmid: u32) -> Result<(), Refusal> {
        match self.vm_on(node, vmid)?.config.lock() {
            Some(lock) => Err(Refusal::error(locked(lock))),
            None => Ok(()),
        }
    }

    fn check_values(config: &Config, change: &Change) -> Result<(), Refusal> {
        let future = |key: &str| change.set.get(key).map(String::as_str).or(config.get(key)).map(str::to_owned);
        let number = |key: &str| future(key).and_then(|text| text.parse::<u64>().ok());
        let balloon = number("balloon").filter(|_| change.set.contains_key("balloon"));
        if balloon.is_some_and(|balloon| balloon > number("memory").unwrap_or(512)) {
            return Err(Refusal::error("balloon value too large (must be smaller than assigned memory)"));
        }
        let Some(boot) = change.set.get("boot") else { return Ok(()) };
        let order = Props::parse(boot).get("order").unwrap_or("").to_owned();
        match order.split(';').find(|key| !key.is_empty() && future(key).is_none()) {
            Some(key) => Err(Refusal::error(format!("invalid bootorder: device '{key}' does not exist'"))),
            None => Ok(()),
        }
    }

    /// Makes a change; the caller holds the file lock. Gives back lines for a log.
    pub(crate) fn make_change(&mut self, node: &str, vmid: u32, change: &Change) -> Result<Vec<String>, Refusal> {
        let config = &self.vm_on(node, vmid)?.config;
        if change.digest.as_ref().is_some_and(|digest| *digest != config.digest()) {
            return Err(Refusal::error("checksum mismatch (file change by other user?)"));
        }
        self.check_unlocked(node, vmid)?;
        Self::check_values(config, change)?;
        self.writable(node, vmid).map_err(Refusal::error)?;
        for key in &change.revert {
            if let Some(vm) = self.vm_mut(vmid) {
                vm.config.pending.remove(key);
            }
        }
        for key in &change.delete {
            self.delete_option(node, vmid, key, change.force);
        }
        let mut lines = Vec::new();
        for (key, value) in &change.set {
            lines.extend(self.set_option(node, vmid, key, value).map_err(Refusal::error)?);
        }
        self.note(vmid);
        Ok(lines)
    }

    fn delete_option(&mut self, node: &str, vmid: u32, key: &str, force: bool) {
        let Some(vm) = self.vm_mut(vmid) else { return };
        vm.config.pending.remove(key);
        if vm.run.as_ref().is_some_and(|run| !is_live(key) || (run.real && is_plugged(key))) {
            if vm.config.get(key).is_some() {
                vm.config.pending.insert(key.to_owned(), Pending::Delete { force });
            }
            return;
        }
        let Some(value) = vm.config.values.remove(key) else { return };
        let drive = Drive::parse(&value);
        if is_numbered(key, "unused") || (is_drive(key) && (force || drive.is_cloudinit())) {
            self.free_volume(node, vmid, &drive.file);
        } else if is_drive(key) && !drive.is_cdrom() {
            let key = vm.config.free_unused();
            vm.config.set(&key, drive.file);
        }
    }

    fn set_option(&mut self, node: &str, vmid: u32, key: &str, value: &str) -> Result<Vec<String>, String> {
        let (mut value, mut lines) = (tidy(key, value), Vec::new());
        if is_numbered(key, "net") {
            value = self.with_mac(Net::parse(&value)).print();
        }
        if is_drive(key) {
            let drive = Drive::parse(&value);
            if Wish::of(&drive) != Wish::Existing {
                self.detach_old(node, vmid, key);
            }
            (value, lines) = self.carry_out(node, vmid, key, &drive)?;
        }
        let Some(vm) = self.vm_mut(vmid) else { return Ok(lines) };
        let current = vm.config.get(key).map(str::to_owned);
        vm.config.pending.remove(key);
        if key == "description" && value.is_empty() {
            vm.config.values.remove(key);
        } else if current.as_deref() != Some(&value)
            && vm
                .run
                .as_ref()
                .is_some_and(|run| !is_live_change(key, current.as_deref(), &value) || (run.real && is_plugged(key)))
        {
            vm.config.pending.insert(key.to_owned(), Pending::Set(value));
        } else {
            vm.config.set(key, value);
        }
        Ok(lines)
    }

    fn detach_old(&mut self, node: &str, vmid: u32, key: &str) {
        let occupied = self.vms.get(&vmid).is_some_and(|vm| vm.run.is_none() && vm.config.get(key).is_some());
        if occupied {
            self.delete_option(node, vmid, key, false);
        }
    }
}

/// Options that take effect on a running machine: those that QEMU knows nothing of, and what can be hot-plugged.
fn is_live(key: &str) -> bool {
    matches!(
        key,
        "name"
            | "description"
            | "tags"
            | "onboot"
            | "startup"
            | "protection"
            | "hookscript"
            | "shares"
            | "vmstatestorage"
    ) || is_cloud_init(key)
        || ["net", "scsi", "virtio", "unused"].iter().any(|bus| is_numbered(key, bus))
}

/// What is plugged into a running machine. The simulator does not plug into real ones: there it waits, as everything
/// does on a machine with `hotplug: 0`.
fn is_plugged(key: &str) -> bool {
    ["net", "scsi", "virtio"].iter().any(|bus| is_numbered(key, bus))
}

/// A network card's model and address cannot be changed under a running guest.
fn is_live_change(key: &str, current: Option<&str>, value: &str) -> bool {
    if !is_numbered(key, "net") {
        return is_live(key);
    }
    let Some(current) = current.map(Net::parse) else { return true };
    let value = Net::parse(value);
    (current.model, current.mac) == (value.model, value.mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_lowered_sorted_and_told_once() {
        assert_eq!(tidy("tags", "Beta;alpha, alpha"), "alpha;beta");
        assert_eq!(tidy("tags", ""), " ");
    }

    #[test]
    fn a_bridge_changes_live_and_a_model_does_not() {
        let old = Some("virtio=BC:24:11:00:00:01,bridge=vmbr0");
        assert!(is_live_change("net0", old, "virtio=BC:24:11:00:00:01,bridge=vmbr1"));
        assert!(!is_live_change("net0", old, "e1000=BC:24:11:00:00:01,bridge=vmbr0"));
        assert!(!is_live_change("cores", Some("1"), "2"));
    }
}

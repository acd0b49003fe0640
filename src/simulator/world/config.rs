//! A virtual machine's configuration: what is written, what waits, and the digest over both.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::prop::{Net, Props, parse_size};

/// A change that waits for the next cold start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Set(String),
    Delete { force: bool },
}

/// The configuration file of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) pending: BTreeMap<String, Pending>,
}

impl Config {
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { values, pending: BTreeMap::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(key.to_owned(), value.into());
    }

    pub(crate) fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0")
    }

    pub(crate) fn is_template(&self) -> bool {
        self.flag("template")
    }

    /// 40 hexadecimal digits over the whole file, so that any change by anyone changes them.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (key, value) in &self.values {
            hash.update(format!("{key}: {value}\n"));
        }
        hash.update("[PENDING]\n");
        for (key, value) in &self.pending {
            hash.update(format!("{key}: {value:?}\n"));
        }
        hash.finalize().iter().take(20).fold(String::with_capacity(40), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The configuration as it will be: waiting changes done.
    pub(crate) fn future(&self) -> BTreeMap<String, String> {
        let mut values = self.values.clone();
        for (key, change) in &self.pending {
            match change {
                Pending::Set(value) => values.insert(key.clone(), value.clone()),
                Pending::Delete { .. } => values.remove(key),
            };
        }
        values
    }

    /// Does the waiting changes, as a cold start or a stop does. Gives back the disks that were detached.
    pub(crate) fn apply_pending(&mut self) -> Vec<(String, String)> {
        let mut detached = Vec::new();
        for (key, change) in std::mem::take(&mut self.pending) {
            match change {
                Pending::Set(value) => {
                    self.values.insert(key, value);
                }
                Pending::Delete { .. } => {
                    let value = self.values.remove(&key);
                    detached.extend(value.filter(|_| is_drive(&key)).map(|value| (key.clone(), value)));
                }
            }
        }
        detached
    }

    /// Disks, CD drives and cloud-init drives by option, in the order of their names.
    pub(crate) fn drives(&self) -> impl Iterator<Item = (&str, Drive)> {
        self.values.iter().filter(|(key, _)| is_drive(key)).map(|(key, value)| (key.as_str(), Drive::parse(value)))
    }

    /// Network cards by option.
    pub(crate) fn nets(&self) -> impl Iterator<Item = (&str, Net)> {
        self.values
            .iter()
            .filter(|(key, _)| is_numbered(key, "net"))
            .map(|(key, value)| (key.as_str(), Net::parse(value)))
    }

    /// Size of the first disk that the machine boots from, or of any.
    pub(crate) fn boot_disk_bytes(&self) -> u64 {
        let order = self.get("boot").map(|boot| Props::parse(boot).get("order").unwrap_or("").to_owned());
        let order = order.unwrap_or_default();
        let listed = order.split(';').filter_map(|key| self.get(key)).map(Drive::parse);
        let any = self.drives().map(|(_, drive)| drive);
        listed.chain(any).find(|drive| !drive.is_cdrom()).and_then(|drive| drive.size()).unwrap_or(0)
    }

    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        let text = self.get(key).map(|text| Props::parse(text).head_or("current").unwrap_or("").to_owned());
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.number("memory", 512) << 20
    }

    pub(crate) fn vcpus(&self) -> u64 {
        self.number("cores", 1) * self.number("sockets", 1)
    }

    /// Whether the guest agent's channel is configured and switched on.
    pub(crate) fn agent_enabled(&self) -> bool {
        self.get("agent")
            .is_some_and(|text| matches!(Props::parse(text).head_or("enabled"), Some("1" | "on" | "yes" | "true")))
    }

    /// The first free `unusedN`.
    pub(crate) fn free_unused(&self) -> String {
        (0..256).map(|n| format!("unused{n}")).find(|key| !self.values.contains_key(key)).unwrap_or_default()
    }
}

/// A disk, CD or cloud-init option: a volume and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drive {
    pub(crate) file: String,
    pub(crate) options: Props,
}

impl Drive {
    pub(crate) fn parse(text: &str) -> Self {
        let mut options = Props::parse(text);
        let file = options.head_or("file").unwrap_or("").to_owned();
        options.remove("");
        options.remove("file");
        Self { file, options }
    }

    pub(crate) fn is_cdrom(&self) -> bool {
        self.options.get("media") == Some("cdrom")
    }

    pub(crate) fn is_cloudinit(&self) -> bool {
        self.file.split_once(':').is_some_and(|(_, name)| name.contains("-cloudinit") || name == "cloudinit")
    }

    pub(crate) fn size(&self) -> Option<u64> {
        self.options.get("size").and_then(parse_size)
    }

    pub(crate) fn storage(&self) -> Option<&str> {
        self.file.split_once(':').map(|(storage, _)| storage)
    }

    pub(crate) fn print(&self) -> String {
        let mut props = self.options.clone();
        props.0.insert(0, (String::new(), self.file.clone()));
        props.print()
    }
}

/// Whether `key` is `prefix` and a number.
pub(crate) fn is_numbered(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether `key` names a drive that is attached.
pub(crate) fn is_drive(key: &str) -> bool {
    ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"].iter().any(|bus| is_numbered(key, bus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_changes_the_digest() {
        let mut config = Config::of([("cores", "1")]);
        let before = config.digest();
        config.pending.insert("cores".into(), Pending::Set("2".into()));
        assert_eq!(before.len(), 40);
        assert_ne!(config.digest(), before);
        config.apply_pending();
        assert_eq!(config.get("cores"), Some("2"));
    }

    #[test]
    fn the_boot_disk_is_no_cd() {
        let config = Config::of([
            ("boot", "order=ide2;scsi0"),
            ("ide2", "st:vm-1-cloudinit,media=cdrom,size=4M"),
            ("scsi0", "st:vm-1-disk-0,size=4G"),
        ]);
        assert_eq!(config.boot_disk_bytes(), 4 << 30);
    }

    #[test]
    fn the_agent_option_has_two_spellings() {
        for (text, on) in [("1", true), ("enabled=1", true), ("1,fstrim_cloned_disks=1", true), ("0", false)] {
            assert_eq!(Config::of([("agent", text)]).agent_enabled(), on, "{text}");
        }
    }
}

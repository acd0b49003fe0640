//! Storages and the volumes on them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::refusal::Refusal;
use crate::simulator::fetch::Sums;
use crate::simulator::scenario::{StorageKind, StorageSpec};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Name below the storage: `100/vm-100-disk-0.raw`, `vm-100-disk-0`, `import/x.qcow2`.
    pub(crate) name: String,
    /// The machine that owns it.
    pub(crate) vmid: Option<u32>,
    pub(crate) size: u64,
    pub(crate) format: String,
    /// `images`, `iso`, `import`, …
    pub(crate) content: String,
    /// The base volume that a linked clone hangs on.
    pub(crate) parent: Option<String>,
    /// Checksums of what was downloaded.
    pub(crate) sums: Option<Sums>,
    /// Seconds since 1970.
    pub(crate) made: i64,
    /// The file of this machine that holds its content, where machines are real.
    pub(crate) file: Option<PathBuf>,
}

impl Volume {
    /// A volume that is there from the start.
    pub(crate) fn at_start(name: &str, size: u64, made: i64) -> Self {
        let (content, format, vmid) = (content_of(name), format_of(name), owner_of(name));
        Self { name: name.to_owned(), vmid, size, format, content, parent: None, sums: None, made, file: None }
    }
}

/// A storage with its volumes; those of one that is not shared are kept per node.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) spec: StorageSpec,
    volumes: BTreeMap<(String, String), Volume>,
}

impl Storage {
    pub(crate) fn new(spec: StorageSpec) -> Self {
        Self { spec, volumes: BTreeMap::new() }
    }

    /// Puts the volumes of the scenario there, on each of `nodes`.
    pub(crate) fn fill(&mut self, nodes: &[String], now: i64) {
        for (name, size) in self.spec.volumes.clone() {
            for node in nodes {
                self.put(node, Volume::at_start(&name, size, now));
            }
        }
    }

    fn place(&self, node: &str, name: &str) -> (String, String) {
        let node = if self.spec.shared { "" } else { node };
        (node.to_owned(), name.to_owned())
    }

    pub(crate) fn is_on(&self, node: &str) -> bool {
        self.spec.nodes.is_empty() || self.spec.nodes.iter().any(|name| name == node)
    }

    pub(crate) fn holds(&self, content: &str) -> bool {
        self.spec.content.iter().any(|known| known == content)
    }

    pub(crate) fn volumes(&self, node: &str) -> impl Iterator<Item = &Volume> + use<'_> {
        let node = if self.spec.shared { String::new() } else { node.to_owned() };
        let first = (node.clone(), String::new());
        self.volumes.range(first..).take_while(move |((at, _), _)| *at == node).map(|(_, volume)| volume)
    }

    /// Finds a volume by its name. That of a linked clone may have its base's name in front.
    pub(crate) fn volume(&self, node: &str, name: &str) -> Option<&Volume> {
        let mut parts = name.rsplit('/');
        let last = parts.next().unwrap_or(name);
        let own = match parts.next().filter(|_| self.spec.kind.is_files()) {
            Some(folder) => format!("{folder}/{last}"),
            None => last.to_owned(),
        };
        self.volumes.get(&self.place(node, name)).or_else(|| self.volumes.get(&self.place(node, &own)))
    }

    pub(crate) fn volume_mut(&mut self, node: &str, name: &str) -> Option<&mut Volume> {
        let full = self.volume(node, name)?.name.clone();
        let place = self.place(node, &full);
        self.volumes.get_mut(&place)
    }

    pub(crate) fn put(&mut self, node: &str, volume: Volume) {
        let place = self.place(node, &volume.name);
        self.volumes.insert(place, volume);
    }

    pub(crate) fn take(&mut self, node: &str, name: &str) -> Option<Volume> {
        let full = self.volume(node, name)?.name.clone();
        let place = self.place(node, &full);
        self.volumes.remove(&place)
    }

    /// Moves what `vmid` owns from one node to another; only matters for storages that are not shared.
    pub(crate) fn carry(&mut self, vmid: u32, from: &str, to: &str) {
        let names: Vec<_> =
            self.volumes(from).filter(|volume| volume.vmid == Some(vmid)).map(|volume| volume.name.clone()).collect();
        for name in names {
            if let Some(volume) = self.take(from, &name) {
                self.put(to, volume);
            }
        }
    }

    /// Refuses when the storage is off or cannot be reached (recorded 804, 811).
    pub(crate) fn usable(&self) -> Result<(), String> {
        let name = &self.spec.name;
        if !self.spec.enabled {
            return Err(format!("storage '{name}' is disabled"));
        }
        if !self.spec.active {
            let path = self.path();
            return Err(format!(
                "unable to activate storage '{name}' - directory is expected to be a mount point but is not mounted: '{path}'"
            ));
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> String {
        self.spec.path.clone().unwrap_or_else(|| match self.spec.kind {
            StorageKind::Nfs => format!("/mnt/pve/{}", self.spec.name),
            _ => "/var/lib/vz".to_owned(),
        })
    }

    pub(crate) fn total(&self) -> u64 {
        self.spec.size_gib << 30
    }

    /// Bytes in use on `node`: thick volumes count in full, thin ones a third of their size.
    pub(crate) fn used(&self, node: &str) -> u64 {
        let thick = self.spec.kind == StorageKind::Lvm;
        let volumes = self.volumes(node).map(|volume| if thick { volume.size } else { volume.size / 3 });
        (self.spec.used_gib << 30).saturating_add(volumes.sum::<u64>()).min(self.total())
    }

    pub(crate) fn free(&self, node: &str) -> u64 {
        self.total() - self.used(node)
    }

    /// Names the next disk of a machine: the lowest number that is free.
    pub(crate) fn next_name(&self, node: &str, vmid: u32, format: &str) -> String {
        let formats: &[&str] = if self.spec.kind.is_files() { &["raw", "qcow2", "vmdk"] } else { &["raw"] };
        let taken = |number: u32| {
            ["vm", "base"].iter().any(|kind| {
                let stem = format!("{kind}-{vmid}-disk-{number}");
                formats
                    .iter()
                    .any(|format| self.volumes.contains_key(&self.place(node, &self.name_of(vmid, &stem, format))))
            })
        };
        let number = (0..1000).find(|number| !taken(*number)).unwrap_or(1000);
        self.name_of(vmid, &format!("vm-{vmid}-disk-{number}"), format)
    }

    /// The volume name for `stem` of a machine.
    pub(crate) fn name_of(&self, vmid: u32, stem: &str, format: &str) -> String {
        if self.spec.kind.is_files() { format!("{vmid}/{stem}.{format}") } else { stem.to_owned() }
    }

    /// The format that a new disk gets unless the caller names one.
    pub(crate) fn default_format(&self, cloudinit: bool) -> &'static str {
        if cloudinit && self.spec.kind.is_files() { "qcow2" } else { "raw" }
    }

    /// Whether a template's disk can be cloned without copying it.
    pub(crate) fn can_link(&self, name: &str) -> bool {
        let base = last_part(name).starts_with("base-");
        base && (self.spec.kind != StorageKind::Lvm) && (!self.spec.kind.is_files() || format_of(name) == "qcow2")
    }
}

/// Whether a storage exists; the refusal is that of most calls (recorded 131, 166).
pub(crate) fn find<'a>(storages: &'a BTreeMap<String, Storage>, name: &str) -> Result<&'a Storage, Refusal> {
    storages.get(name).ok_or_else(|| Refusal::error(format!("storage '{name}' does not exist")))
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The machine that a volume belongs to, by its name.
pub(crate) fn owner_of(name: &str) -> Option<u32> {
    let stem = last_part(name);
    let rest = stem.strip_prefix("vm-").or_else(|| stem.strip_prefix("base-"))?;
    rest.split('-').next()?.parse().ok()
}

/// What a volume is, by its name.
pub(crate) fn content_of(name: &str) -> String {
    match name.split_once('/') {
        Some((folder @ ("iso" | "import" | "snippets" | "vztmpl" | "backup"), _)) => folder.to_owned(),
        _ => "images".to_owned(),
    }
}

/// The format that a volume's name tells.
pub(crate) fn format_of(name: &str) -> String {
    name.rsplit_once('.').map_or("raw", |(_, ending)| ending).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, vmid: u32) -> Volume {
        Volume {
            name: name.into(),
            vmid: Some(vmid),
            size: 1 << 30,
            format: "raw".into(),
            content: "images".into(),
            parent: None,
            sums: None,
            made: 0,
            file: None,
        }
    }

    #[test]
    fn disk_numbers_are_used_again() {
        let mut storage = Storage::new(StorageSpec { kind: StorageKind::LvmThin, ..StorageSpec::default() });
        assert_eq!(storage.next_name("pve1", 7, "raw"), "vm-7-disk-0");
        storage.put("pve1", disk("vm-7-disk-0", 7));
        storage.put("pve1", disk("vm-7-disk-1", 7));
        assert_eq!(storage.next_name("pve1", 7, "raw"), "vm-7-disk-2");
        storage.take("pve1", "vm-7-disk-0");
        assert_eq!(storage.next_name("pve1", 7, "raw"), "vm-7-disk-0");
        assert_eq!(storage.next_name("pve2", 7, "raw"), "vm-7-disk-0");
    }

    #[test]
    fn file_storages_name_folder_and_format() {
        let storage = Storage::new(StorageSpec::default());
        assert_eq!(storage.next_name("pve1", 100, "qcow2"), "100/vm-100-disk-0.qcow2");
        assert_eq!(owner_of("201/base-201-disk-0.qcow2"), Some(201));
    }

    #[test]
    fn linked_clones_need_a_base_that_can_be_linked() {
        let dir = Storage::new(StorageSpec::default());
        assert!(dir.can_link("201/base-201-disk-0.qcow2"));
        assert!(!dir.can_link("201/base-201-disk-0.raw"));
        let thick = Storage::new(StorageSpec { kind: StorageKind::Lvm, ..StorageSpec::default() });
        assert!(!thick.can_link("base-201-disk-0"));
    }
}

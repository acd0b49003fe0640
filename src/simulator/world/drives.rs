//! What a drive option asks for, and carrying it out.

use std::time::Duration;

use super::World;
use super::access::Caller;
use super::config::{Config, Drive, is_drive};
use super::prop::{parse_gib, print_size};
use super::refusal::Refusal;
use super::storage::{Volume, content_of, find};

/// Bytes of a cloud-init drive.
const CLOUDINIT_BYTES: u64 = 4 << 20;

/// What a drive option asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// No medium.
    Empty,
    /// A new disk of this many bytes.
    New { storage: String, bytes: u64 },
    /// A new cloud-init drive.
    CloudInit { storage: String },
    /// A copy of an image.
    Import { storage: String, source: String },
    /// A volume that exists.
    Existing,
}

impl Wish {
    pub(crate) fn of(drive: &Drive) -> Self {
        if matches!(drive.file.as_str(), "none" | "cdrom") {
            return Self::Empty;
        }
        let Some((storage, rest)) = drive.file.split_once(':') else { return Self::Existing };
        let storage = storage.to_owned();
        if let Some(source) = drive.options.get("import-from") {
            return Self::Import { storage, source: source.to_owned() };
        }
        if rest == "cloudinit" {
            return Self::CloudInit { storage };
        }
        match parse_gib(rest) {
            Some(bytes) => Self::New { storage, bytes },
            None => Self::Existing,
        }
    }

    /// The storage that it takes space on.
    pub(crate) fn target(&self) -> Option<&str> {
        match self {
            Self::New { storage, .. } | Self::CloudInit { storage } | Self::Import { storage, .. } => Some(storage),
            Self::Empty | Self::Existing => None,
        }
    }
}

impl World {
    /// The checks of a drive option that are made before anything is forked.
    pub(crate) fn check_drive(&self, caller: &Caller, node: &str, key: &str, drive: &Drive) -> Result<(), Refusal> {
        if drive.file.starts_with('/') {
            let at = "at /usr/share/perl5/PVE/Storage.pm line 651.";
            return Err(Refusal::error(format!("Only root can pass arbitrary filesystem paths. {at}")));
        }
        let wish = Wish::of(drive);
        if let Some(target) = wish.target() {
            self.check_target(caller, node, target)?;
        } else if let Some(name) = drive.storage() {
            find(&self.storages, name)?;
            self.check_existing(drive)?;
        }
        if let Wish::Import { source, .. } = &wish {
            let (storage, name) = source.split_once(':').unwrap_or((source, ""));
            let content = find(&self.storages, storage).map(|_| content_of(name))?;
            if !matches!(content.as_str(), "images" | "import") {
                let text = format!("{source} has wrong type '{content}' - needs to be 'images' or 'import'");
                return Err(Refusal::param(key, text));
            }
            let path = format!("/storage/{storage}");
            self.access.need_any(caller, &path, &["Datastore.AllocateSpace", "Datastore.Audit"])?;
        }
        Ok(())
    }

    fn check_existing(&self, drive: &Drive) -> Result<(), Refusal> {
        let Some((storage, name)) = drive.file.split_once(':') else { return Ok(()) };
        let files = self.storages.get(storage).is_some_and(|storage| storage.spec.kind.is_files());
        if files && !name.contains('/') {
            return Err(Refusal::error(format!("unable to parse directory volume name '{name}'")));
        }
        Ok(())
    }

    /// Whether the caller may put disks on `storage`, and whether it takes any (recorded 131, 132, 578).
    pub(crate) fn check_target(&self, caller: &Caller, node: &str, name: &str) -> Result<(), Refusal> {
        self.access.need_any(caller, &format!("/storage/{name}"), &["Datastore.AllocateSpace"])?;
        let storage = find(&self.storages, name)?;
        if !storage.is_on(node) {
            return Err(Refusal::error(format!("storage '{name}' is not available on node '{node}'")));
        }
        if !storage.holds("images") {
            let text = format!("storage '{name}' does not support vm images");
            return Err(Refusal::param("storage", text));
        }
        Ok(())
    }

    /// How long it takes to carry out the drive options of a configuration.
    pub(crate) fn drive_time(&self, wishes: &[Wish]) -> Duration {
        let timings = &self.scenario.timings;
        let each = wishes.iter().map(|wish| match wish {
            Wish::Empty | Wish::Existing => Duration::ZERO,
            Wish::New { .. } | Wish::CloudInit { .. } => timings.allocate.span(),
            Wish::Import { .. } => timings.import.span(),
        });
        each.sum()
    }

    /// Makes or finds the volume of a drive option; gives back the option as it is stored, and lines for a log.
    pub(crate) fn carry_out(
        &mut self,
        node: &str,
        vmid: u32,
        key: &str,
        drive: &Drive,
    ) -> Result<(String, Vec<String>), String> {
        let (name, bytes, source) = match Wish::of(drive) {
            Wish::Empty => return Ok((drive.print(), Vec::new())),
            Wish::Existing => return self.attach(node, drive).map(|text| (text, Vec::new())),
            Wish::New { storage, bytes } => (storage, bytes, None),
            Wish::CloudInit { storage } => (storage, CLOUDINIT_BYTES, None),
            Wish::Import { storage, source } => {
                let bytes = self.source_bytes(node, &source)?;
                (storage, bytes, Some(source))
            }
        };
        let cloudinit = drive.file.ends_with(":cloudinit");
        let format = drive.options.get("format").map(str::to_owned);
        let volid = self.allocate(node, &name, vmid, bytes, format.as_deref(), cloudinit)?;
        self.begin_content(node, key, &volid, source.as_deref(), bytes)?;
        let mut drive = Drive { file: volid, options: drive.options.clone() };
        for temporary in ["format", "import-from", "size"] {
            drive.options.remove(temporary);
        }
        if cloudinit {
            drive.options.set("media", "cdrom");
        } else {
            drive.options.set("size", print_size(bytes));
        }
        let text = drive.print();
        let mut lines = Vec::new();
        if let Some(source) = source {
            lines.push(format!("create full clone of drive ({source})"));
            if self.is_v9() {
                lines.push(format!("allocated target volume '{}'", drive.file));
            }
        }
        lines.push(format!("{key}: successfully created disk '{text}'"));
        Ok((text, lines))
    }

    /// Begins to make what a new volume holds. A cloud-init drive gets its content at each start.
    fn begin_content(
        &mut self,
        node: &str,
        key: &str,
        volid: &str,
        source: Option<&str>,
        bytes: u64,
    ) -> Result<(), String> {
        if self.vmm.is_none() || volid.contains("-cloudinit") {
            return Ok(());
        }
        let file = self.file_of(node, volid)?;
        let source = source.map(|source| self.file_of(node, source)).transpose()?;
        self.begin(|vmm| match source {
            Some(source) => vmm.copy_disk(&source, &file),
            None if key.starts_with("efidisk") => vmm.make_firmware_variables(&file),
            None => vmm.make_disk(&file, bytes),
        });
        Ok(())
    }

    fn attach(&self, node: &str, drive: &Drive) -> Result<String, String> {
        let Some((storage, name)) = drive.file.split_once(':') else { return Ok(drive.print()) };
        let storage = self.storages.get(storage).ok_or_else(|| format!("storage '{storage}' does not exist"))?;
        storage.usable()?;
        let volume = storage.volume(node, name).ok_or_else(|| format!("volume '{}' does not exist", drive.file))?;
        let mut drive = drive.clone();
        if !drive.is_cdrom() {
            drive.options.set("size", print_size(volume.size));
        }
        Ok(drive.print())
    }

    fn source_bytes(&self, node: &str, source: &str) -> Result<u64, String> {
        let (storage, name) = source.split_once(':').unwrap_or((source, ""));
        let storage = self.storages.get(storage).ok_or_else(|| format!("storage '{storage}' does not exist"))?;
        storage.usable()?;
        let missing = || format!("failed to stat '{}/{name}'", storage.path());
        storage.volume(node, name).map(|volume| volume.size).ok_or_else(missing)
    }

    /// Allocates a volume for a machine and gives back its identifier.
    pub(crate) fn allocate(
        &mut self,
        node: &str,
        storage: &str,
        vmid: u32,
        bytes: u64,
        format: Option<&str>,
        cloudinit: bool,
    ) -> Result<String, String> {
        let made = self.wall();
        let place = self.storages.get_mut(storage).ok_or_else(|| format!("storage '{storage}' does not exist"))?;
        place.usable()?;
        if place.spec.kind == crate::simulator::scenario::StorageKind::Lvm && place.free(node) < bytes {
            let needed = bytes >> 22;
            return Err(format!(
                "lvcreate '{storage}/vm-{vmid}-disk' error:   Volume group \"{storage}\" has insufficient free space ({} extents): {needed} required.",
                place.free(node) >> 22
            ));
        }
        let format = format.unwrap_or_else(|| place.default_format(cloudinit)).to_owned();
        let name = if cloudinit {
            place.name_of(vmid, &format!("vm-{vmid}-cloudinit"), &format)
        } else {
            place.next_name(node, vmid, &format)
        };
        let volid = format!("{storage}:{name}");
        let content = "images".to_owned();
        let file = self.vmm.as_ref().map(|vmm| vmm.new_file(&volid));
        let (vmid, size) = (Some(vmid), bytes);
        place.put(
            node,
            Volume { name, vmid, size, format, content, parent: None, sums: None, made, file: file.clone() },
        );
        Ok(volid)
    }

    /// Frees what these configurations' drives hold and the machine owns, without complaint.
    pub(crate) fn free_drives(&mut self, node: &str, vmid: u32, config: &Config) {
        let files: Vec<_> = config.drives().map(|(_, drive)| drive.file).collect();
        for file in files {
            self.free_volume(node, vmid, &file);
        }
    }

    /// Frees one volume if the machine owns it.
    pub(crate) fn free_volume(&mut self, node: &str, vmid: u32, file: &str) {
        let Some((storage, name)) = file.split_once(':') else { return };
        let Some(storage) = self.storages.get_mut(storage) else { return };
        if storage.volume(node, name).is_some_and(|volume| volume.vmid == Some(vmid)) {
            let file = storage.take(node, name).and_then(|volume| volume.file);
            if let (Some(vmm), Some(file)) = (&self.vmm, file) {
                vmm.remove(&file);
            }
        }
    }
}

/// The drive options among `options`, by name.
pub(crate) fn drive_options<'a>(options: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<(String, Drive)> {
    let drives = options.into_iter().filter(|(key, _)| is_drive(key));
    drives.map(|(key, value)| (key.clone(), Drive::parse(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_option_says_what_it_wants() {
        let of = |text: &str| Wish::of(&Drive::parse(text));
        assert_eq!(of("st:0.5"), Wish::New { storage: "st".into(), bytes: 512 << 20 });
        assert_eq!(of("st:cloudinit,media=cdrom"), Wish::CloudInit { storage: "st".into() });
        assert_eq!(of("st:vm-1-disk-0"), Wish::Existing);
        assert_eq!(of("none,media=cdrom"), Wish::Empty);
        let import = of("st:0,import-from=local:import/x.qcow2");
        assert_eq!(import, Wish::Import { storage: "st".into(), source: "local:import/x.qcow2".into() });
    }
}

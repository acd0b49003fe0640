//! Changing a configuration in the background, resizing a disk, making a template.

use super::super::World;
use super::super::config::Drive;
use super::super::drives::Wish;
use super::super::prop::{parse_size, print_size};
use super::super::refusal::locked;
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::update::Change;
use super::super::vmm::Awaited;

/// The same as a synchronous change, as a task.
#[derive(Debug)]
pub(crate) struct ConfigJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    pub(crate) change: Change,
    pub(crate) stage: u8,
    pub(crate) awaited: Awaited,
}

impl Job for ConfigJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if let Some(step) = self.awaited.step(world, task) {
            return step;
        }
        self.stage += 1;
        match self.stage {
            1 => Step::Lock(LockWish::on(self.vmid, world.lock_wait())),
            2 => {
                let wishes: Vec<_> = self.change.drives().iter().map(|(_, drive)| Wish::of(drive)).collect();
                Step::Wait(world.drive_time(&wishes))
            }
            3 => match world.make_change(&self.node, self.vmid, &self.change) {
                Ok(lines) => {
                    for line in lines {
                        world.log(task, line);
                    }
                    self.awaited.add(world.take_begun());
                    self.awaited.step(world, task).unwrap_or(Step::Done)
                }
                Err(refusal) => Step::Fail(refusal.message),
            },
            _ => Step::Done,
        }
    }
}

/// Grows a disk.
#[derive(Debug)]
pub(crate) struct ResizeJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    pub(crate) disk: String,
    pub(crate) size: String,
    pub(crate) digest: Option<String>,
    pub(crate) stage: u8,
    pub(crate) awaited: Awaited,
}

impl ResizeJob {
    fn plan(&self, world: &World) -> Result<(Drive, u64, u64), String> {
        let Self { node, vmid, disk, .. } = self;
        let vm = world.vm_of(node, *vmid)?;
        if self.digest.as_ref().is_some_and(|digest| *digest != vm.config.digest()) {
            return Err("checksum mismatch (file change by other user?)".into());
        }
        if let Some(lock) = vm.config.lock() {
            return Err(locked(lock));
        }
        let text = vm.config.get(disk).ok_or_else(|| format!("disk '{disk}' does not exist"))?;
        let drive = Drive::parse(text);
        let (storage, name) = drive.file.split_once(':').unwrap_or_default();
        let place = world.storages.get(storage).ok_or_else(|| format!("storage '{storage}' does not exist"))?;
        let missing = || format!("volume '{}' does not exist", drive.file);
        let old = place.volume(node, name).ok_or_else(missing)?.size;
        let asked = parse_size(self.size.trim_start_matches('+')).unwrap_or(0);
        let new = if self.size.starts_with('+') { old.saturating_add(asked) } else { asked };
        if new < old {
            return Err("shrinking disks is not supported".into());
        }
        if new > place.total().saturating_mul(64) || (!thin(place) && new - old > place.free(node)) {
            return Err(too_large(world.is_v9(), place, name, new));
        }
        world.writable(node, *vmid)?;
        Ok((drive, old, new))
    }

    /// Begins to grow the file behind the disk, if there is one.
    fn grow(&mut self, world: &mut World) -> Result<(), String> {
        let (drive, old, new) = self.plan(world)?;
        if world.vmm.is_none() || new == old {
            return Ok(());
        }
        let file = world.file_of(&self.node, &drive.file)?;
        let of = world.is_real(self.vmid).then_some((self.vmid, self.disk.as_str()));
        world.begin(|vmm| vmm.grow_disk(&file, new, of));
        self.awaited.add(world.take_begun());
        Ok(())
    }

    fn write(&self, world: &mut World, task: TaskId) -> Result<(), String> {
        let (mut drive, old, new) = self.plan(world)?;
        if new == old {
            return Ok(());
        }
        let (storage, name) = drive.file.split_once(':').unwrap_or_default();
        if let Some(volume) = world.storages.get_mut(storage).and_then(|place| place.volume_mut(&self.node, name)) {
            volume.size = new;
        }
        drive.options.set("size", print_size(new));
        if let Some(vm) = world.vm_mut(self.vmid) {
            vm.config.set(&self.disk, drive.print());
        }
        world.note(self.vmid);
        world.log(task, "Image resized.");
        Ok(())
    }
}

/// What the tool behind says (recorded 449).
fn too_large(v9: bool, storage: &super::super::storage::Storage, name: &str, bytes: u64) -> String {
    let options = if v9 { "'--preallocation=off' " } else { "" };
    let (format, path) = (super::super::storage::format_of(name), storage.path());
    format!("command '/usr/bin/qemu-img resize {options}-f {format} {path}/images/{name} {bytes}' failed: exit code 1")
}

fn thin(storage: &super::super::storage::Storage) -> bool {
    storage.spec.kind != crate::simulator::scenario::StorageKind::Lvm
}

impl Job for ResizeJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if let Some(step) = self.awaited.step(world, task) {
            return step;
        }
        self.stage += 1;
        match self.stage {
            1 => Step::Lock(LockWish::on(self.vmid, world.lock_wait())),
            2 => match self.plan(world) {
                Ok(_) => Step::Wait(world.scenario.timings.resize.span()),
                Err(error) => Step::Fail(error),
            },
            3 => match self.grow(world) {
                Ok(()) => self.step(world, task),
                Err(error) => Step::Fail(error),
            },
            _ => match self.write(world, task) {
                Ok(()) => Step::Done,
                Err(error) => Step::Fail(error),
            },
        }
    }
}

/// Makes a machine a template: its disks become base volumes (recorded 502).
#[derive(Debug)]
pub(crate) struct TemplateJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    pub(crate) stage: u8,
}

impl TemplateJob {
    fn convert(&self, world: &mut World) -> Result<(), String> {
        let Self { node, vmid, .. } = self;
        let config = &world.vm_of(node, *vmid)?.config;
        if let Some(lock) = config.lock() {
            return Err(locked(lock));
        }
        let drives: Vec<_> = config
            .drives()
            .filter(|(_, drive)| !drive.is_cdrom())
            .map(|(key, drive)| (key.to_owned(), drive))
            .collect();
        for (key, mut drive) in drives {
            let (storage, name) = drive.file.split_once(':').unwrap_or_default();
            let base = name.replace(&format!("vm-{vmid}-"), &format!("base-{vmid}-"));
            let Some(place) = world.storages.get_mut(storage) else { continue };
            if let Some(mut volume) = place.take(node, name) {
                volume.name.clone_from(&base);
                place.put(node, volume);
            }
            drive.file = format!("{storage}:{base}");
            if let Some(vm) = world.vm_mut(*vmid) {
                vm.config.set(&key, drive.print());
            }
        }
        if let Some(vm) = world.vm_mut(*vmid) {
            vm.config.set("template", "1");
        }
        world.note(*vmid);
        Ok(())
    }
}

impl Job for TemplateJob {
    fn step(&mut self, world: &mut World, _task: TaskId) -> Step {
        self.stage += 1;
        match self.stage {
            1 => Step::Lock(LockWish::on(self.vmid, world.lock_wait())),
            _ => match self.convert(world) {
                Ok(()) => Step::Done,
                Err(error) => Step::Fail(error),
            },
        }
    }
}

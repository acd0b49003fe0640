//! Destroying a virtual machine: disks first, configuration last, and no look at the quorum in between.

use super::super::World;
use super::super::config::{Config, is_numbered};
use super::super::refusal::locked;
use super::super::task::{Job, LockWish, Step, TaskId};

/// Removes a machine with its disks.
#[derive(Debug)]
pub(crate) struct DestroyJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    pub(crate) purge: bool,
    pub(crate) stage: u8,
}

impl DestroyJob {
    fn check(&self, world: &World) -> Result<(), String> {
        let Self { node, vmid, .. } = self;
        let vm = world.vm_of(node, *vmid)?;
        if let Some(lock) = vm.config.lock().filter(|lock| *lock != "suspended") {
            return Err(locked(lock));
        }
        if vm.config.flag("protection") {
            return Err(format!("can't remove VM {vmid} - protection mode enabled"));
        }
        if vm.run.is_some() {
            return Err(format!("VM {vmid} is running - destroy failed"));
        }
        if vm.config.is_template() {
            self.check_base(world, &vm.config)?;
        }
        Ok(())
    }

    fn check_base(&self, world: &World, config: &Config) -> Result<(), String> {
        for (_, drive) in config.drives() {
            let (storage, name) = drive.file.split_once(':').unwrap_or_default();
            let Some(storage) = world.storages.get(storage) else { continue };
            if storage.volumes(&self.node).any(|volume| volume.parent.as_deref() == Some(name)) {
                return Err(format!("base volume '{}' is still in use by linked cloned", drive.file));
            }
        }
        Ok(())
    }

    fn destroy(&self, world: &mut World, task: TaskId) -> Result<(), String> {
        let Self { node, vmid, .. } = self;
        self.check(world)?;
        let config = world.vm_of(node, *vmid)?.config.clone();
        let others = config.values.iter().filter(|(key, _)| is_numbered(key, "unused") || *key == "vmstate");
        let files: Vec<String> =
            config.drives().map(|(_, drive)| drive.file).chain(others.map(|(_, file)| file.clone())).collect();
        for file in files {
            self.remove(world, task, &file);
        }
        world.writable(node, *vmid)?;
        if self.purge {
            world.log(task, format!("purging VM {vmid} from related configurations.."));
        }
        world.take(*vmid);
        Ok(())
    }

    /// Failures only warn: by a line in the log on 8.4, by the exit status, too, on 9.2 (recorded 808).
    fn remove(&self, world: &mut World, task: TaskId, file: &str) {
        let (name, volume) = file.split_once(':').unwrap_or_default();
        let Some(storage) = world.storages.get(name) else { return };
        if let Err(error) = storage.usable() {
            let line = format!("Could not remove disk '{file}', check manually: {error}");
            return if world.is_v9() { world.warn(task, format!("WARN: {line}")) } else { world.log(task, line) };
        }
        let there = storage.volume(&self.node, volume).is_some();
        if !there {
            let path = storage.path();
            return world.log(task, format!("disk image '{path}/images/{volume}' does not exist"));
        }
        if !storage.spec.kind.is_files() {
            world.log(task, format!("  Logical volume \"{volume}\" successfully removed."));
        }
        world.free_volume(&self.node, self.vmid, file);
    }
}

impl Job for DestroyJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        self.stage += 1;
        match self.stage {
            1 => Step::Lock(LockWish::on(self.vmid, world.lock_wait())),
            2 => match self.check(world) {
                Ok(()) => Step::Wait(world.scenario.timings.destroy.span()),
                Err(error) => Step::Fail(error),
            },
            _ => match self.destroy(world, task) {
                Ok(()) => Step::Done,
                Err(error) => Step::Fail(error),
            },
        }
    }
}

//! Copying one disk of a clone: by a tool, or by the process of a source that runs.

use super::super::super::World;
use super::super::super::config::Drive;
use super::super::super::prop::print_size;
use super::super::super::storage::format_of;
use super::super::super::task::TaskId;
use super::{CloneJob, CloneOrder};

impl CloneJob {
    /// Whether the source runs: then its process mirrors the disks.
    pub(super) fn is_live(&self, world: &World) -> bool {
        world.vms.get(&self.order.source).is_some_and(|vm| vm.run.is_some())
    }

    /// The last moments of a mirrored disk, in which the guest's file systems stand still (recorded 363).
    pub(super) fn end_mirror(&self, world: &mut World, task: TaskId) {
        let now = world.now();
        let run = world.vms.get(&self.order.source).and_then(|vm| vm.run.as_ref());
        let Some(answers) = run.map(|run| run.agent_answers(now)) else { return };
        world.log(task, "all 'mirror' jobs are ready");
        let lines = if world.is_v9() {
            ["issuing guest agent 'guest-fsfreeze-freeze' command", "issuing guest agent 'guest-fsfreeze-thaw' command"]
        } else {
            ["freeze filesystem", "unfreeze filesystem"]
        };
        for line in lines.into_iter().filter(|_| answers) {
            world.log(task, line);
        }
    }

    /// The copy of a disk, if it fitted (recorded 815).
    pub(super) fn written(&self, world: &mut World, task: TaskId, key: &str, drive: &Drive) -> Result<String, String> {
        let text = self.done.get(key).unwrap_or_default().to_owned();
        let copy = Drive::parse(&text);
        if !self.short {
            self.end_mirror(world, task);
            return Ok(text);
        }
        if self.is_live(world) {
            return Err(format!("block job (mirror) error: mirror-{key}: No space left on device (io-status: ok)"));
        }
        Err(format!("copy failed: command '{}' failed: exit code 1", self.convert(world, drive, &copy)))
    }

    /// The command that copies a disk.
    pub(super) fn convert(&self, world: &World, from: &Drive, to: &Drive) -> String {
        let path = |drive: &Drive| {
            let (name, volume) = drive.file.split_once(':').unwrap_or_default();
            let storage = world.storages.get(name).filter(|storage| storage.spec.kind.is_files());
            storage.map_or_else(|| format!("/dev/{name}/{volume}"), |place| format!("{}/images/{volume}", place.path()))
        };
        let bound = self.order.bwlimit.map(|limit| format!(" -r {limit}K")).unwrap_or_default();
        let (was, is) = (format_of(&from.file), format_of(&to.file));
        format!("/usr/bin/qemu-img convert -p -n{bound} -f {was} -O {is} {} zeroinit:{}", path(from), path(to))
    }

    pub(super) fn place(
        &self,
        world: &mut World,
        drive: &Drive,
        bytes: u64,
        cloudinit: bool,
    ) -> Result<String, String> {
        let CloneOrder { node, target, storage, format, .. } = &self.order;
        let storage = storage.as_deref().or(drive.storage()).unwrap_or_default();
        // A file keeps its format unless the caller names another (recorded 366).
        let own = drive.storage().and_then(|name| world.storages.get(name)).filter(|place| place.spec.kind.is_files());
        let files = world.storages.get(storage).is_some_and(|place| place.spec.kind.is_files());
        let kept = own.filter(|_| files && !cloudinit).map(|_| format_of(&drive.file));
        let format = format.clone().filter(|_| !cloudinit).or(kept);
        let file = world.allocate(node, storage, *target, bytes, format.as_deref(), cloudinit)?;
        if world.vmm.is_some() && !cloudinit {
            let (from, to) = (world.file_of(node, &drive.file)?, world.file_of(node, &file)?);
            world.begin(|vmm| vmm.copy_disk(&from, &to));
        }
        let mut copy = Drive { file, options: drive.options.clone() };
        if !cloudinit {
            copy.options.set("size", print_size(bytes));
        }
        Ok(copy.print())
    }
}

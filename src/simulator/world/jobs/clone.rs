//! Cloning. Until the first disk is written, the target shows nothing but its lock and a comment.

mod copy;

use std::time::Duration;

use super::super::World;
use super::super::config::{Config, Drive, is_numbered};
use super::super::prop::print_size;
use super::super::refusal::cannot_find;
use super::super::storage::{Volume, format_of};
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::update::tidy;
use super::super::vm::Vm;
use super::super::vmm::Awaited;
use super::CLONE_LOCK;

/// What is to be cloned into what.
#[derive(Clone, Debug)]
pub(crate) struct CloneOrder {
    pub(crate) node: String,
    pub(crate) source: u32,
    pub(crate) target: u32,
    /// Copy the disks; false: hang them on the template's.
    pub(crate) full: bool,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) storage: Option<String>,
    pub(crate) format: Option<String>,
    /// Most that is copied in a second, in KiB; absent for no bound.
    pub(crate) bwlimit: Option<u64>,
    /// Node that gets the configuration at the end.
    pub(crate) to_node: Option<String>,
}

/// Copies disks one by one, then frees the target.
#[derive(Debug)]
pub(crate) struct CloneJob {
    order: CloneOrder,
    stage: Stage,
    config: Config,
    todo: Vec<(String, Drive)>,
    /// Disks of the clone, the one that is being written included.
    done: Config,
    /// The option of the disk that is being copied, as it will be.
    copying: Option<(String, String)>,
    awaited: Awaited,
    /// Whether the disk that is being written will not fit.
    short: bool,
}

#[derive(Debug)]
enum Stage {
    LockTarget,
    MakeTarget,
    LockedSource,
    Copied,
}

impl CloneJob {
    pub(crate) fn new(order: CloneOrder) -> Self {
        let (config, done) = (Config::default(), Config::default());
        let (copying, awaited) = (None, Awaited::default());
        Self { order, stage: Stage::LockTarget, config, todo: Vec::new(), done, copying, awaited, short: false }
    }

    /// Writes the temporary configuration; fails if the VMID is taken by now (recorded 741, 773).
    fn make_target(&mut self, world: &mut World) -> Result<Step, String> {
        let CloneOrder { node, source, target, .. } = &self.order;
        if let Some(taken) = world.vms.get(target) {
            return Err(if taken.node == *node {
                format!("unable to create VM {target}: config file already exists")
            } else {
                let file = format!("/etc/pve/nodes/{node}/qemu-server/{target}.conf");
                format!("close (rename) atomic file '{file}' failed: File exists")
            });
        }
        world.writable(node, *target)?;
        let temporary = Config::of([("lock", "clone"), ("description", " qmclone temporary file")]);
        let life = world.new_life(*target);
        world.add(*target, Vm::new(node, life, temporary));
        world.note(*target);
        self.stage = Stage::LockedSource;
        let running = world.vms.get(source).is_some_and(|vm| vm.run.is_some());
        Ok(Step::Lock(LockWish { vmid: *source, shared: !running, within: CLONE_LOCK }))
    }

    fn begin(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let CloneOrder { node, source, target, .. } = self.order.clone();
        let vm = world.vms.get(&source).filter(|vm| vm.node == node);
        self.config = vm.ok_or_else(|| cannot_find(&node, source))?.config.clone();
        if let Some(lock) = self.config.lock() {
            return Err(super::super::refusal::locked(lock));
        }
        if world.is_v9() {
            world.log(task, format!("creating a clone of VM {source} with ID {target}"));
        }
        self.todo = self.config.drives().map(|(key, drive)| (key.to_owned(), drive)).collect();
        self.todo.reverse();
        self.prepare(world);
        self.next_disk(world, task)
    }

    /// The configuration that the clone gets, besides its disks.
    fn prepare(&mut self, world: &mut World) {
        let config = &mut self.config;
        config.pending.clear();
        config.values.retain(|key, _| {
            !is_numbered(key, "unused") && !matches!(key.as_str(), "template" | "lock" | "parent" | "vmstate")
        });
        world.redraw_identity(config);
        let name = self.order.name.clone().unwrap_or_else(|| {
            let source = config.get("name").map_or_else(|| self.order.source.to_string(), str::to_owned);
            format!("Copy-of-VM-{source}")
        });
        config.set("name", name);
        if let Some(description) = &self.order.description {
            config.set("description", tidy("description", description));
        }
    }

    /// Begins with the next disk; the last one done, the clone is complete.
    fn next_disk(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let Some((key, drive)) = self.todo.last().cloned() else { return self.finish(world) };
        self.stage = Stage::Copied;
        let timings = world.scenario.timings.clone();
        if drive.is_cloudinit() {
            return Ok(Step::Wait(timings.allocate.span()));
        }
        if drive.is_cdrom() {
            return Ok(Step::Wait(Duration::ZERO));
        }
        let bytes = self.source_is_there(world, &drive)?;
        let kind = if self.order.full { "full" } else { "linked" };
        world.log(task, format!("create {kind} clone of drive {key} ({})", drive.file));
        if !self.order.full {
            return Ok(Step::Wait(timings.linked_clone.span()));
        }
        let target = self.order.storage.as_deref().or(drive.storage()).unwrap_or_default();
        // Of a copy a third is taken to be written.
        self.short = world.storages.get(target).is_some_and(|place| place.free(&self.order.node) < bytes / 3);
        let text = self.place(world, &drive, bytes, false)?;
        self.awaited.add(world.take_begun());
        let copy = Drive::parse(&text);
        self.done.set(&key, text);
        if world.is_v9() {
            world.log(task, format!("allocated target volume '{}'", copy.file));
        }
        if self.is_live(world) {
            world.log(task, format!("drive mirror is starting for drive-{key}"));
        }
        let disks = self.config.drives().filter(|(_, drive)| !drive.is_cdrom()).count().max(1);
        let usual = timings.full_clone.span() / u32::try_from(disks).unwrap_or(1);
        let bound =
            self.order.bwlimit.filter(|limit| *limit > 0).map(|limit| Duration::from_secs(bytes / limit / 1024));
        Ok(Step::Wait(bound.map_or(usual, |bound| bound.max(usual))))
    }

    fn source_is_there(&self, world: &World, drive: &Drive) -> Result<u64, String> {
        let (name, volume) = drive.file.split_once(':').unwrap_or(("", &drive.file));
        let storage = world.storages.get(name).ok_or_else(|| format!("storage '{name}' does not exist"))?;
        storage.usable()?;
        let missing = || format!("volume '{}' does not exist", drive.file);
        storage.volume(&self.order.node, volume).map(|volume| volume.size).ok_or_else(missing)
    }

    /// Makes the copy of a disk; where real files are copied it goes on when they are.
    fn copy(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let Some((key, drive)) = self.todo.pop() else { return self.finish(world) };
        let text = if drive.is_cloudinit() {
            self.place(world, &drive, 4 << 20, true)?
        } else if drive.is_cdrom() {
            drive.print()
        } else {
            let bytes = self.source_is_there(world, &drive)?;
            if self.order.full {
                self.written(world, task, &key, &drive)?
            } else {
                self.link(world, task, &drive, bytes)?
            }
        };
        self.done.set(&key, &text);
        self.copying = Some((key, text));
        self.awaited.add(world.take_begun());
        match self.awaited.step(world, task) {
            Some(Step::Fail(error)) => Err(error),
            Some(step) => Ok(step),
            None => self.copied(world, task),
        }
    }

    /// Shows the copied disk in the target's configuration.
    fn copied(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let Some((key, text)) = self.copying.take() else { return self.copy(world, task) };
        self.config.set(&key, text);
        world.writable(&self.order.node, self.order.target)?;
        let mut visible = self.config.clone();
        for (key, _) in &self.todo {
            visible.values.remove(key);
        }
        visible.set("lock", "clone");
        let vm = world.vm_mut(self.order.target).ok_or("the configuration vanished")?;
        vm.config = visible;
        world.note(self.order.target);
        self.next_disk(world, task)
    }

    fn link(&self, world: &mut World, task: TaskId, drive: &Drive, bytes: u64) -> Result<String, String> {
        let CloneOrder { node, target, .. } = &self.order;
        let (name, base) = drive.file.split_once(':').unwrap_or(("", ""));
        let made = world.wall();
        let vmm = world.vmm.clone();
        let base_file = vmm.as_ref().map(|_| world.file_of(node, &drive.file)).transpose()?;
        let storage = world.storages.get_mut(name).ok_or_else(|| format!("storage '{name}' does not exist"))?;
        let format = format_of(base);
        let own = storage.next_name(node, *target, &format);
        let volume = Volume {
            name: own.clone(),
            vmid: Some(*target),
            size: bytes,
            format,
            content: "images".into(),
            parent: Some(base.to_owned()),
            sums: None,
            made,
            file: vmm.map(|vmm| vmm.new_file(&format!("{name}:{own}"))),
        };
        let file = volume.file.clone();
        storage.put(node, volume);
        if let (Some((_, file)), true) = (own.split_once('/'), storage.spec.kind.is_files()) {
            world.log(task, format!("clone {base}: images, {file}, {target} to {file} (base=../{base})"));
        }
        let storage = world.storages.get(name).ok_or_else(|| format!("storage '{name}' does not exist"))?;
        let shown = if storage.spec.kind == crate::simulator::scenario::StorageKind::LvmThin {
            own
        } else {
            format!("{base}/{own}")
        };
        let mut copy = Drive { file: format!("{name}:{shown}"), options: drive.options.clone() };
        copy.options.set("size", print_size(bytes));
        if let (Some(base), Some(file)) = (base_file, file) {
            world.begin(|vmm| vmm.link_disk(&base, &file));
        }
        Ok(copy.print())
    }

    fn finish(&mut self, world: &mut World) -> Result<Step, String> {
        let CloneOrder { node, target, to_node, .. } = &self.order;
        world.writable(node, *target)?;
        let vm = world.vm_mut(*target).ok_or("the configuration vanished")?;
        vm.config = self.config.clone();
        if let Some(to_node) = to_node {
            vm.node.clone_from(to_node);
        }
        world.note(*target);
        Ok(Step::Done)
    }

    fn undo(&self, world: &mut World) {
        if !matches!(self.stage, Stage::LockTarget | Stage::MakeTarget) {
            world.free_drives(&self.order.node, self.order.target, &self.done);
            world.take(self.order.target);
        }
    }
}

impl Job for CloneJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        match self.awaited.step(world, task) {
            Some(Step::Fail(error)) => return self.failed(world, &error),
            Some(step) => return step,
            None => {}
        }
        match self.stage {
            Stage::LockTarget => {
                self.stage = Stage::MakeTarget;
                Step::Lock(LockWish::on(self.order.target, CLONE_LOCK))
            }
            Stage::MakeTarget => self.make_target(world).unwrap_or_else(Step::Fail),
            Stage::LockedSource => self.begin(world, task).unwrap_or_else(|error| self.failed(world, &error)),
            Stage::Copied => self.copied(world, task).unwrap_or_else(|error| self.failed(world, &error)),
        }
    }

    fn cancel(&mut self, world: &mut World, _task: TaskId) -> Option<String> {
        let copied = self.todo.last().and_then(|(key, drive)| Some((drive, Drive::parse(self.done.get(key)?))));
        let command = copied.map(|(from, to)| self.convert(world, from, &to)).unwrap_or_default();
        self.undo(world);
        Some(format!("clone failed: copy failed: command '{command}' failed: interrupted by signal"))
    }
}

impl CloneJob {
    fn failed(&self, world: &mut World, error: &str) -> Step {
        self.undo(world);
        Step::Fail(format!("clone failed: {error}"))
    }
}

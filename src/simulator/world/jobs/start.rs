//! Starting.

use std::time::Duration;

use super::super::World;
use super::super::config::Config;
use super::super::refusal::locked;
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::vmm::Awaited;
use super::hibernate::wake;

/// How long after a process ended its clean-up may begin.
const CLEAN_UP: Duration = Duration::from_secs(1);

/// Starts a machine.
#[derive(Debug)]
pub(crate) struct StartJob {
    node: String,
    vmid: u32,
    stage: u8,
    /// Begun so soon after the last process ended that its clean-up takes the new one for the old.
    hasty: bool,
    holds_lock: bool,
    awaited: Awaited,
}

impl StartJob {
    pub(crate) fn new(node: &str, vmid: u32) -> Self {
        Self { node: node.to_owned(), vmid, stage: 0, hasty: false, holds_lock: false, awaited: Awaited::default() }
    }

    /// Part of a job that has the file lock already.
    pub(crate) fn holding_lock(node: &str, vmid: u32) -> Self {
        Self { stage: 1, holds_lock: true, ..Self::new(node, vmid) }
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let Self { node, vmid, .. } = self;
        let vm = world.vm_of(node, *vmid)?;
        let config = &vm.config;
        if config.is_template() {
            return Err("you can't start a vm if it's a template".into());
        }
        if let Some(lock) = config.lock().filter(|lock| *lock != "suspended") {
            return Err(locked(lock));
        }
        if vm.run.is_some() {
            return Err(format!("VM {vmid} already running"));
        }
        world.writable(node, *vmid)?;
        let future = Config { values: config.future(), ..Config::default() };
        self.check_disks(world, &future)?;
        let cores = world.nodes.get(node).map_or(u64::MAX, |node| u64::from(node.spec.cores));
        if future.vcpus() > cores {
            return Err(format!("MAX {cores} vcpus allowed per VM on this node"));
        }
        Ok(())
    }

    fn check_disks(&self, world: &World, config: &Config) -> Result<(), String> {
        for (_, drive) in config.drives() {
            let Some((storage, name)) = drive.file.split_once(':') else { continue };
            let storage = world.storages.get(storage).ok_or_else(|| format!("storage '{storage}' does not exist"))?;
            storage.usable()?;
            if storage.volume(&self.node, name).is_none() {
                return Err(format!("volume '{}' does not exist", drive.file));
            }
        }
        Ok(())
    }

    /// What only shows when the process is there: bridges and memory (recorded 521, 821).
    fn launch(&self, world: &mut World, task: TaskId) -> Result<(), String> {
        let Some(vm) = world.vms.get(&self.vmid) else { return Ok(()) };
        let config = Config { values: vm.config.future(), ..Config::default() };
        let missing = config.nets().find_map(|(key, net)| {
            let bridge = net.bridge().filter(|bridge| !world.has_bridge(&self.node, bridge))?;
            Some((key.trim_start_matches("net").to_owned(), bridge.to_owned()))
        });
        if let Some((place, bridge)) = missing {
            let text = format!("bridge '{bridge}' does not exist");
            if world.is_v9() {
                return Err(text);
            }
            world.log(task, text);
            let (card, script) = (format!("tap{}i{place}", self.vmid), "/usr/libexec/qemu-server/pve-bridge");
            world.log(task, format!("kvm: -netdev type=tap,id=net{place},ifname={card},script={script},downscript={script}down: network script {script} failed with status 512"));
            return Err("start failed: QEMU exited with code 1".into());
        }
        let memory = world.nodes.get(&self.node).map_or(u64::MAX, |node| node.spec.memory_gib << 30);
        if config.memory_bytes() > memory {
            world.log(task, "kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory");
            return Err("start failed: QEMU exited with code 1".into());
        }
        if config.get("bios") == Some("ovmf") && config.get("efidisk0").is_none() {
            world.warn(task, "WARN: no efidisk configured! Using temporary efivars disk.");
        }
        Ok(())
    }

    fn run(&self, world: &mut World, task: TaskId) {
        let Some(vm) = world.vm_mut(self.vmid) else { return };
        let hibernated = vm.config.lock() == Some("suspended");
        vm.config.apply_pending();
        if hibernated {
            wake(world, task, self.vmid);
        }
        let real = world.vmm.is_some();
        world.boot_up(self.vmid, hibernated, real);
    }

    /// Starts the real process, where machines are real.
    fn power_on(&mut self, world: &mut World) -> Result<(), String> {
        if world.vmm.is_none() {
            return Ok(());
        }
        let order = world.power_on_order(self.vmid)?;
        world.begin(|vmm| vmm.power_on(order));
        self.awaited.add(world.take_begun());
        Ok(())
    }
}

impl Job for StartJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if let Some(step) = self.awaited.step(world, task) {
            return step;
        }
        self.stage += 1;
        match self.stage {
            1 => Step::Lock(LockWish::on(self.vmid, world.scenario.timings.lock_wait.span())),
            2 => match self.check(world) {
                Ok(()) => {
                    self.hasty = !self.holds_lock && is_hasty(world, self.vmid);
                    Step::Wait(world.scenario.timings.start.span())
                }
                Err(error) => Step::Fail(error),
            },
            3 => match self.launch(world, task).and_then(|()| self.power_on(world)) {
                Ok(()) => self.step(world, task),
                Err(error) => Step::Fail(error),
            },
            _ => {
                self.run(world, task);
                if self.hasty {
                    world.latch(self.vmid);
                }
                Step::Done
            }
        }
    }

    /// A process that was still being started is ended.
    fn cancel(&mut self, world: &mut World, _task: TaskId) -> Option<String> {
        if let (3.., Some(vmm)) = (self.stage, &world.vmm) {
            vmm.power_cut(self.vmid);
        }
        None
    }
}

/// Whether 9.2's clean-up after the last process is still to come (recorded 323, 342).
fn is_hasty(world: &World, vmid: u32) -> bool {
    let ended = world.vms.get(&vmid).and_then(|vm| vm.exited_at);
    world.is_v9() && ended.is_some_and(|ended| world.now().since(ended) < CLEAN_UP)
}

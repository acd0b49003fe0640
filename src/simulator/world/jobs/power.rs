//! Starting, stopping, shutting down and rebooting.

use std::time::Duration;

use super::super::World;
use super::super::config::Config;
use super::super::refusal::{cannot_find, locked};
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::vmm::{Awaited, LOOK_AGAIN, Nudge};
use super::hibernate::wake;
use crate::clock::BootTime;

/// How long after a process ended its clean-up may begin.
const CLEAN_UP: Duration = Duration::from_secs(1);
/// How often a shutdown looks whether the machine is off.
const LOOK: Duration = Duration::from_millis(500);

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

/// Stops a machine hard.
#[derive(Debug)]
pub(crate) struct StopJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    /// Ends shutdown tasks of the same machine first.
    pub(crate) overrule: bool,
    pub(crate) stage: u8,
    pub(crate) awaited: Awaited,
}

impl Job for StopJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if let Some(step) = self.awaited.step(world, task) {
            return step;
        }
        self.stage += 1;
        match self.stage {
            1 => {
                if world.vm_of(&self.node, self.vmid).is_err() {
                    return Step::Fail(cannot_find(&self.node, self.vmid));
                }
                if self.overrule {
                    overrule(world, task, self.vmid);
                }
                Step::Lock(LockWish::on(self.vmid, world.scenario.timings.lock_wait.span()))
            }
            2 => {
                let Some(vm) = world.vms.get(&self.vmid).filter(|vm| vm.run.is_some()) else { return Step::Done };
                if let Some(lock) = vm.config.lock() {
                    return Step::Fail(locked(lock));
                }
                self.awaited.add(world.vmm_of(self.vmid).map(|vmm| vmm.power_cut(self.vmid)));
                Step::Wait(world.scenario.timings.stop.span())
            }
            _ => {
                // A real process that is gone was noticed before this.
                if world.vms.get(&self.vmid).is_some_and(|vm| vm.run.is_some()) {
                    world.power_off(self.vmid);
                }
                Step::Done
            }
        }
    }
}

/// Kills the running shutdown tasks of a machine (recorded 338 to 340).
fn overrule(world: &mut World, task: TaskId, vmid: u32) {
    let target = vmid.to_string();
    let shutdowns: Vec<_> = world
        .running()
        .filter(|(_, other)| other.upid.kind == "qmshutdown" && other.upid.target == target)
        .map(|(id, other)| (id, other.upid.to_string()))
        .collect();
    if shutdowns.is_empty() {
        return;
    }
    let names: Vec<_> = shutdowns.iter().map(|(_, upid)| upid.as_str()).collect();
    world.log(task, format!("overruled qmshutdown tasks: {}", names.join(", ")));
    let mute = world.vms.get(&vmid).and_then(|vm| vm.run.as_ref()).is_some_and(|run| {
        run.started_with.agent_enabled() && !run.agent_answers(world.now()) && run.guest.down_at.is_none()
    });
    for (id, _) in shutdowns {
        world.log(id, if mute { "QEMU Guest Agent is not running - received interrupt" } else { "received interrupt" });
        world.kill(id);
    }
    // Workers take a moment to die, and hold the lock for as long.
    world.log(task, "trying to acquire lock...");
    world.log(task, " OK");
}

/// Asks the guest to go down and waits for it, holding the file lock all the while.
#[derive(Debug)]
pub(crate) struct ShutdownJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    pub(crate) timeout: Duration,
    pub(crate) force: bool,
    stage: u8,
    deadline: BootTime,
    awaited: Awaited,
}

impl ShutdownJob {
    pub(crate) fn new(node: &str, vmid: u32, timeout: Duration, force: bool) -> Self {
        let (deadline, awaited) = (BootTime::default(), Awaited::default());
        Self { node: node.to_owned(), vmid, timeout, force, stage: 0, deadline, awaited }
    }

    /// Tells the guest; says how long to wait before asking again.
    fn ask(&mut self, world: &mut World, task: TaskId) -> Step {
        self.deadline = world.now().plus(self.timeout);
        let now = world.now();
        let Some(run) = world.vms.get(&self.vmid).and_then(|vm| vm.run.as_ref()) else { return Step::Done };
        if run.real {
            let agent = run.started_with.agent_enabled();
            self.stage = 4;
            self.awaited.add(world.vmm_of(self.vmid).map(|vmm| vmm.ask_down(self.vmid, agent)));
            return Step::Wait(LOOK_AGAIN.min(self.timeout));
        }
        let mute = run.started_with.agent_enabled() && !run.agent_answers(now) && run.guest.down_at.is_none();
        if mute {
            let channel = if world.is_v9() { "qga" } else { "qmp" };
            let vmid = self.vmid;
            let text = format!("VM {vmid} {channel} command 'guest-ping' failed - got timeout");
            world.log(task, format!("QEMU Guest Agent is not running - {text}"));
            self.stage = 3;
            let wait = world.scenario.timings.agent_wait.span().min(self.timeout);
            return Step::Wait(wait);
        }
        self.stage = 4;
        world.ask_down(self.vmid);
        Step::Wait(LOOK.min(self.timeout))
    }

    fn look(&mut self, world: &mut World, task: TaskId) -> Step {
        if world.vms.get(&self.vmid).is_none_or(|vm| vm.run.is_none()) {
            return Step::Done;
        }
        // What asking came to stands in the log; a guest that could not be asked is waited for all the same.
        let _ = self.awaited.step(world, task);
        let left = self.deadline.since(world.now());
        if left > Duration::ZERO {
            return Step::Wait(LOOK.min(left));
        }
        if !self.force {
            return Step::Fail("VM quit/powerdown failed - got timeout".into());
        }
        world.log(task, "VM still running - terminating now with SIGTERM");
        world.power_off(self.vmid);
        Step::Done
    }
}

impl Job for ShutdownJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        match self.stage {
            0 => {
                if world.vm_of(&self.node, self.vmid).is_err() {
                    return Step::Fail(cannot_find(&self.node, self.vmid));
                }
                self.stage = 1;
                Step::Lock(LockWish::on(self.vmid, world.scenario.timings.lock_wait.span()))
            }
            1 => match world.vms.get(&self.vmid) {
                Some(vm) if vm.run.is_some() => match vm.config.lock() {
                    Some(lock) => Step::Fail(locked(lock)),
                    None => self.ask(world, task),
                },
                _ => Step::Done,
            },
            3 => {
                self.stage = 4;
                world.ask_down(self.vmid);
                self.look(world, task)
            }
            _ => self.look(world, task),
        }
    }
}

/// Shuts down and starts again; waiting changes are done in between.
#[derive(Debug)]
pub(crate) struct RebootJob {
    pub(crate) down: ShutdownJob,
    pub(crate) start: Option<StartJob>,
}

impl Job for RebootJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if let Some(start) = &mut self.start {
            return start.step(world, task);
        }
        match self.down.step(world, task) {
            Step::Done => {
                let mut start = StartJob::holding_lock(&self.down.node, self.down.vmid);
                let step = start.step(world, task);
                self.start = Some(start);
                step
            }
            step => step,
        }
    }

    fn cancel(&mut self, world: &mut World, task: TaskId) -> Option<String> {
        self.start.as_mut().and_then(|start| start.cancel(world, task))
    }
}

/// Reset, pause and resume: done at once when nobody holds the file lock (recorded 344).
#[derive(Debug)]
pub(crate) struct NudgeJob {
    vmid: u32,
    kind: &'static str,
    locked: bool,
    begun: bool,
    awaited: Awaited,
}

impl NudgeJob {
    pub(crate) fn new(vmid: u32, kind: &'static str) -> Self {
        Self { vmid, kind, locked: false, begun: false, awaited: Awaited::default() }
    }

    fn begin(&mut self, world: &World) {
        let nudge = match self.kind {
            "qmpause" => Nudge::Pause,
            "qmresume" => Nudge::Resume,
            // The world resets the machine when it notes the guest's new life.
            _ => return,
        };
        self.awaited.add(world.vmm_of(self.vmid).map(|vmm| vmm.nudge(self.vmid, nudge)));
    }
}

impl Job for NudgeJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if !std::mem::replace(&mut self.locked, true) {
            return Step::Lock(LockWish::on(self.vmid, world.scenario.timings.lock_wait.span()));
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(world);
        }
        if let Some(step) = self.awaited.step(world, task) {
            return step;
        }
        match self.kind {
            "qmreset" => world.reboot_guest(self.vmid),
            kind => {
                if let Some(run) = world.vm_mut(self.vmid).and_then(|vm| vm.run.as_mut()) {
                    run.paused = kind == "qmpause";
                }
                world.note(self.vmid);
            }
        }
        Step::Done
    }
}

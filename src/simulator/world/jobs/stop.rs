//! Stopping, shutting down and rebooting.

use std::time::Duration;

use super::super::World;
use super::super::refusal::{cannot_find, locked};
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::vmm::{Awaited, LOOK_AGAIN};
use super::start::StartJob;
use crate::clock::BootTime;

/// How often a shutdown looks whether the machine is off.
const LOOK: Duration = Duration::from_millis(500);

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

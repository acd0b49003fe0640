//! Resetting, pausing and resuming.

use super::super::World;
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::vmm::{Awaited, Nudge};

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

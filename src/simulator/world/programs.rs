//! Programs that run in guests, as far as their hypervisor knows of them.

use super::World;
use super::engine::Due;
use super::vm::Program;
use crate::simulator::guest_exec::{ExecOutcome, GuestEffect};

/// What the agent knows of a program.
#[derive(Debug)]
pub(crate) enum ProgramState {
    Running,
    Ended(ExecOutcome),
}

impl World {
    /// Notes a new program; gives back the machine's process and the program's number.
    pub(crate) fn begin_program(&mut self, vmid: u32) -> Option<(u64, u32)> {
        let run = self.vm_mut(vmid)?.run.as_mut()?;
        run.guest.next_pid += 2;
        let pid = run.guest.next_pid;
        run.guest.programs.insert(pid, Program::Running);
        Some((run.number, pid))
    }

    /// Notes how a program ends. A machine that was started anew since then knows nothing of it.
    pub(crate) fn end_program(&mut self, vmid: u32, number: u64, pid: u32, outcome: ExecOutcome) {
        let (ends, effect) = (self.now().plus(outcome.took), outcome.effect);
        let takes_effect = outcome.took + outcome.effect_after;
        let run = self.vm_mut(vmid).and_then(|vm| vm.run.as_mut()).filter(|run| run.number == number);
        let Some(run) = run else { return };
        if let Some(program) = run.guest.programs.get_mut(&pid) {
            *program = Program::Ends(ends, outcome);
        }
        if effect != GuestEffect::None {
            self.plan(takes_effect, Due::Effect(vmid, number, effect));
        }
    }

    /// What is known of a program; absent: there is no such program.
    pub(crate) fn program(&self, vmid: u32, pid: u32) -> Option<ProgramState> {
        let run = self.vms.get(&vmid)?.run.as_ref()?;
        Some(match run.guest.programs.get(&pid)? {
            Program::Ends(at, outcome) if *at <= self.now() => ProgramState::Ended(outcome.clone()),
            _ => ProgramState::Running,
        })
    }

    pub(crate) fn forget_program(&mut self, vmid: u32, pid: u32) {
        if let Some(run) = self.vm_mut(vmid).and_then(|vm| vm.run.as_mut()) {
            run.guest.programs.remove(&pid);
        }
    }

    pub(super) fn take_effect(&mut self, vmid: u32, number: u64, effect: GuestEffect) {
        let same = self.vms.get(&vmid).and_then(|vm| vm.run.as_ref()).is_some_and(|run| run.number == number);
        if !same {
            return;
        }
        match effect {
            GuestEffect::None => {}
            GuestEffect::PowerOff => {
                self.ask_down(vmid);
            }
            GuestEffect::Reboot => self.reboot_guest(vmid),
            GuestEffect::AgentGone => self.silence_agent(vmid),
        }
    }
}

//! Processes in a row of their own, and the names of signals.

use rustix::process::{Pid, Signal, kill_process_group};

/// The processes of a unit: the command and what it started. They are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that the process `pid` leads.
    pub(super) fn of(pid: Option<u32>) -> Self {
        Self(pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw))
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // None of them is there any more.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The name of a signal as systemd tells it.
pub(super) fn name(number: i32) -> String {
    let names = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM",
    ];
    let known = usize::try_from(number - 1).ok().and_then(|index| names.get(index));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_have_their_names() {
        assert_eq!([1, 9, 15, 64].map(super::name), ["HUP", "KILL", "TERM", "64"]);
    }
}

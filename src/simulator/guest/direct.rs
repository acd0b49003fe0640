//! A channel into a simulated guest without a hypervisor in between.

use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{BootTime, SharedClock};
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::{GuestChannel, Output, Script};
use crate::simulator::guest_exec::{ExecCall, ExecEnd, GuestFacts, SharedGuestExec};

/// Runs scripts in a guest whose facts do not change, but that its clocks go on. What a program does to its machine has
/// no effect.
#[derive(Debug, Clone)]
pub struct DirectChannel {
    exec: SharedGuestExec,
    facts: GuestFacts,
    clock: SharedClock,
    since: BootTime,
}

impl DirectChannel {
    /// A channel into the guest that has these facts now, played by `exec`.
    pub fn new(exec: SharedGuestExec, facts: GuestFacts, clock: SharedClock) -> Self {
        let since = clock.boot();
        Self { exec, facts, clock, since }
    }

    fn facts_now(&self) -> GuestFacts {
        let passed = self.clock.boot().since(self.since);
        let clock = self.facts.clock.checked_add(passed).unwrap_or(self.facts.clock);
        GuestFacts { clock, uptime: self.facts.uptime.saturating_add(passed), ..self.facts.clone() }
    }
}

#[async_trait]
impl GuestChannel for DirectChannel {
    async fn run(&self, script: Script, args: &[String], stdin: &[u8], deadline: Duration) -> Result<Output, Fault> {
        if self.facts.behaviours.get("agentGone").is_some_and(|gone| gone == true) {
            return Err(Fault::new(FaultKind::GuestAway, "QEMU guest agent is not running"));
        }
        let fixed = ["/bin/sh", "-c", script.text, script.name].map(str::to_owned);
        let words = fixed.into_iter().chain(args.iter().cloned()).collect();
        let call = ExecCall { argv: words, input: stdin.to_vec(), facts: self.facts_now() };
        let run = async {
            let outcome = self.exec.exec(call).await;
            tokio::time::sleep(outcome.took).await;
            outcome
        };
        let outcome = tokio::time::timeout(deadline, run).await.map_err(|_| {
            Fault::new(FaultKind::GuestAway, format!("the program did not end within {} s", deadline.as_secs()))
        })?;
        let exit_code = match outcome.end {
            ExecEnd::Exited(code) => Some(code),
            ExecEnd::Signalled(_) => None,
            ExecEnd::NotStarted => return Err(Fault::new(FaultKind::Other, "the guest has no /bin/sh")),
        };
        Ok(Output { exit_code, stdout: outcome.stdout, stderr: outcome.stderr, truncated: false })
    }
}

//! One machine's process.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::agent::Agent;
use super::machine::{AGENT, Folder, QMP};
use super::network::Network;
use super::qmp;
use crate::clock::{Clock as _, SystemClock};
use crate::watchdog::Watchdog;

/// How long QEMU may take until it answers: it sets up memory first.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM, before SIGKILL.
const END: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// A process of QEMU. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    child: Mutex<Child>,
    folder: Folder,
    agent: Option<Arc<Agent>>,
    watchdog: Arc<Watchdog>,
}

/// The file for what QEMU itself writes.
const LOG: &str = "qemu.log";

impl Process {
    /// Starts QEMU in the guests' network.
    pub(super) fn start(
        qemu: &Path,
        arguments: &[String],
        folder: Folder,
        network: &Network,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self, String> {
        let log = folder.run.join(LOG);
        let output = fs::File::create(&log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let mut command = Command::new(qemu);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child =
            network.namespace().spawn(command, watchdog).map_err(|error| format!("cannot start QEMU: {error}"))?;
        let socket = folder.run.join(AGENT);
        let agent = arguments.iter().any(|argument| argument.contains("guest_agent")).then(|| Agent::new(socket));
        Ok(Self { child: Mutex::new(child), folder, agent, watchdog: watchdog.clone() })
    }

    /// Waits until QEMU answers; the error is its exit status, after what it wrote.
    pub(super) fn wait_until_it_runs(&self) -> Result<(), (Vec<String>, String)> {
        let deadline = SystemClock.boot().plus(START);
        loop {
            if let Some(status) = self.ended() {
                let code = status.code().map_or_else(|| status.to_string(), |code| code.to_string());
                return Err((self.log(), format!("start failed: QEMU exited with code {code}")));
            }
            match self.qmp("query-status", json!({})) {
                Ok(_) => return Ok(()),
                Err(error) if SystemClock.boot() >= deadline => {
                    self.end();
                    return Err((self.log(), format!("start failed: got timeout ({error})")));
                }
                Err(_) => sleep(STEP),
            }
        }
    }

    /// Lines that QEMU wrote.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.run.join(LOG)).unwrap_or_default();
        text.lines().map(|line| line.replacen("qemu-system-x86_64:", "kvm:", 1)).collect()
    }

    pub(super) fn id(&self) -> u32 {
        self.child().id()
    }

    /// How it ended; none while it runs.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child();
        let status = child.try_wait().ok().flatten();
        if status.is_some() {
            self.watchdog.forget(child.id());
        }
        status
    }

    /// A command of QEMU's own protocol.
    pub(super) fn qmp(&self, command: &str, arguments: Value) -> Result<Value, String> {
        qmp::command(&self.folder.run.join(QMP), command, arguments)
    }

    /// The agent's channel, if the machine has one.
    pub(super) fn agent(&self) -> Option<&Arc<Agent>> {
        self.agent.as_ref()
    }

    /// What the guest has written on its serial port.
    pub(super) fn console(&self) -> String {
        let bytes = fs::read(&self.folder.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends it, and waits until it is gone.
    pub(super) fn end(&self) {
        // Only a process that was not waited for yet still owns its number.
        if self.ended().is_none() {
            let _ = kill_process(Pid::from_child(&self.child()), Signal::TERM);
        }
        let deadline = SystemClock.boot().plus(END);
        while self.ended().is_none() {
            if SystemClock.boot() >= deadline {
                return self.kill();
            }
            sleep(STEP);
        }
    }

    fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
        self.watchdog.forget(child.id());
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

//! A machine's process comes and goes, with what it has in the network.

use std::fs;
use std::sync::{Arc, PoisonError};

use serde_json::json;

use super::acceleration::Verdict;
use super::machine::{CommandLine, Folder};
use super::process::Process;
use super::{Inner, acceleration, iso, machine};
use crate::simulator::world::vmm::{PowerOn, Report};

impl Inner {
    pub(super) fn start(&self, order: &PowerOn) -> Report {
        let mut report = Report::default();
        report.error = self.try_start(order, &mut report.lines).err();
        report
    }

    fn try_start(&self, order: &PowerOn, lines: &mut Vec<String>) -> Result<(), String> {
        // A process of this machine that is on its way out goes first.
        self.end(order.vmid);
        if let Some((file, seed)) = order.seed.clone() {
            lines.push("generating cloud-init ISO".to_owned());
            let tools = self.tools.clone();
            self.on_disks(move || iso::write(&tools, &seed, &file))?;
        } else {
            self.on_disks(|| Ok(()))?;
        }
        let verdict = self.verdict(order)?;
        lines.push(format!("QEMU runs this machine by {}", verdict.why));
        let folder = self.machine_folder(order.vmid)?;
        let mut line = machine::command_line(order, &self.spec, verdict.argument, &folder)?;
        lines.append(&mut line.remarks);
        let console = folder.console.clone();
        let process = self.run(order, &line, folder, lines).inspect_err(|_| self.end(order.vmid))?;
        if verdict.doubtful {
            acceleration::confirm(console, &process, acceleration::cache(&self.tools));
        }
        Ok(())
    }

    /// What it has made when it fails is taken away by [`Self::end`].
    fn run(
        &self,
        order: &PowerOn,
        line: &CommandLine,
        folder: Folder,
        lines: &mut Vec<String>,
    ) -> Result<Arc<Process>, String> {
        self.network.plug(order).map_err(|error| error.to_string())?;
        let process = Process::start(&self.tools.qemu, &line.arguments, folder, &self.network, &self.watchdog)?;
        let process = Arc::new(process);
        self.processes().insert(order.vmid, process.clone());
        process.wait_until_it_runs().map_err(|(said, error)| {
            lines.extend(said);
            error
        })?;
        let down = order.config.nets().filter(|(_, net)| net.rest.get("link_down") == Some("1"));
        for (key, _) in down {
            process.qmp("set_link", json!({"name": key, "up": false}))?;
        }
        Ok(process)
    }

    /// Does something when all earlier work on disks is done.
    fn on_disks(&self, deed: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
        self.disks.run(deed).unwrap_or_else(|| Err("the simulator's work on disks broke down".to_owned()))
    }

    /// The folder of a machine that is about to be started, empty.
    fn machine_folder(&self, vmid: u32) -> Result<Folder, String> {
        let run = self.folder.join("run").join(vmid.to_string());
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).map_err(|error| format!("cannot create {}: {error}", run.display()))?;
        let console = self.folder.join("disks").join(format!("console-{vmid}.log"));
        // What an earlier guest wrote is not to be taken for this one's.
        let _ = fs::remove_file(&console);
        Ok(Folder { run, console })
    }

    fn verdict(&self, order: &PowerOn) -> Result<Verdict, String> {
        // Who comes second waits for the first one's answer.
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = verdict.as_ref() {
            return Ok(verdict.clone());
        }
        if !acceleration::can_be_tried(order) {
            return Ok(acceleration::without_a_try());
        }
        let (folder, cache) = (self.folder.join("run").join("0"), acceleration::cache(&self.tools));
        let found = acceleration::probe(order, &self.tools, &folder, &self.network, &self.watchdog)?;
        // An answer that cannot be kept is found again.
        let _ = found.keep(&cache);
        let own = found.verdict();
        if found.is_answer() {
            // Others' disks say nothing about the one that was tried.
            *verdict = Some(Verdict { doubtful: false, ..own.clone() });
        }
        Ok(own)
    }

    /// Ends a machine's process and takes away what it had in the network, as far as there is any of it.
    pub(super) fn end(&self, vmid: u32) {
        let process = self.processes().remove(&vmid);
        if let Some(process) = process {
            process.end();
        }
        self.network.unplug(vmid);
    }
}

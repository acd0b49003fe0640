//! What the world asks of its machines, done by processes of QEMU.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::{Qemu, disks};
use crate::simulator::world::vmm::{AgentChannel, Nudge, PowerOn, Report, Vmm, Work};

/// How long the agent may take to give a sign of life.
const AGENT_PING: Duration = Duration::from_secs(3);

impl Vmm for Qemu {
    fn new_file(&self, volume: &str) -> PathBuf {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let name: String =
            volume.chars().map(|letter| if matches!(letter, '/' | ':') { '-' } else { letter }).collect();
        self.0.folder.join("disks").join(format!("{number}-{name}"))
    }

    fn make_disk(&self, file: &Path, bytes: u64) -> Work {
        let file = file.to_owned();
        self.disk_work(move |tools| disks::make(tools, &file, bytes))
    }

    fn copy_disk(&self, from: &Path, to: &Path) -> Work {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.disk_work(move |tools| disks::copy(tools, &from, &to))
    }

    fn link_disk(&self, base: &Path, to: &Path) -> Work {
        let (base, to) = (base.to_owned(), to.to_owned());
        self.disk_work(move |tools| disks::link(tools, &base, &to))
    }

    fn grow_disk(&self, file: &Path, bytes: u64, of: Option<(u32, &str)>) -> Work {
        let file = file.to_owned();
        let Some((vmid, key)) = of else { return self.disk_work(move |tools| disks::grow(tools, &file, bytes)) };
        let node = format!("drive-{key}");
        self.process_work(vmid, move |process| {
            process.qmp("block_resize", json!({"node-name": node, "size": bytes})).map(drop)
        })
    }

    fn make_firmware_variables(&self, file: &Path) -> Work {
        let file = file.to_owned();
        self.disk_work(move |_| disks::make_firmware_variables(&file))
    }

    fn remove(&self, file: &Path) {
        // Files that a scenario brought are not ours.
        if !file.starts_with(&self.0.folder) {
            return;
        }
        let file = file.to_owned();
        self.0.disks.begin(move || {
            let _ = fs::remove_file(file);
        });
    }

    fn power_on(&self, order: Box<PowerOn>) -> Work {
        self.machine_work(order.vmid, move |inner| inner.start(&order))
    }

    fn ask_down(&self, vmid: u32, agent: bool) -> Work {
        self.work(move |inner| {
            let mut report = Report::default();
            let Some(process) = inner.process(vmid) else { return report };
            let agent = process.agent().filter(|_| agent);
            match agent.map(|agent| agent.shutdown(AGENT_PING)) {
                Some(Ok(())) => return report,
                Some(Err(_)) => report.lines.push(format!(
                    "QEMU Guest Agent is not running - VM {vmid} qga command 'guest-ping' failed - got timeout"
                )),
                None => {}
            }
            report.error = process.qmp("system_powerdown", json!({})).err();
            report
        })
    }

    fn power_cut(&self, vmid: u32) -> Work {
        self.machine_work(vmid, move |inner| {
            inner.end(vmid);
            Ok(())
        })
    }

    fn nudge(&self, vmid: u32, nudge: Nudge) -> Work {
        let command = match nudge {
            Nudge::Reset => "system_reset",
            Nudge::Pause => "stop",
            Nudge::Resume => "cont",
        };
        self.process_work(vmid, move |process| process.qmp(command, json!({})).map(drop))
    }

    fn is_running(&self, vmid: u32) -> bool {
        self.0.process(vmid).is_some_and(|process| process.ended().is_none())
    }

    fn agent(&self, vmid: u32) -> Option<Arc<dyn AgentChannel>> {
        let process = self.0.process(vmid)?;
        process.agent().cloned().map(|agent| agent as Arc<dyn AgentChannel>)
    }
}

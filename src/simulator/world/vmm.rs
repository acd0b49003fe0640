//! What really runs machines, where something does: a virtual machine monitor and the disks under it.
//!
//! The world stays the one truth about what there is, and never waits. A job orders work here and looks again at its
//! next step whether it is done; without a monitor there is no work, and the scenario's timings say how long things take.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::World;
use super::cloudinit::Seed;
use super::config::Config;
use super::task::{Step, TaskId};
use crate::simulator::scenario::GuestBehaviour;

/// How often a job looks whether work is done.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs machines and keeps their disks. No method waits. Work on disks is done in the order in which it was begun, and
/// so are the starts and ends of one machine.
pub(crate) trait Vmm: Debug + Send + Sync {
    /// Names a new file for the content of a volume.
    fn new_file(&self, volume: &str) -> PathBuf;

    /// Makes an empty disk.
    fn make_disk(&self, file: &Path, bytes: u64) -> Work;

    /// Makes a copy of a disk or an image, of any format.
    fn copy_disk(&self, from: &Path, to: &Path) -> Work;

    /// Makes a disk that holds only what differs from `base`.
    fn link_disk(&self, base: &Path, to: &Path) -> Work;

    /// Grows a disk: that of the running machine and its drive, or of none.
    fn grow_disk(&self, file: &Path, bytes: u64, of: Option<(u32, &str)>) -> Work;

    /// Makes the variables of the UEFI firmware.
    fn make_firmware_variables(&self, file: &Path) -> Work;

    /// Removes a file that [`Self::new_file`] named.
    fn remove(&self, file: &Path);

    /// Starts a machine's process; done when it runs.
    fn power_on(&self, order: Box<PowerOn>) -> Work;

    /// Asks the guest to go down, by its agent if `agent` is set and it answers, else by the power button.
    fn ask_down(&self, vmid: u32, agent: bool) -> Work;

    /// Ends the process; done when it is gone.
    fn power_cut(&self, vmid: u32) -> Work;

    /// Resets, pauses or resumes.
    fn nudge(&self, vmid: u32, nudge: Nudge) -> Work;

    /// Whether a machine's process runs.
    fn is_running(&self, vmid: u32) -> bool;

    /// The way to the agent in a running machine; none if it has no channel.
    fn agent(&self, vmid: u32) -> Option<Arc<dyn AgentChannel>>;
}

/// What is done to a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// As the reset button does.
    Reset,
    /// Stops its processors.
    Pause,
    /// Lets them go on.
    Resume,
}

/// The way to a guest agent. Calls wait, one after the other: not for the world's own thread.
pub(crate) trait AgentChannel: Debug + Send + Sync {
    /// Waits up to `ping` for the agent, then up to `limit` for the answer to a command.
    fn call(&self, command: &str, arguments: &Value, ping: Duration, limit: Duration) -> Result<Value, AgentError>;
}

/// Why the agent gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgentError {
    /// It does not answer at all.
    Silent,
    /// It answered before, and this command took longer than the limit.
    TimedOut,
    /// It refused the command.
    Refused {
        /// `CommandNotFound`, `GenericError`, …
        class: String,
        /// Its text.
        text: String,
    },
}

/// A machine that is to be started.
#[derive(Debug)]
pub(crate) struct PowerOn {
    pub(crate) vmid: u32,
    /// The configuration, waiting changes done.
    pub(crate) config: Config,
    /// The files behind its drives, by option.
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// What the cloud-init drive gets, and the file that becomes the drive.
    pub(crate) seed: Option<(PathBuf, Seed)>,
    /// The hardware clock, if it is not to be the true time.
    pub(crate) clock: Option<Timestamp>,
    /// What the scenario says of its guest.
    pub(crate) behaviour: GuestBehaviour,
    /// The address that DHCP gives each network card, by option.
    pub(crate) leases: BTreeMap<String, Ipv4Addr>,
    /// The first IPv4 address that each card has, given or leased, by option.
    pub(crate) addresses: BTreeMap<String, Ipv4Addr>,
}

/// How work ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Lines for the log of the task.
    pub(crate) lines: Vec<String>,
    /// The exit status of the task, if it failed.
    pub(crate) error: Option<String>,
}

impl From<Result<(), String>> for Report {
    fn from(result: Result<(), String>) -> Self {
        Self { lines: Vec::new(), error: result.err() }
    }
}

/// Work that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Work(Arc<Mutex<Option<Report>>>);

/// The end of some work that says how it ended. Work whose end is lost has failed.
#[derive(Debug)]
pub(crate) struct Finish(Arc<Mutex<Option<Report>>>);

impl Work {
    /// Work with its other end.
    pub(crate) fn begin() -> (Self, Finish) {
        let report = Arc::new(Mutex::new(None));
        (Self(report.clone()), Finish(report))
    }

    /// Work that is done already.
    pub(crate) fn ended(report: impl Into<Report>) -> Self {
        Self(Arc::new(Mutex::new(Some(report.into()))))
    }

    /// How it ended; none while it goes on.
    pub(crate) fn report(&self) -> Option<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Finish {
    /// Says how the work ended.
    pub(crate) fn with(self, report: impl Into<Report>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.into());
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.get_or_insert_with(|| Err("the simulator gave this work up".to_owned()).into());
    }
}

/// Work that a job waits for before it goes on.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Vec<Work>);

impl Awaited {
    /// Waits for this, too.
    pub(crate) fn add(&mut self, work: impl IntoIterator<Item = Work>) {
        self.0.extend(work);
    }

    /// Nothing if all is done: the job goes on. Else the step that the job takes; `Step::Fail` holds the bare error.
    pub(crate) fn step(&mut self, world: &mut World, task: TaskId) -> Option<Step> {
        while let Some(work) = self.0.first() {
            let Some(report) = work.report() else { return Some(Step::Wait(LOOK_AGAIN)) };
            self.0.remove(0);
            for line in report.lines {
                world.log(task, line);
            }
            if let Some(error) = report.error {
                return Some(Step::Fail(error));
            }
        }
        None
    }
}

impl World {
    /// Takes the work that was begun since it was last asked.
    pub(crate) fn take_begun(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.begun)
    }

    /// Begins work if a monitor runs the machines.
    pub(crate) fn begin(&mut self, work: impl FnOnce(&dyn Vmm) -> Work) {
        if let Some(vmm) = self.vmm.clone() {
            self.begun.push(work(&*vmm));
        }
    }

    /// Whether a machine's process is a real one.
    pub(crate) fn is_real(&self, vmid: u32) -> bool {
        self.vms.get(&vmid).and_then(|vm| vm.run.as_ref()).is_some_and(|run| run.real)
    }

    /// The monitor that runs this machine; none if its guest is simulated.
    pub(crate) fn vmm_of(&self, vmid: u32) -> Option<Arc<dyn Vmm>> {
        self.vmm.clone().filter(|_| self.is_real(vmid))
    }

    /// Notes which processes have ended by themselves.
    pub(crate) fn notice_ends(&mut self) {
        let Some(vmm) = self.vmm.clone() else { return };
        let real = self.vms.iter().filter(|(_, vm)| vm.run.as_ref().is_some_and(|run| run.real));
        let ended: Vec<u32> = real.map(|(vmid, _)| *vmid).filter(|vmid| !vmm.is_running(*vmid)).collect();
        for vmid in ended {
            self.power_off(vmid);
        }
    }

    /// All that a monitor needs to start a machine.
    pub(crate) fn power_on_order(&self, vmid: u32) -> Result<Box<PowerOn>, String> {
        let vm = self.vms.get(&vmid).ok_or_else(|| format!("there is no VM {vmid}"))?;
        let config = Config { values: vm.config.future(), ..Config::default() };
        let (mut files, mut seed) = (BTreeMap::new(), None);
        for (key, drive) in config.drives().filter(|(_, drive)| drive.storage().is_some()) {
            let file = self.file_of(&vm.node, &drive.file)?;
            if drive.is_cloudinit() {
                seed = Some((file.clone(), self.seed(vmid, &vm.node, &config)?));
            }
            files.insert(key.to_owned(), file);
        }
        let behaviour = self.behaviour(&config);
        let leases = self.leases(vmid, &config);
        let addresses = self.addresses(vmid, &config, &behaviour);
        let off = SignedDuration::from_secs(behaviour.clock_offset);
        let clock = (!off.is_zero()).then(|| self.timestamp(self.now()).checked_add(off).ok()).flatten();
        Ok(Box::new(PowerOn { vmid, config, files, seed, clock, behaviour, leases, addresses }))
    }

    /// The file behind a volume.
    pub(crate) fn file_of(&self, node: &str, volid: &str) -> Result<PathBuf, String> {
        let (storage, name) = volid.split_once(':').unwrap_or_default();
        let volume = self.storages.get(storage).and_then(|storage| storage.volume(node, name));
        let volume = volume.ok_or_else(|| format!("volume '{volid}' does not exist"))?;
        volume.file.clone().ok_or_else(|| {
            format!("volume '{volid}' has no content: name a file of this machine for it in the scenario (storage '{storage}', files)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_whose_end_is_lost_has_failed() {
        let (work, finish) = Work::begin();
        assert_eq!(work.report(), None);
        drop(finish);
        assert!(work.report().unwrap().error.unwrap().contains("gave this work up"));
    }

    #[test]
    fn work_ends_as_it_is_told() {
        let (work, finish) = Work::begin();
        finish.with(Report { lines: vec!["a line".into()], error: None });
        assert_eq!(work.report(), Some(Report { lines: vec!["a line".into()], error: None }));
    }
}

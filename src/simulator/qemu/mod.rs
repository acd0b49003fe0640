//! Real guests behind a simulated hypervisor: each machine is a process of QEMU on disks, a cloud-init drive and a
//! network that are real, too.
//!
//! Nothing but what was made here is ever ended or removed: processes of our own, a network namespace that goes with
//! them, and files in a folder of our own. All of it goes when the simulator does, however it ends.
//!
//! What differs from a node: every disk is a qcow2 file, whatever the format of its volume; processors are `host` under
//! KVM and `max` in software, whatever `cpu` says; what would be plugged into a running machine waits for its next
//! start, as with `hotplug: 0`; there is no hibernation, no TPM, and of the agent's calls not those about files and
//! passwords. All of that is refused where it is asked for, or said in the task.

mod acceleration;
mod agent;
mod disks;
mod error;
mod fetch;
mod iso;
mod lane;
mod machine;
mod network;
mod process;
mod qmp;
mod rules;
mod tools;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, DirBuilder};
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use self::acceleration::Verdict;
pub use self::error::QemuError;
pub use self::fetch::ImageInfo;
use self::lane::Lane;
use self::machine::Folder;
use self::network::Network;
use self::process::Process;
use self::tools::Tools;
use super::scenario::{QemuSpec, Scenario};
use super::world::vmm::{AgentChannel, Nudge, PowerOn, Report, Vmm, Work};
use crate::watchdog::Watchdog;

/// Longest path of a folder with room for the sockets in it: their names have a limit of 107 letters.
const LONGEST_FOLDER: usize = 107 - "/run/999999999/serial0.sock".len();
/// How long the agent may take to give a sign of life.
const AGENT_PING: Duration = Duration::from_secs(3);

/// Runs the machines of a world by QEMU. Cheap to clone; the last one dropped ends and removes all.
#[derive(Clone, Debug)]
pub struct Qemu(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: QemuSpec,
    tools: Tools,
    folder: PathBuf,
    /// Numbers the folders of machines and the files of volumes.
    numbers: AtomicU64,
    verdict: Mutex<Option<Verdict>>,
    // Dropped in this order: what runs, what it writes to, what it is connected to, and who cleans up at last.
    processes: Mutex<BTreeMap<u32, Arc<Process>>>,
    /// Where each machine is started and ended, one after the other.
    machines: Mutex<BTreeMap<u32, Lane>>,
    disks: Lane,
    network: Network,
    watchdog: Arc<Watchdog>,
}

impl Qemu {
    /// Gets all ready for the machines of a scenario; none runs yet.
    pub fn start(scenario: &Scenario) -> Result<Self, QemuError> {
        let spec = scenario.qemu.clone().unwrap_or_default();
        let tools = Tools::find()?;
        rules::check(scenario)?;
        check_files(scenario)?;
        let folder = make_folder(&spec)?;
        for name in ["disks", "run"] {
            let path = folder.join(name);
            fs::create_dir(&path).map_err(QemuError::file("create", path))?;
        }
        // What stays is not watched over.
        let watched = if spec.keep { folder.join("run") } else { folder.clone() };
        let watchdog = Watchdog::over(&watched).map_err(QemuError::file("watch over", &watched))?;
        let watchdog = Arc::new(watchdog);
        let network = Network::build(scenario, &tools, folder.join("run"), &watchdog)?;
        let disks = Lane::start("guest-disks").map_err(QemuError::Thread)?;
        let verdict = Mutex::new(acceleration::known(&spec, &acceleration::cache(&tools)));
        let (numbers, processes, machines) = (AtomicU64::new(1), Mutex::default(), Mutex::default());
        let inner = Inner { spec, tools, folder, numbers, verdict, processes, machines, disks, network, watchdog };
        Ok(Self(Arc::new(inner)))
    }

    /// Where disks and console logs are.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// How processors are run and why; none until a machine was tried.
    pub fn acceleration(&self) -> Option<String> {
        self.0.verdict.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|verdict| verdict.why.clone())
    }

    /// Addresses of the routers in the guests' network.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.0.network.gateways()
    }

    /// What the guest of a running machine has written on its first serial port.
    pub fn console(&self, vmid: u32) -> Option<String> {
        self.0.process(vmid).map(|process| process.console())
    }

    /// The number of a running machine's process.
    pub fn pid(&self, vmid: u32) -> Option<u32> {
        self.0.process(vmid).filter(|process| process.ended().is_none()).map(|process| process.id())
    }

    /// Listens on a port of every router, where guests reach it.
    pub(super) fn listen(&self, port: u16) -> Result<Vec<TcpListener>, QemuError> {
        self.0.network.listen_on_gateways(port)
    }

    /// Names a new file for a download.
    fn download_file(&self) -> PathBuf {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        self.0.folder.join("disks").join(format!("{number}-download"))
    }

    /// Begins work on disks, after all that was begun before.
    fn disk_work(&self, deed: impl FnOnce(&Tools) -> Result<(), String> + Send + 'static) -> Work {
        let ((work, finish), tools) = (Work::begin(), self.0.tools.clone());
        self.0.disks.begin(move || finish.with(deed(&tools)));
        work
    }

    /// Begins other work.
    fn work<R: Into<Report>>(&self, deed: impl FnOnce(&Inner) -> R + Send + 'static) -> Work {
        let ((work, finish), inner) = (Work::begin(), self.0.clone());
        // A thread that cannot be started has lost the work, and the work says so.
        let _ = std::thread::Builder::new().name("guest-work".to_owned()).spawn(move || finish.with(deed(&inner)));
        work
    }

    /// Begins to start or end a machine, after all such work on it that was begun before.
    fn machine_work<R: Into<Report>>(&self, vmid: u32, deed: impl FnOnce(&Inner) -> R + Send + 'static) -> Work {
        let ((work, finish), inner) = (Work::begin(), self.0.clone());
        let mut machines = self.0.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = match machines.entry(vmid) {
            Entry::Occupied(lane) => lane.into_mut(),
            Entry::Vacant(place) => match Lane::start("guest-machine") {
                Ok(lane) => place.insert(lane),
                Err(error) => return Work::ended(Err(format!("cannot start a thread: {error}"))),
            },
        };
        lane.begin(move || finish.with(deed(&inner)));
        work
    }

    /// Begins work on a running process.
    fn process_work(&self, vmid: u32, deed: impl FnOnce(&Process) -> Result<(), String> + Send + 'static) -> Work {
        self.work(move |inner| match inner.process(vmid) {
            Some(process) => deed(&process),
            None => Err(format!("VM {vmid} not running")),
        })
    }
}

impl Inner {
    fn processes(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, vmid: u32) -> Option<Arc<Process>> {
        self.processes().get(&vmid).cloned()
    }

    fn start(&self, order: &PowerOn) -> Report {
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
        let line = machine::command_line(order, &self.spec, verdict.argument, &folder)?;
        lines.extend(line.remarks);
        self.network.plug(order).map_err(|error| error.to_string())?;
        let process = Process::start(&self.tools.qemu, &line.arguments, folder, &self.network, &self.watchdog)?;
        let process = Arc::new(process);
        self.processes().insert(order.vmid, process.clone());
        if let Err((said, error)) = process.wait_until_it_runs() {
            lines.extend(said);
            self.end(order.vmid);
            return Err(error);
        }
        let down = order.config.nets().filter(|(_, net)| net.rest.get("link_down") == Some("1"));
        for (key, _) in down {
            process.qmp("set_link", json!({"name": key, "up": false}))?;
        }
        Ok(())
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
        let found = acceleration::probe(order, &self.tools, &folder, &self.network, &self.watchdog, &cache)?;
        Ok(verdict.insert(found).clone())
    }

    fn end(&self, vmid: u32) {
        let process = self.processes().remove(&vmid);
        if let Some(process) = process {
            process.end();
            self.network.unplug(vmid);
        }
    }
}

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

/// Makes a new folder that only its owner reads.
fn make_folder(spec: &QemuSpec) -> Result<PathBuf, QemuError> {
    let parent = spec.folder.clone().unwrap_or_else(std::env::temp_dir);
    let parent = fs::canonicalize(&parent).map_err(QemuError::file("find", parent))?;
    for number in 0.. {
        let folder = parent.join(format!("stevedore-guests-{}-{number}", std::process::id()));
        if folder.as_os_str().len() > LONGEST_FOLDER {
            return Err(QemuError::LongPath { path: parent, most: LONGEST_FOLDER - 32 });
        }
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(QemuError::file("create", &folder)).map(|()| folder),
        }
    }
    Ok(parent)
}

/// Whether the files are there that the scenario's volumes are to have as content.
fn check_files(scenario: &Scenario) -> Result<(), QemuError> {
    for file in scenario.storages.iter().flat_map(|storage| storage.files.values()) {
        fs::File::open(file).map_err(QemuError::file("read", file))?;
    }
    Ok(())
}

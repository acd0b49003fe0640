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
mod image;
mod iso;
mod lane;
mod machine;
mod network;
mod power;
mod process;
mod qmp;
mod rules;
mod tools;
mod vmm;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, DirBuilder};
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::acceleration::Verdict;
pub use self::error::QemuError;
pub use self::image::{Downloaded, ImageInfo};
use self::lane::Lane;
use self::network::Network;
use self::process::Process;
use self::tools::Tools;
use super::scenario::{QemuSpec, Scenario};
use super::world::vmm::{Report, Work};
use crate::watchdog::Watchdog;

/// Longest path of a folder with room for the sockets in it: their names have a limit of 107 letters.
const LONGEST_FOLDER: usize = 107 - "/run/999999999/serial0.sock".len();

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
}

/// Makes a new folder that only its owner reads.
fn make_folder(spec: &QemuSpec) -> Result<PathBuf, QemuError> {
    let parent = spec.folder.clone().unwrap_or_else(std::env::temp_dir);
    let parent = fs::canonicalize(&parent).map_err(QemuError::file("find", parent))?;
    let mut number = 0_u32;
    loop {
        let folder = parent.join(format!("stevedore-guests-{}-{number}", std::process::id()));
        if folder.as_os_str().len() > LONGEST_FOLDER {
            return Err(QemuError::LongPath { path: parent, most: LONGEST_FOLDER - 32 });
        }
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map_err(QemuError::file("create", &folder)).map(|()| folder),
        }
    }
}

/// Whether the files are there that the scenario's volumes are to have as content.
fn check_files(scenario: &Scenario) -> Result<(), QemuError> {
    for file in scenario.storages.iter().flat_map(|storage| storage.files.values()) {
        fs::File::open(file).map_err(QemuError::file("read", file))?;
    }
    Ok(())
}

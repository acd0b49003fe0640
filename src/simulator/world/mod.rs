//! A simulated Proxmox VE cluster: nodes, storages, virtual machines and tasks as one state machine.
//!
//! Nothing runs in the background: each request first lets happen what was due by then, in the order of time. So
//! thousands of idle machines cost nothing, virtual time works, and one seed gives one world.

pub(crate) mod access;
pub(crate) mod cloudinit;
pub(crate) mod config;
mod dice;
pub(crate) mod drives;
mod engine;
pub(crate) mod guests;
mod hands;
pub(crate) mod jobs;
pub(crate) mod programs;
pub(crate) mod prop;
pub(crate) mod refusal;
pub(crate) mod storage;
pub(crate) mod task;
pub(crate) mod update;
pub(crate) mod vm;
pub(crate) mod vmm;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use access::Access;
use config::{Config, Drive};
use dice::Dice;
use engine::{Agenda, Flock};
use prop::Net;
use refusal::{Refusal, no_config};
use storage::{Storage, Volume, format_of, owner_of};
use task::{Task, TaskId};
use vm::Vm;
use vmm::{Vmm, Work};

use crate::clock::{BootTime, SharedClock};
use crate::simulator::fetch::{Declared, Fetch};
use crate::simulator::guest_exec::GuestEnd;
use crate::simulator::scenario::{MachineSpec, NodeSpec, Release, Scenario};

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) spec: NodeSpec,
    /// When it went off; absent while it runs.
    pub(crate) off_since: Option<BootTime>,
    /// When it was switched on.
    pub(crate) on_since: BootTime,
    /// Whether the daemon that does the protected calls runs.
    pub(crate) daemon: bool,
    /// Whether the cluster file system runs.
    pub(crate) pmxcfs: bool,
    /// Whether it is in maintenance.
    pub(crate) maintenance: bool,
    /// Absent for a node that was never there.
    pub(crate) fingerprint: Option<String>,
    /// Its certificate as PEM; empty when it listens on no socket.
    pub(crate) pem: String,
    publish_offset: Duration,
    next_pid: u32,
    /// Finished tasks, oldest first.
    finished: Vec<TaskId>,
}

/// A simulated cluster with all that is in it.
#[derive(Debug)]
pub struct World {
    clock: SharedClock,
    pub(crate) scenario: Scenario,
    now: BootTime,
    /// Seconds since 1970 at the start of the boot clock.
    wall_base: f64,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) quorate: bool,
    pub(crate) storages: BTreeMap<String, Storage>,
    pub(crate) vms: BTreeMap<u32, Vm>,
    /// Of machines that are gone: when they went, and what had been published of them last.
    gone: BTreeMap<u32, (BootTime, vm::Published)>,
    pub(crate) access: Access,
    /// Where downloads come from.
    pub(crate) fetch: Arc<dyn Fetch>,
    tasks: BTreeMap<TaskId, Task>,
    by_upid: HashMap<String, TaskId>,
    next_task: TaskId,
    flocks: HashMap<u32, Flock>,
    agenda: Agenda,
    dice: Dice,
    lives: u64,
    /// What really runs machines; absent: all guests are simulated.
    pub(crate) vmm: Option<Arc<dyn Vmm>>,
    /// Work that was begun and that no job has taken yet.
    begun: Vec<Work>,
    /// Guests that went down since they were last asked for.
    pub(crate) ended_guests: Vec<GuestEnd>,
    /// The certificate authority's fingerprint and PEM, and each node's own.
    pub(crate) certificates: Certificates,
    /// Identity of the installation, the organisational unit of its certificate authority.
    pub(crate) installation: String,
}

/// Certificates as `/nodes/N/certificates/info` shows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates {
    /// SHA-256 of the cluster's authority, upper case with colons.
    pub(crate) authority: String,
    /// PEM text, empty when no server was started.
    pub(crate) authority_pem: String,
}

impl World {
    /// The world that `scenario` describes, beginning now.
    pub fn new(scenario: Scenario, clock: SharedClock) -> Self {
        Self::with_vmm(scenario, clock, None)
    }

    /// The same, with machines that `vmm` really runs.
    pub(crate) fn with_vmm(scenario: Scenario, clock: SharedClock, vmm: Option<Arc<dyn Vmm>>) -> Self {
        let mut dice = Dice::new(scenario.seed);
        let now = clock.boot();
        let nodes = scenario.nodes.iter().map(|spec| (spec.name.clone(), node(spec, now, &mut dice))).collect();
        let storages = scenario.storages.iter().map(|spec| (spec.name.clone(), Storage::new(spec.clone()))).collect();
        let installation = dice.uuid();
        let certificates = Certificates { authority: fingerprint(&mut dice), ..Certificates::default() };
        let mut world = Self {
            access: Access::new(&scenario),
            fetch: Arc::new(Declared::of(&scenario)),
            now,
            wall_base: 0.0,
            nodes,
            quorate: true,
            storages,
            vms: BTreeMap::new(),
            gone: BTreeMap::new(),
            tasks: BTreeMap::new(),
            by_upid: HashMap::new(),
            next_task: 1,
            flocks: HashMap::new(),
            agenda: Agenda::default(),
            dice,
            lives: 0,
            vmm,
            begun: Vec::new(),
            ended_guests: Vec::new(),
            certificates,
            installation,
            clock,
            scenario,
        };
        world.read_clock();
        world.furnish();
        world
    }

    fn furnish(&mut self) {
        let (names, now): (Vec<String>, _) = (self.nodes.keys().cloned().collect(), self.wall());
        for storage in self.storages.values_mut() {
            storage.fill(&names, now);
        }
        self.bring_files(&names);
        for machine in self.scenario.machines.clone() {
            self.place(&machine);
        }
        // What fails here shows when the disk is used.
        self.take_begun();
    }

    /// Puts the volumes there whose content is a file of this machine. A disk is laid over its file, which stays as it is.
    fn bring_files(&mut self, nodes: &[String]) {
        let made = self.wall();
        let specs: Vec<_> = self.scenario.storages.iter().map(|spec| (spec.name.clone(), spec.files.clone())).collect();
        for (storage, files) in specs {
            for (name, path) in files {
                let mut volume = Volume::at_start(&name, image_bytes(&path), made);
                for node in nodes {
                    volume.file = Some(path.clone());
                    if let Some(vmm) = self.vmm.clone().filter(|_| volume.content == "images") {
                        let own = vmm.new_file(&format!("{storage}:{name}"));
                        self.begin(|vmm| vmm.link_disk(&path, &own));
                        volume.file = Some(own);
                    }
                    if let Some(storage) = self.storages.get_mut(&storage) {
                        storage.put(node, volume.clone());
                    }
                }
            }
        }
    }

    /// Puts a machine of the scenario into the world.
    fn place(&mut self, spec: &MachineSpec) {
        let (vmid, node) = (spec.vmid, spec.node.as_str());
        let mut config = Config { values: spec.config.clone(), pending: BTreeMap::new() };
        let nets: Vec<_> = config.nets().map(|(key, net)| (key.to_owned(), net)).collect();
        for (key, net) in nets {
            let net = self.with_mac(net);
            config.set(&key, net.print());
        }
        self.draw_identity(&mut config);
        let drives: Vec<_> = config.drives().map(|(_, drive)| drive).collect();
        for drive in drives {
            self.place_volume(node, &drive);
        }
        let life = self.new_life(vmid);
        self.add(vmid, Vm::new(node, life, config));
        if spec.running {
            self.boot_up(vmid, true, false);
        }
        // A node that was never there has published nothing.
        if self.nodes.get(node).is_none_or(|node| node.off_since.is_none()) {
            self.note(vmid);
        }
    }

    fn place_volume(&mut self, node: &str, drive: &Drive) {
        let Some((storage, name)) = drive.file.split_once(':') else { return };
        let (size, made) = (drive.size().unwrap_or(4 << 20), self.wall());
        let Some(storage) = self.storages.get_mut(storage) else { return };
        if storage.volume(node, name).is_none() {
            let (vmid, format) = (owner_of(name), format_of(name));
            let (name, content) = (name.to_owned(), "images".to_owned());
            let file = self.vmm.as_ref().map(|vmm| vmm.new_file(&drive.file));
            storage.put(
                node,
                Volume { name, vmid, size, format, content, parent: None, sums: None, made, file: file.clone() },
            );
            if let Some(file) = file.filter(|_| !drive.is_cdrom()) {
                self.begin(|vmm| vmm.make_disk(&file, size));
            }
        }
    }

    /// Draws what every machine gets at its creation and does not have yet (recorded 180).
    pub(crate) fn draw_identity(&mut self, config: &mut Config) {
        if config.get("vmgenid").is_none() {
            config.set("vmgenid", self.dice.uuid());
        }
        if config.get("smbios1").is_none() {
            config.set("smbios1", format!("uuid={}", self.dice.uuid()));
        }
        if config.get("meta").is_none() {
            config.set("meta", format!("creation-qemu=10.0.2,ctime={}", self.wall()));
        }
    }

    /// Draws identity anew, as a clone does (recorded 366).
    pub(crate) fn redraw_identity(&mut self, config: &mut Config) {
        config.set("smbios1", format!("uuid={}", self.dice.uuid()));
        if config.get("vmgenid").is_some() {
            config.set("vmgenid", self.dice.uuid());
        }
        let nets: Vec<_> = config.nets().map(|(key, net)| (key.to_owned(), net)).collect();
        for (key, mut net) in nets {
            net.mac = Some(self.dice.mac());
            config.set(&key, net.print());
        }
    }

    /// Draws a hardware address for a card that has none (recorded 828).
    pub(crate) fn with_mac(&mut self, mut net: Net) -> Net {
        if net.mac.as_deref().is_none_or(str::is_empty) {
            net.mac = Some(self.dice.mac());
        }
        net
    }

    pub(crate) fn new_life(&mut self, vmid: u32) -> String {
        self.lives += 1;
        format!("{}-{vmid}-{}", self.scenario.cluster.as_deref().unwrap_or("node"), self.lives)
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.dice.below(below)
    }

    pub(crate) fn now(&self) -> BootTime {
        self.now
    }

    /// Seconds since 1970.
    #[expect(clippy::cast_possible_truncation, reason = "a wall clock in seconds")]
    pub(crate) fn wall(&self) -> i64 {
        self.wall_at(self.now) as i64
    }

    pub(crate) fn wall_at(&self, at: BootTime) -> f64 {
        self.wall_base + at.since_start().as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "a wall clock in seconds")]
    fn read_clock(&mut self) {
        let wall = self.clock.wall().as_millisecond() as f64 / 1000.0;
        self.wall_base = wall - self.clock.boot().since_start().as_secs_f64();
    }

    pub(crate) fn is_v9(&self) -> bool {
        self.scenario.release == Release::V9
    }

    /// The machine, if its configuration is on `node`.
    pub(crate) fn vm_on(&self, node: &str, vmid: u32) -> Result<&Vm, Refusal> {
        self.vms.get(&vmid).filter(|vm| vm.node == node).ok_or_else(|| Refusal::no_config(node, vmid))
    }

    /// The same for a task, which says it as text.
    pub(crate) fn vm_of(&self, node: &str, vmid: u32) -> Result<&Vm, String> {
        self.vms.get(&vmid).filter(|vm| vm.node == node).ok_or_else(|| no_config(node, vmid))
    }

    /// The machine that is there for sure.
    pub(crate) fn vm_mut(&mut self, vmid: u32) -> Option<&mut Vm> {
        self.vms.get_mut(&vmid)
    }

    /// Puts a new machine there.
    pub(crate) fn add(&mut self, vmid: u32, vm: Vm) {
        let earlier = self.gone.remove(&vmid);
        self.vms.insert(vmid, vm.after(earlier));
    }

    /// Takes a machine away; the last that was published of it is seen until the next round.
    pub(crate) fn take(&mut self, vmid: u32) -> Option<Vm> {
        self.lose_guest(vmid);
        let vm = self.vms.remove(&vmid)?;
        if let Some(seen) = vm.published(self.round_of(&vm.node)) {
            self.gone.insert(vmid, (self.now, seen.clone()));
        }
        Some(vm)
    }

    /// Notes a change of a machine for the next round of publishing.
    pub(crate) fn note(&mut self, vmid: u32) {
        let now = self.now;
        let Some(vm) = self.vms.get(&vmid) else { return };
        let round = self.round_of(&vm.node);
        if let Some(vm) = self.vms.get_mut(&vmid) {
            vm.note(vmid, now, round);
        }
    }

    /// The last round at which `node` published the state of its machines.
    pub(crate) fn round_of(&self, node: &str) -> BootTime {
        let Some(node) = self.nodes.get(node) else { return self.now };
        let until = node.off_since.unwrap_or(self.now);
        vm::last_round(until, self.scenario.timings.publish.span(), node.publish_offset)
    }

    /// The lowest free VMID of the datacenter's range.
    pub(crate) fn next_id(&self) -> Option<u32> {
        let (lower, upper) = self.scenario.next_id;
        (lower..upper).find(|vmid| !self.vms.contains_key(vmid))
    }

    /// VMIDs of the machines on `node`.
    pub(crate) fn vmids_on(&self, node: &str) -> BTreeSet<u32> {
        self.vms.iter().filter(|(_, vm)| vm.node == node).map(|(vmid, _)| *vmid).collect()
    }

    /// Whether a bridge is there on `node`.
    pub(crate) fn has_bridge(&self, node: &str, bridge: &str) -> bool {
        let here = |nodes: &[String]| nodes.is_empty() || nodes.iter().any(|name| name == node);
        self.scenario.bridges.iter().any(|spec| spec.name == bridge && here(&spec.nodes))
    }
}

/// Bytes of the disk in an image: that which a qcow2 file names in its head, else the file's own size.
fn image_bytes(path: &Path) -> u64 {
    let mut head = [0; 32];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    if read.is_ok() && head.starts_with(b"QFI\xfb") {
        return u64::from_be_bytes(std::array::from_fn(|at| head[24 + at]));
    }
    std::fs::metadata(path).map_or(0, |data| data.len())
}

fn node(spec: &NodeSpec, now: BootTime, dice: &mut Dice) -> Node {
    Node {
        spec: spec.clone(),
        off_since: (!spec.online).then_some(now),
        on_since: now,
        daemon: true,
        pmxcfs: true,
        maintenance: false,
        fingerprint: Some(fingerprint(dice)).filter(|_| spec.online),
        pem: String::new(),
        publish_offset: Duration::from_millis(dice.below(10_000)),
        next_pid: 600 + u32::try_from(dice.below(400)).unwrap_or(0),
        finished: Vec::new(),
    }
}

fn fingerprint(dice: &mut Dice) -> String {
    let bytes = (0..4).flat_map(|_| dice.draw().to_be_bytes());
    bytes.map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

//! Saving a machine's memory to disk, and reading it back.

use super::super::World;
use super::super::storage::Volume;
use super::super::task::{Job, Step, TaskId};

/// What the configuration tells of a hibernated machine (recorded 638).
const SAVED: [&str; 5] = ["lock", "vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu"];
/// Space for a machine's state besides twice its memory, in bytes.
const STATE_BYTES: u64 = 500 << 20;

/// Saves the memory to disk and ends the process; the configuration stays locked (recorded 635 to 641).
#[derive(Debug)]
pub(crate) struct HibernateJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
}

impl HibernateJob {
    /// Allocates the volume for the state beside the first disk; absent if there is none.
    fn allocate(&self, world: &mut World) -> Option<String> {
        let (made, day) = (world.wall(), world.timestamp(world.now()).strftime("%Y-%m-%d").to_string());
        let config = world.vms.get(&self.vmid)?.config.clone();
        let (_, drive) = config.drives().find(|(_, drive)| !drive.is_cdrom())?;
        let storage = drive.storage()?;
        let size = config.memory_bytes() * 2 + STATE_BYTES;
        let place = world.storages.get_mut(storage)?;
        let name = place.name_of(self.vmid, &format!("vm-{}-state-suspend-{day}", self.vmid), "raw");
        let volid = format!("{storage}:{name}");
        let (format, content) = ("raw".to_owned(), "images".to_owned());
        place.put(
            &self.node,
            Volume { name, vmid: Some(self.vmid), size, format, content, parent: None, sums: None, made, file: None },
        );
        Some(volid)
    }
}

impl Job for HibernateJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        if world.is_real(self.vmid) {
            return Step::Fail("the simulator cannot hibernate a machine that QEMU runs".into());
        }
        let Some(volume) = self.allocate(world) else { return Step::Fail("no storage for the state".into()) };
        world.power_off(self.vmid);
        let (machine, v9) = (world.machine_type(), world.is_v9());
        if let Some(vm) = world.vm_mut(self.vmid) {
            let config = &mut vm.config;
            let cards: Vec<_> = config.nets().map(|(key, _)| format!("{key}=1500")).collect();
            if v9 && !cards.is_empty() {
                config.set("running-nets-host-mtu", cards.join(","));
            }
            let cpu = config.get("cpu").unwrap_or("kvm64").to_owned();
            config.set("runningcpu", cpu);
            config.set("runningmachine", machine);
            config.set("vmstate", volume);
            config.set("lock", "suspended");
        }
        world.log(task, "State saved, quitting");
        Step::Done
    }
}

/// Reads the saved state of a machine that starts again, and removes it (recorded 641).
pub(super) fn wake(world: &mut World, task: TaskId, vmid: u32) {
    let v9 = world.is_v9();
    let Some(vm) = world.vm_mut(vmid) else { return };
    let (node, volume) = (vm.node.clone(), vm.config.get("vmstate").unwrap_or_default().to_owned());
    let cards: Vec<_> = vm.config.nets().map(|(key, _)| key.to_owned()).collect();
    for key in SAVED {
        vm.config.values.remove(key);
    }
    world.free_volume(&node, vmid, &volume);
    world.log(task, "Resuming suspended VM");
    for card in cards.iter().filter(|_| v9) {
        world.log(task, format!("netdev {card}: using 'host_mtu=1500' for migration compat"));
    }
    if !volume.is_empty() {
        world.log(task, format!("activating and using '{volume}' as vmstate"));
    }
    world.log(task, "Resumed VM, removing state");
}

impl World {
    /// The machine type that QEMU runs.
    pub(crate) fn machine_type(&self) -> &'static str {
        if self.is_v9() { "pc-i440fx-10.0+pve1" } else { "pc-i440fx-10.0+pve0" }
    }
}

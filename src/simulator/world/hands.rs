//! What people and accidents do to a world, besides the API: for tests and demonstrations.

use std::time::Duration;

use super::World;
use super::access::Caller;
use super::jobs::StartJob;
use super::refusal::no_config;
use crate::simulator::scenario::{AclSpec, MachineSpec};

impl World {
    /// Switches a node off, as by a power cut: its machines are off, its tasks die without cleaning up.
    pub fn power_cut(&mut self, node: &str) {
        let now = self.now();
        if let Some(node) = self.nodes.get_mut(node) {
            node.off_since.get_or_insert(now);
        }
        let tasks: Vec<_> = self.running().filter(|(_, task)| task.upid.node == node).map(|(id, _)| id).collect();
        for id in tasks {
            self.kill(id);
        }
        for vmid in self.vmids_on(node) {
            self.end_process(vmid);
            self.lose_guest(vmid);
            if let Some(vm) = self.vm_mut(vmid) {
                vm.run = None;
            }
        }
    }

    /// Takes a node off the network although it and its machines go on.
    pub fn isolate(&mut self, node: &str) {
        let now = self.now();
        if let Some(node) = self.nodes.get_mut(node) {
            node.off_since.get_or_insert(now);
        }
    }

    /// Brings a node back.
    pub fn bring_back(&mut self, node: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.off_since = None;
        }
        for vmid in self.vmids_on(node) {
            self.note(vmid);
        }
    }

    /// Gives or takes the quorum.
    pub fn set_quorate(&mut self, quorate: bool) {
        self.quorate = quorate;
    }

    /// Starts or stops the daemon that does a node's protected calls.
    pub fn set_daemon(&mut self, node: &str, runs: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.daemon = runs;
        }
    }

    /// Starts or stops a node's cluster file system.
    pub fn set_pmxcfs(&mut self, node: &str, runs: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.pmxcfs = runs;
        }
    }

    /// Puts a node into maintenance or takes it out.
    pub fn set_maintenance(&mut self, node: &str, on: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.maintenance = on;
        }
    }

    /// Names of the volumes of a content type on a storage, as a node sees it.
    pub fn volumes(&self, node: &str, storage: &str, content: &str) -> Vec<String> {
        let storage = self.storages.get(storage);
        let volumes = storage.into_iter().flat_map(|storage| storage.volumes(node));
        volumes.filter(|volume| volume.content == content).map(|volume| volume.name.clone()).collect()
    }

    /// Deletes a volume by hand, whoever it belongs to.
    pub fn delete_volume(&mut self, node: &str, storage: &str, name: &str) {
        if let Some(storage) = self.storages.get_mut(storage) {
            storage.take(node, name);
        }
    }

    /// Makes a storage reachable or not.
    pub fn set_storage_active(&mut self, storage: &str, active: bool) {
        if let Some(storage) = self.storages.get_mut(storage) {
            storage.spec.active = active;
        }
    }

    /// Changes what a storage may hold.
    pub fn set_storage_content(&mut self, storage: &str, content: &[&str]) {
        if let Some(storage) = self.storages.get_mut(storage) {
            storage.spec.content = content.iter().map(|kind| (*kind).to_owned()).collect();
        }
    }

    /// Fills a storage up to `free_gib` GiB.
    pub fn fill_storage(&mut self, storage: &str, free_gib: u64) {
        if let Some(storage) = self.storages.get_mut(storage) {
            storage.spec.used_gib = storage.spec.size_gib.saturating_sub(free_gib);
        }
    }

    /// Puts another machine into the world.
    pub fn add_machine(&mut self, machine: &MachineSpec) {
        self.place(machine);
    }

    /// Removes a machine with its disks, whatever state it is in.
    pub fn remove_machine(&mut self, vmid: u32) {
        self.end_process(vmid);
        if let Some(vm) = self.take(vmid) {
            self.free_drives(&vm.node, vmid, &vm.config);
        }
    }

    /// Removes a machine's volumes behind its back.
    pub fn lose_volumes(&mut self, vmid: u32) {
        if let Some((node, config)) = self.vms.get(&vmid).map(|vm| (vm.node.clone(), vm.config.clone())) {
            self.free_drives(&node, vmid, &config);
        }
    }

    /// Changes one option of a machine by hand; `None` deletes it.
    pub fn edit_machine(&mut self, vmid: u32, key: &str, value: Option<&str>) {
        if let Some(vm) = self.vm_mut(vmid) {
            match value {
                Some(value) => vm.config.set(key, value),
                None => {
                    vm.config.values.remove(key);
                }
            }
        }
        self.note(vmid);
    }

    /// Moves a machine to another node, as a finished migration does.
    pub fn move_machine(&mut self, vmid: u32, node: &str) {
        let Some(from) = self.vms.get(&vmid).map(|vm| vm.node.clone()) else { return };
        for storage in self.storages.values_mut() {
            storage.carry(vmid, &from, node);
        }
        if let Some(vm) = self.vm_mut(vmid) {
            node.clone_into(&mut vm.node);
        }
    }

    /// Powers a machine on by hand.
    pub fn power_on_machine(&mut self, vmid: u32) {
        if self.vms.get(&vmid).is_some_and(|vm| vm.run.is_none()) {
            if self.vmm.is_some() {
                return self.order_start(vmid);
            }
            if let Some(vm) = self.vm_mut(vmid) {
                vm.config.apply_pending();
            }
            self.boot_up(vmid, false, false);
        }
    }

    /// A real process takes its time to start: a task, as a person's.
    fn order_start(&mut self, vmid: u32) {
        let Some(node) = self.vms.get(&vmid).map(|vm| vm.node.clone()) else { return };
        let job = Box::new(StartJob::new(&node, vmid));
        self.fork(&node, "qmstart", &vmid.to_string(), &Caller::user("root@pam"), job);
    }

    /// Ends a machine's process at once, as `poweroff` in the guest does in the end.
    pub fn power_off_machine(&mut self, vmid: u32) {
        if self.vms.get(&vmid).is_some_and(|vm| vm.run.is_some()) {
            self.power_off(vmid);
        }
    }

    /// Reboots a guest from inside: waiting changes still wait.
    pub fn reboot_machine(&mut self, vmid: u32) {
        self.reboot_guest(vmid);
    }

    /// Makes a guest's agent fall silent until the guest boots again.
    pub fn silence_agent(&mut self, vmid: u32) {
        if let Some(run) = self.vm_mut(vmid).and_then(|vm| vm.run.as_mut()) {
            run.guest.agent_at = None;
        }
    }

    /// Kills the running tasks of a kind on a machine without letting them clean up, as a crash of the daemon does.
    pub fn kill_tasks(&mut self, kind: &str) {
        let tasks: Vec<_> = self.running().filter(|(_, task)| task.upid.kind == kind).map(|(id, _)| id).collect();
        for id in tasks {
            self.kill(id);
        }
    }

    /// Takes an API token away.
    pub fn revoke_token(&mut self, user: &str, token: &str) {
        self.access.revoke(user, token);
    }

    /// Adds or replaces an access control entry.
    pub fn grant(&mut self, entry: AclSpec) {
        self.access.grant(entry);
    }

    /// Removes the access control entries of `to` on `path`.
    pub fn withdraw(&mut self, path: &str, to: &str) {
        self.access.withdraw(path, to);
    }

    /// How long each task took that has ended, with its kind, oldest first.
    pub fn task_times(&self) -> Vec<(String, Duration)> {
        let mut times: Vec<(String, Duration)> =
            self.tasks().filter_map(|task| Some((task.upid.kind.clone(), task.times.1?.since(task.times.0)))).collect();
        times.reverse();
        times
    }

    /// VMIDs of all machines, with the node of each.
    pub fn machines(&self) -> Vec<(u32, String)> {
        self.vms.iter().map(|(vmid, vm)| (*vmid, vm.node.clone())).collect()
    }

    /// One option of a machine, as it is written now.
    pub fn option(&self, vmid: u32, key: &str) -> Option<String> {
        self.vms.get(&vmid).and_then(|vm| vm.config.get(key)).map(str::to_owned)
    }

    /// All options of a machine, as they are written now; none if there is no such machine.
    pub fn settings(&self, vmid: u32) -> std::collections::BTreeMap<String, String> {
        self.vms.get(&vmid).map(|vm| vm.config.values.clone()).unwrap_or_default()
    }

    /// Whether a machine's process runs; the error says that there is no such machine.
    pub fn is_running(&self, vmid: u32) -> Result<bool, String> {
        self.vms.get(&vmid).map(|vm| vm.run.is_some()).ok_or_else(|| no_config("*", vmid))
    }

    /// The names of all volumes that a machine owns, on every node and storage.
    pub fn volumes_of(&self, vmid: u32) -> Vec<String> {
        let nodes: Vec<&String> = self.nodes.keys().collect();
        let mut names = std::collections::BTreeSet::new();
        for storage in self.storages.values() {
            for node in &nodes {
                let own = storage.volumes(node).filter(|volume| volume.vmid == Some(vmid));
                names.extend(own.map(|volume| format!("{}:{}", storage.spec.name, volume.name)));
            }
        }
        names.into_iter().collect()
    }
}

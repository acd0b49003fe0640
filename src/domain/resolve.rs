//! Which VM each entry of a session means. That is found out once: the VM's id stays in the task.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::api::reasons::TaskReason;
use crate::api::session::ProtectedVm;
use crate::api::task::MAX_VM_NAME;
use crate::hypervisor::inventory::Inventory;

/// VMs of the same name that a message names.
const NAMED: usize = 5;

/// What an entry of a session means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The VM, as its task names it.
    pub vm: ProtectedVm,
    /// Why it cannot be processed, if it cannot.
    pub refusal: Option<Refusal>,
}

/// Why a VM cannot be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, as it stands in the task's status.
    pub reason: TaskReason,
    /// The same for people.
    pub message: String,
}

/// Finds VMs in an inventory.
#[derive(Debug)]
pub struct Resolver<'a> {
    inventory: &'a Inventory,
    workers: &'a BTreeSet<String>,
    by_name: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Resolver<'a> {
    /// `workers`: the ids of VMs that are workers. The inventory must be complete.
    pub fn new(inventory: &'a Inventory, workers: &'a BTreeSet<String>) -> Self {
        let mut by_name: HashMap<&str, Vec<&str>> = HashMap::new();
        for (id, vm) in &inventory.vms {
            if let Some(name) = &vm.name {
                by_name.entry(name).or_default().push(id);
            }
        }
        Self { inventory, workers, by_name }
    }

    /// What each entry means. `made`: the VMs of tasks that exist already, by the place of their entry; what a task names
    /// cannot be changed any more.
    pub fn all(&self, wanted: &[ProtectedVm], made: &BTreeMap<usize, ProtectedVm>) -> Vec<Resolved> {
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut all = Vec::with_capacity(wanted.len());
        for (index, wanted) in wanted.iter().enumerate() {
            let mut resolved = match made.get(&index) {
                Some(made) => self.again(wanted, made),
                None => self.one(wanted),
            };
            if let (None, Some(id)) = (&resolved.refusal, &resolved.vm.id) {
                let before = *first.entry(id.clone()).or_insert(index);
                if before != index {
                    let text = format!("the session names VM {id} twice; the task of index {before} processes it");
                    resolved.refusal = Some(Refusal { reason: TaskReason::Duplicate, message: text });
                }
            }
            all.push(resolved);
        }
        all
    }

    fn one(&self, wanted: &ProtectedVm) -> Resolved {
        match self.find(wanted) {
            Ok(vm) => Resolved { vm, refusal: None },
            Err(why) => Resolved { vm: wanted.clone(), refusal: Some(why) },
        }
    }

    /// A task that was made without an id for its VM was made for one that could not be found.
    fn again(&self, wanted: &ProtectedVm, made: &ProtectedVm) -> Resolved {
        let is_settled = made.id.is_some() || made.host.is_some();
        let found = self.find(if is_settled { made } else { wanted });
        let refusal = match found {
            Err(why) => Some(why),
            Ok(_) if is_settled => None,
            Ok(_) => {
                let name = made.name.as_deref().unwrap_or_default();
                let text = format!("there was no VM named {name:?} when the session's tasks were made");
                Some(Refusal { reason: TaskReason::NotFound, message: text })
            }
        };
        Resolved { vm: made.clone(), refusal }
    }

    fn find(&self, wanted: &ProtectedVm) -> Result<ProtectedVm, Refusal> {
        match wanted {
            ProtectedVm { id: Some(id), .. } => self.by_id(id),
            ProtectedVm { name: Some(name), .. } => self.by_name(name),
            ProtectedVm { host: Some(host), .. } if !self.inventory.hosts.contains_key(host) => {
                Err(Refusal { reason: TaskReason::HostMissing, message: format!("the cluster has no host {host}") })
            }
            _ => Ok(wanted.clone()),
        }
    }

    fn by_name(&self, name: &str) -> Result<ProtectedVm, Refusal> {
        let (reason, message) = match self.by_name.get(name).map_or(&[][..], Vec::as_slice) {
            [id] => return self.by_id(id),
            [] => (TaskReason::NotFound, format!("the hypervisor has no VM named {name:?}")),
            many => {
                let more = if many.len() > NAMED { ", …" } else { "" };
                let ids = many[..many.len().min(NAMED)].join(", ");
                let text = format!("{} VMs are named {name:?} ({ids}{more}): give the id instead", many.len());
                (TaskReason::AmbiguousName, text)
            }
        };
        Err(Refusal { reason, message })
    }

    fn by_id(&self, id: &str) -> Result<ProtectedVm, Refusal> {
        if self.workers.contains(id) {
            let message = format!("VM {id} is a worker, and workers are neither backed up nor restored");
            return Err(Refusal { reason: TaskReason::IsWorker, message });
        }
        let Some(vm) = self.inventory.vms.get(id) else {
            let message = format!("the hypervisor has no VM {id}");
            return Err(Refusal { reason: TaskReason::NotFound, message });
        };
        let name = vm.name.clone().filter(|name| is_sayable(name));
        Ok(ProtectedVm { id: Some(id.to_owned()), name, host: None })
    }
}

/// Whether a task may hold this name, and hand it to a command.
fn is_sayable(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= MAX_VM_NAME && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::inventory::{HostSummary, VmSummary};
    use crate::hypervisor::vm::Power;

    fn inventory() -> Inventory {
        let vm = |name: &str| VmSummary {
            host: "pve1".into(),
            name: Some(name.into()).filter(|name: &String| !name.is_empty()),
            power: Power::On,
            tags: Vec::new(),
            lock: None,
            template: None,
        };
        let vms = [("101", "web"), ("102", "db"), ("103", "db"), ("104", ""), ("105", "a\u{7}b"), ("5000", "worker")];
        let host = HostSummary { online: true, maintenance: false, cpus: 4, memory: 1 };
        Inventory {
            quorate: true,
            vms: vms.into_iter().map(|(id, name)| (id.to_owned(), vm(name))).collect(),
            hosts: [("pve1".to_owned(), host)].into(),
            ..Inventory::default()
        }
    }

    fn id(id: &str) -> ProtectedVm {
        ProtectedVm { id: Some(id.into()), ..ProtectedVm::default() }
    }

    fn name(name: &str) -> ProtectedVm {
        ProtectedVm { name: Some(name.into()), ..ProtectedVm::default() }
    }

    fn host(host: &str) -> ProtectedVm {
        ProtectedVm { host: Some(host.into()), ..ProtectedVm::default() }
    }

    fn both(id: &str, name: &str) -> ProtectedVm {
        ProtectedVm { id: Some(id.into()), name: Some(name.into()), host: None }
    }

    fn resolve(wanted: &[ProtectedVm], made: &[(usize, ProtectedVm)]) -> Vec<(ProtectedVm, Option<TaskReason>)> {
        let (inventory, workers) = (inventory(), BTreeSet::from(["5000".to_owned()]));
        let made = made.iter().cloned().collect();
        let all = Resolver::new(&inventory, &workers).all(wanted, &made);
        all.into_iter().map(|one| (one.vm, one.refusal.map(|why| why.reason))).collect()
    }

    #[test]
    fn a_vm_is_found_by_id_or_by_its_name() {
        let found = resolve(&[id("101"), name("db"), id("104"), id("105"), host("pve1")], &[]);
        let expected = [
            (both("101", "web"), None),
            (name("db"), Some(TaskReason::AmbiguousName)),
            (id("104"), None),
            (id("105"), None),
            (host("pve1"), None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_processed_says_why() {
        use TaskReason::{Duplicate, HostMissing, IsWorker, NotFound};
        let wanted = [id("999"), name("nobody"), id("5000"), name("worker"), host("pve9"), id("101"), name("web")];
        let reasons: Vec<_> = resolve(&wanted, &[]).into_iter().map(|(_, reason)| reason).collect();
        let expected =
            [Some(NotFound), Some(NotFound), Some(IsWorker), Some(IsWorker), Some(HostMissing), None, Some(Duplicate)];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn several_new_vms_may_be_restored_to_one_host() {
        assert_eq!(resolve(&[host("pve1"), host("pve1")], &[]), [(host("pve1"), None), (host("pve1"), None)]);
    }

    #[test]
    fn a_task_that_exists_keeps_the_vm_that_it_names() {
        // The name has come to mean another VM since.
        let renamed = resolve(&[name("web"), id("101")], &[(0, both("102", "web"))]);
        assert_eq!(renamed, [(both("102", "web"), None), (both("101", "web"), None)]);
        // It was not there when its task was made, and is now.
        let came = resolve(&[name("web")], &[(0, name("web"))]);
        assert_eq!(came, [(name("web"), Some(TaskReason::NotFound))]);
        // It was there, and is gone.
        let went = resolve(&[name("gone")], &[(0, both("999", "gone"))]);
        assert_eq!(went, [(both("999", "gone"), Some(TaskReason::NotFound))]);
        assert_eq!(resolve(&[host("pve1")], &[(0, host("pve1"))]), [(host("pve1"), None)]);
    }

    #[test]
    fn a_message_stays_short_however_many_vms_share_a_name() {
        let mut inventory = inventory();
        let twin = inventory.vms["102"].clone();
        inventory.vms.extend((1000..2000).map(|id: u32| (id.to_string(), twin.clone())));
        let workers = BTreeSet::new();
        let all = Resolver::new(&inventory, &workers).all(&[name("db")], &BTreeMap::new());
        let message = &all[0].refusal.as_ref().unwrap().message;
        assert!(message.starts_with("1002 VMs are named \"db\" (1000, ") && message.len() < 100, "{message}");
    }
}

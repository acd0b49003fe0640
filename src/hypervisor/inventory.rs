//! What one poll of a hypervisor shows.

use std::collections::BTreeMap;

use super::vm::Power;

/// A snapshot of all VMs, hosts and storages that the credential can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Whether the cluster says that it is quorate. Without it, absence proves nothing.
    pub quorate: bool,
    /// The VMs, by id.
    pub vms: BTreeMap<String, VmSummary>,
    /// The hosts, by name.
    pub hosts: BTreeMap<String, HostSummary>,
    /// The storages, by host and name.
    pub storages: BTreeMap<(String, String), StorageSummary>,
}

/// One VM in the inventory. Where it is, its tags and its lock are live; name, power and template may be some
/// seconds old, and are not known for a VM that was made just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSummary {
    /// The host it is on.
    pub host: String,
    /// Its name, if it is known yet.
    pub name: Option<String>,
    /// Power, some seconds old.
    pub power: Power,
    /// Its tags, lower case.
    pub tags: Vec<String>,
    /// The configuration lock it carries.
    pub lock: Option<String>,
    /// Whether it is a template; `None` if that is not known yet.
    pub template: Option<bool>,
}

/// One host in the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSummary {
    /// Whether it takes part in the cluster.
    pub online: bool,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// CPUs, 0 if not known.
    pub cpus: u32,
    /// Memory, bytes, 0 if not known.
    pub memory: u64,
}

/// One storage of one host in the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSummary {
    /// Its type, such as `lvmthin`.
    pub kind: String,
    /// What it takes, such as `images`.
    pub content: Vec<String>,
    /// Whether several hosts see the same one.
    pub shared: bool,
    /// Whether it can be used.
    pub available: bool,
}

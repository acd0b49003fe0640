//! The values that go into a hypervisor and come out of it, the same for every provider.

pub mod image;
pub mod making;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::image::ImageWanted;
use crate::domain::identity::{Mark, Shown};

/// Where a VM is: host (Proxmox VE: node name) and id (Proxmox VE: VMID; HyperCore: uuid).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VmRef {
    /// The host it is on.
    pub host: String,
    /// Its id.
    pub id: String,
}

impl fmt::Display for VmRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VM {} on {}", self.id, self.host)
    }
}

/// What a provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name, as in `Hypervisor.spec.provider`.
    pub provider: &'static str,
    /// VM ids are chosen by us, out of a range, so that the id makes a creating call idempotent.
    pub chooses_ids: bool,
    /// Requests of one poll.
    pub requests_per_poll: u32,
}

/// The answer to "who are you?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Such as `Proxmox VE`.
    pub product: String,
    /// Such as `8.4.1`.
    pub version: String,
    /// Which cluster answers.
    pub identity: ClusterIdentity,
    /// Whether the cluster says that it is quorate.
    pub quorate: bool,
    /// When the server's certificate ends, if it was seen.
    pub certificate_ends: Option<Timestamp>,
}

/// What tells one cluster from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// The cluster's name; a lone node's name if there is no cluster.
    pub name: String,
    /// The names of its nodes, sorted.
    pub nodes: Vec<String>,
    /// SHA-256 fingerprint of the cluster's own root CA, upper-case pairs with colons; empty if it was not readable.
    pub ca_fingerprint: String,
}

/// What is in use on a hypervisor, so that privileges are needed there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// Names of storages.
    pub storages: BTreeSet<String>,
    /// Names of bridges.
    pub bridges: BTreeSet<String>,
    /// The storages that images are downloaded onto, each with the host that does it.
    pub images: BTreeSet<(String, String)>,
}

/// A privilege that the credential lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPrivilege {
    /// Such as `VM.Allocate`.
    pub privilege: String,
    /// Such as `/vms`.
    pub path: String,
}

impl MissingPrivilege {
    /// Whether it is missing on something that some workers name (a storage, a bridge, a host that downloads their
    /// image): the others can go on.
    pub fn concerns_some_workers(&self) -> bool {
        ["/storage/", "/sdn/", "/nodes/"].iter().any(|start| self.path.starts_with(start))
    }
}

impl fmt::Display for MissingPrivilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.privilege, self.path)
    }
}

/// The VM that a worker declares, resolved: what it must look like before it may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmWanted {
    /// The host it is declared on.
    pub host: String,
    /// The storage of its disks.
    pub storage: String,
    /// What it is made from.
    pub image: ImageWanted,
    /// Its name.
    pub name: String,
    /// What people wrote as its description; the mark's block is added to it.
    pub description: String,
    /// The mark, complete once the VM's id is known.
    pub mark: Mark,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// The least size of its boot disk, GiB.
    pub disk_gib: u64,
    /// Its network cards, in order; the first routes.
    pub networks: Vec<NetworkWanted>,
    /// DNS servers; empty: what DHCP (or the host) says.
    pub dns_servers: Vec<IpAddr>,
    /// DNS search domains; empty: what DHCP (or the host) says.
    pub search_domains: Vec<String>,
    /// The Linux user that people log in as.
    pub user: String,
    /// OpenSSH public keys of that user.
    pub authorized_keys: Vec<String>,
}

/// One network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkWanted {
    /// Its name in the declaration.
    pub name: String,
    /// The bridge (Proxmox VE).
    pub bridge: String,
    /// VLAN tag, 1–4094.
    pub vlan: Option<u16>,
    /// MTU, bytes.
    pub mtu: Option<u16>,
    /// How it gets an IPv4 address.
    pub ipv4: AddressWanted,
    /// How it gets an IPv6 address.
    pub ipv6: AddressWanted,
}

/// How a network card gets an address of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressWanted {
    /// Not at all.
    None,
    /// By DHCP.
    Dhcp,
    /// By router advertisements (IPv6).
    Auto,
    /// As declared.
    Static {
        /// The address.
        address: IpAddr,
        /// Its prefix length, bits.
        prefix: u8,
        /// The default router, on the first network at most.
        gateway: Option<IpAddr>,
    },
}

/// A VM as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDetail {
    /// Where it is.
    pub at: VmRef,
    /// Its name, empty if it has none.
    pub name: String,
    /// What it shows of its identity.
    pub shown: Shown,
    /// Power, live.
    pub power: Power,
    /// The configuration lock it carries, such as `clone`.
    pub lock: Option<String>,
    /// Whether it is a template.
    pub template: bool,
    /// Whether it is protected against removal.
    pub protected: bool,
    /// Size of its boot disk, bytes; `None` if it has none or its size is not given.
    pub disk_bytes: Option<u64>,
    /// Its network cards' MAC addresses in upper case, in order.
    pub macs: Vec<String>,
    /// Every setting of its configuration, as the provider spells it.
    pub config: BTreeMap<String, String>,
    /// The provider's digest of the configuration, for compare-and-swap; empty if it has none.
    pub digest: String,
}

impl VmDetail {
    /// A VM that is powered off, of which nothing is known but its configuration.
    pub fn bare(at: VmRef, config: BTreeMap<String, String>) -> Self {
        Self {
            at,
            name: String::new(),
            shown: Shown::default(),
            power: Power::Off,
            lock: None,
            template: false,
            protected: false,
            disk_bytes: None,
            macs: Vec::new(),
            config,
            digest: String::new(),
        }
    }
}

/// Whether a VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Power {
    /// Powered on, paused included.
    On,
    /// Powered off.
    Off,
    /// Not known (a VM that was made seconds ago, a host that is away).
    Unknown,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::Unknown => "Unknown",
        })
    }
}

/// One setting that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field of the declaration, such as `resources.memory` or `networks[0]`.
    pub field: String,
    /// What it is now, in the provider's words; empty if unset.
    pub from: String,
    /// What it must become.
    pub to: String,
    /// What it takes to change it.
    pub takes: Takes,
}

/// What a change takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One change of the configuration, while powered off.
    Configure,
    /// Growing the disk, while powered off.
    Grow,
    /// Another VM: the declaration names another storage, or a smaller disk.
    Redeploy,
}

/// Something that stands in the way of making a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Its kind.
    pub kind: ObstacleKind,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// The kinds of [`Obstacle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObstacleKind {
    /// No such host in the cluster.
    HostMissing,
    /// The host is away just now.
    HostOffline,
    /// The host has fewer CPUs, or less memory, than the VM is to have.
    HostTooSmall,
    /// No such storage on that host, or it takes no disks, or it is not active.
    StorageMissing,
    /// The storage cannot make snapshots.
    StorageSnapshotsUnsupported,
    /// Whether the storage can make snapshots is not known.
    StorageSnapshotsUnknown,
    /// No such template on that host.
    TemplateMissing,
    /// More than one template of that name on that host.
    TemplateAmbiguous,
    /// No such storage for images on that host, or it is not active.
    ImageStorageMissing,
    /// The storage for images cannot hold them: no content type for them, or not made of files.
    ImageStorageUnsuitable,
    /// No such bridge on that host.
    BridgeMissing,
}

/// What is needed to make a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOrder {
    /// What it must become.
    pub wanted: VmWanted,
    /// Where and under which id.
    pub at: VmRef,
    /// The earliest moment at which a task of this order can have started (the intent's time).
    pub since: Timestamp,
}

/// A changing call was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It is done.
    Done,
    /// A task works on it; nothing may have happened yet.
    Task(TaskHandle),
}

/// A task on a hypervisor (Proxmox VE: a UPID).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskHandle(pub String);

impl fmt::Display for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It works.
    Running,
    /// It ended well; warnings are for people (a leaked disk, for instance).
    Succeeded {
        /// Lines worth a person's attention.
        warnings: Vec<String>,
    },
    /// It failed.
    Failed {
        /// Its error text.
        message: String,
        /// The kind of fault in that text.
        kind: crate::domain::fault::FaultKind,
    },
    /// Killed, forgotten, or its host restarted: what it did must be observed.
    Lost,
}

/// One address of a running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestAddress {
    /// The card's MAC address, upper case.
    pub mac: String,
    /// The address.
    pub address: IpAddr,
    /// Its prefix length, bits.
    pub prefix: u8,
}

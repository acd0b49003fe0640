//! Nodes, storages, bridges, and the machines that are there at the start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeSpec {
    /// Name.
    pub name: String,
    /// Whether it runs.
    pub online: bool,
    /// Address in the cluster network.
    pub address: Option<IpAddr>,
    /// Processors.
    pub cores: u32,
    /// Memory in GiB.
    pub memory_gib: u64,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self { name: "pve1".into(), online: true, address: None, cores: 16, memory_gib: 128 }
    }
}

/// Kind of a storage; decides volume names and what it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// A folder.
    #[default]
    Dir,
    /// A network file system.
    Nfs,
    /// Thick LVM: no thin clones, no snapshots.
    Lvm,
    /// Thin LVM.
    LvmThin,
    /// ZFS.
    ZfsPool,
    /// Ceph.
    Rbd,
}

impl StorageKind {
    /// Whether volumes are files, with a folder per virtual machine and a format in their name.
    pub fn is_files(self) -> bool {
        matches!(self, Self::Dir | Self::Nfs)
    }

    /// The type as the API names it.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Nfs => "nfs",
            Self::Lvm => "lvm",
            Self::LvmThin => "lvmthin",
            Self::ZfsPool => "zfspool",
            Self::Rbd => "rbd",
        }
    }
}

/// A storage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StorageSpec {
    /// Name.
    pub name: String,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: StorageKind,
    /// Whether all nodes see the same volumes.
    pub shared: bool,
    /// Content types (`images`, `rootdir`, `iso`, `import`, `snippets`, `vztmpl`, `backup`).
    pub content: Vec<String>,
    /// Nodes that have it; empty for all.
    pub nodes: Vec<String>,
    /// Size in GiB.
    pub size_gib: u64,
    /// Space taken at the start besides the listed volumes, in GiB.
    pub used_gib: u64,
    /// False when it cannot be reached.
    pub active: bool,
    /// False when an administrator switched it off.
    pub enabled: bool,
    /// Folder of a file storage.
    pub path: Option<String>,
    /// Images and disks that exist at the start: volume name below the storage (`import/debian-12.qcow2`,
    /// `iso/x.iso`, `100/vm-100-disk-0.raw`) to size in bytes.
    pub volumes: BTreeMap<String, u64>,
    /// Volumes at the start whose content is a file of this machine: volume name to path. Guests that QEMU runs read
    /// it and never write it; to simulated ones it has the file's size and nothing in it.
    pub files: BTreeMap<String, PathBuf>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            name: "local".into(),
            kind: StorageKind::Dir,
            shared: false,
            content: vec!["images".into(), "rootdir".into()],
            nodes: Vec::new(),
            size_gib: 500,
            used_gib: 20,
            active: true,
            enabled: true,
            path: None,
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }
}

/// A bridge and the network behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BridgeSpec {
    /// Name.
    pub name: String,
    /// Nodes that have it; empty for all.
    pub nodes: Vec<String>,
    /// Network in CIDR form.
    pub subnet: String,
    /// Router of that network.
    pub gateway: Option<IpAddr>,
    /// Whether a DHCP server answers there.
    pub dhcp: bool,
    /// Whether it passes VLAN tags on.
    pub vlan_aware: bool,
    /// The networks behind VLAN tags. One that is not named here has no router and no DHCP server.
    pub vlans: BTreeMap<u16, SegmentSpec>,
}

/// A network behind a VLAN tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SegmentSpec {
    /// Network with prefix length; absent: nobody has an address there but the guests.
    pub subnet: Option<String>,
    /// Router of that network.
    pub gateway: Option<IpAddr>,
    /// Whether a DHCP server answers there.
    pub dhcp: bool,
}

impl Default for BridgeSpec {
    fn default() -> Self {
        Self {
            name: "vmbr0".into(),
            nodes: Vec::new(),
            subnet: "10.77.0.0/24".into(),
            gateway: None,
            dhcp: true,
            vlan_aware: false,
            vlans: BTreeMap::new(),
        }
    }
}

impl BridgeSpec {
    /// The network that a card with this VLAN tag is in.
    pub fn segment(&self, tag: Option<u16>) -> SegmentSpec {
        match tag {
            None => SegmentSpec { subnet: Some(self.subnet.clone()), gateway: self.gateway, dhcp: self.dhcp },
            Some(tag) => self.vlans.get(&tag).cloned().unwrap_or_default(),
        }
    }

    /// The network's prefix length, if `address` lies in it.
    pub fn prefix_of(&self, address: IpAddr) -> Option<u8> {
        let (network, prefix) = self.subnet.split_once('/')?;
        let (network, prefix) = (network.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
        let (IpAddr::V4(network), IpAddr::V4(address)) = (network, address) else { return None };
        let shift = 32u32.checked_sub(u32::from(prefix))?;
        let head = |address: std::net::Ipv4Addr| u32::from(address).checked_shr(shift).unwrap_or(0);
        (head(network) == head(address)).then_some(prefix)
    }
}

/// A virtual machine or template that exists at the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MachineSpec {
    /// VMID.
    pub vmid: u32,
    /// Node.
    pub node: String,
    /// Whether it runs.
    pub running: bool,
    /// Configuration, as the API would show it. Disks that it names are made, `size=` says how large. `net0` without a
    /// hardware address draws one; `smbios1`, `vmgenid` and `meta` are drawn when absent.
    pub config: BTreeMap<String, String>,
}

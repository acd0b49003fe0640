//! The description of a simulated Proxmox VE world: what stands there at the start, how long things take, and what is
//! wrong with it. Read from YAML or JSON; every field has a default.

mod demo;
mod guests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::Rule;
pub use demo::{DEMO_SECRET, DEMO_TOKEN};
pub(crate) use guests::glob;
pub use guests::{AgentPresence, GuestBehaviour, GuestRule};

/// A scenario that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be opened.
    #[error("the scenario file {path} could not be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is not a scenario.
    #[error("{origin} is not a scenario: {source}")]
    Parse {
        /// Where the text came from.
        origin: String,
        /// What is wrong, with line and column.
        source: serde_yaml::Error,
    },
}

/// The release whose behaviour is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Release {
    /// Proxmox VE 8.4 (pve-manager 8.4.21).
    #[serde(rename = "8.4")]
    V8,
    /// Proxmox VE 9.2 (pve-manager 9.2.11).
    #[default]
    #[serde(rename = "9.2")]
    V9,
}

/// A whole world.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// Simulated release.
    pub release: Release,
    /// Cluster name; absent for a lone node.
    pub cluster: Option<String>,
    /// Seed of everything that is drawn: hardware addresses, UUIDs, process numbers.
    pub seed: u64,
    /// Nodes.
    pub nodes: Vec<NodeSpec>,
    /// Storages.
    pub storages: Vec<StorageSpec>,
    /// Bridges; each exists on every node unless it names some.
    pub bridges: Vec<BridgeSpec>,
    /// Virtual machines and templates that exist at the start.
    pub machines: Vec<MachineSpec>,
    /// Users with their tokens.
    pub users: Vec<UserSpec>,
    /// Roles besides the built-in ones: name to privileges.
    pub roles: BTreeMap<String, Vec<String>>,
    /// Access control entries.
    pub acls: Vec<AclSpec>,
    /// Tags whose use needs `Sys.Modify` on `/` (datacenter option `registered-tags`).
    pub registered_tags: Vec<String>,
    /// The range of `/cluster/nextid`, lower bound included, upper bound excluded.
    pub next_id: (u32, u32),
    /// How long things take.
    pub timings: Timings,
    /// What the guests' network offers.
    pub network: NetworkSpec,
    /// Behaviour of guests by name; the first rule whose pattern fits counts.
    pub guests: Vec<GuestRule>,
    /// What goes wrong between clients and the cluster.
    pub faults: Vec<Rule>,
    /// Where guests may keep files, one folder per life of a machine.
    pub guest_root: Option<PathBuf>,
    /// Finished tasks that each node remembers.
    pub task_retention: usize,
    /// Protected calls that a node serves at once (`MAX_WORKERS` of pvedaemon).
    pub daemon_workers: usize,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            release: Release::default(),
            cluster: None,
            seed: 1,
            nodes: vec![NodeSpec::default()],
            storages: Vec::new(),
            bridges: Vec::new(),
            machines: Vec::new(),
            users: Vec::new(),
            roles: BTreeMap::new(),
            acls: Vec::new(),
            registered_tags: Vec::new(),
            next_id: (100, 1_000_000),
            timings: Timings::default(),
            network: NetworkSpec::default(),
            guests: Vec::new(),
            faults: Vec::new(),
            guest_root: None,
            task_retention: 1000,
            daemon_workers: 3,
        }
    }
}

impl Scenario {
    /// Reads a scenario from YAML or JSON text; `origin` names the text in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ScenarioError> {
        serde_yaml::from_str(text).map_err(|source| ScenarioError::Parse { origin: origin.to_owned(), source })
    }

    /// Reads a scenario file.
    pub fn from_file(path: &Path) -> Result<Self, ScenarioError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ScenarioError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// The behaviour of the guest named `name`.
    pub fn behaviour_of(&self, name: &str) -> GuestBehaviour {
        self.guests.iter().find(|rule| rule.fits(name)).map(|rule| rule.behaviour.clone()).unwrap_or_default()
    }
}

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
        }
    }
}

impl BridgeSpec {
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

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserSpec {
    /// `name@realm`.
    pub id: String,
    /// Password for `/access/ticket`; absent: no login.
    pub password: Option<String>,
    /// False for a disabled account.
    pub enabled: bool,
    /// API tokens.
    pub tokens: Vec<TokenSpec>,
}

impl Default for UserSpec {
    fn default() -> Self {
        Self { id: String::new(), password: None, enabled: true, tokens: Vec::new() }
    }
}

/// An API token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenSpec {
    /// Name after the `!`.
    pub id: String,
    /// Secret.
    pub secret: String,
    /// Privilege separation: rights are the intersection of the user's and the token's.
    pub privsep: bool,
    /// Seconds since 1970 after which it is refused.
    pub expire: Option<i64>,
}

impl Default for TokenSpec {
    fn default() -> Self {
        Self { id: String::new(), secret: String::new(), privsep: true, expire: None }
    }
}

/// One access control entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AclSpec {
    /// Path, such as `/` or `/vms/100`.
    pub path: String,
    /// `user@realm` or `user@realm!token`.
    pub to: String,
    /// Role.
    pub role: String,
    /// Whether it holds below the path, too.
    #[serde(default = "yes")]
    pub propagate: bool,
}

fn yes() -> bool {
    true
}

/// A span of time in seconds, fractions allowed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// The span; zero for what is not a span of time.
    pub fn span(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or(Duration::ZERO)
    }
}

/// How long things take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timings {
    /// Every answer.
    pub api_latency: Seconds,
    /// From the answer with a UPID to the worker's first deed.
    pub fork: Seconds,
    /// Allocating an empty disk.
    pub allocate: Seconds,
    /// Importing one image.
    pub import: Seconds,
    /// Copying the disks of a full clone, in all.
    pub full_clone: Seconds,
    /// One disk of a linked clone.
    pub linked_clone: Seconds,
    /// Starting the virtual machine's process.
    pub start: Seconds,
    /// From there to an answering guest agent.
    pub boot: Seconds,
    /// A guest's way from the request to power-off.
    pub shutdown: Seconds,
    /// Stopping hard.
    pub stop: Seconds,
    /// Resizing a disk.
    pub resize: Seconds,
    /// Destroying a virtual machine.
    pub destroy: Seconds,
    /// Delay of a 401 answer.
    pub auth_failure: Seconds,
    /// Wait for an agent that does not answer.
    pub agent_wait: Seconds,
    /// Wait for a configuration's file lock.
    pub lock_wait: Seconds,
    /// How long 9.2 holds the file lock of a machine that was started within a second after it stopped.
    pub restart_latch: Seconds,
    /// Interval at which a node publishes the state of its machines.
    pub publish: Seconds,
    /// Trying to reach a node that is off.
    pub unreachable: Seconds,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            api_latency: Seconds(0.0),
            fork: Seconds(0.02),
            allocate: Seconds(0.3),
            import: Seconds(8.0),
            full_clone: Seconds(12.0),
            linked_clone: Seconds(0.5),
            start: Seconds(1.5),
            boot: Seconds(20.0),
            shutdown: Seconds(4.0),
            stop: Seconds(0.5),
            resize: Seconds(0.3),
            destroy: Seconds(1.0),
            auth_failure: Seconds(3.0),
            agent_wait: Seconds(3.0),
            lock_wait: Seconds(10.0),
            restart_latch: Seconds(30.0),
            publish: Seconds(10.0),
            unreachable: Seconds(3.0),
        }
    }
}

/// What the guests' network offers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// Names that resolve.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Targets that accept TCP connections, as `host:port`.
    pub open: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_survives_yaml() {
        let demo = Scenario::default_demo();
        let text = serde_yaml::to_string(&demo).unwrap();
        let back = Scenario::parse("test", &text).unwrap();
        assert_eq!(serde_yaml::to_string(&back).unwrap(), text);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_origin() {
        let error = Scenario::parse("lab.yaml", "nodez: []").unwrap_err().to_string();
        assert!(error.contains("lab.yaml") && error.contains("nodez"), "{error}");
    }
}

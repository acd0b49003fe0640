//! The description of a simulated Proxmox VE world: what stands there at the start, how long things take, and what is
//! wrong with it. Read from YAML or JSON; every field has a default.

mod accounts;
mod demo;
mod downloads;
mod guests;
mod hardware;
mod real;
mod timings;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fault::Rule;
use super::guest_exec::UnitState;
pub use accounts::{AclSpec, TokenSpec, UserSpec};
pub use demo::{DEMO_IMAGE, DEMO_SECRET, DEMO_TOKEN};
pub use downloads::{DownloadFailure, DownloadSpec};
pub(crate) use guests::glob;
pub use guests::{AgentPresence, GuestBehaviour, GuestRule};
pub use hardware::{BridgeSpec, MachineSpec, NodeSpec, SegmentSpec, StorageKind, StorageSpec};
pub use real::{Acceleration, QemuSpec};
pub use timings::{Seconds, Timings};

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
    /// It could not be written as YAML.
    #[error("the scenario could not be written as YAML: {0}")]
    Write(serde_yaml::Error),
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
    /// What URLs serve that nodes download from. Others are unknown hosts, or not found on a host that is named here.
    pub downloads: BTreeMap<String, DownloadSpec>,
    /// What the guests' network offers.
    pub network: NetworkSpec,
    /// systemd units that every guest has, by name. A unit that is named nowhere does not exist.
    pub units: BTreeMap<String, UnitState>,
    /// Behaviour of guests by name; the first rule whose pattern fits counts.
    pub guests: Vec<GuestRule>,
    /// What goes wrong between clients and the cluster.
    pub faults: Vec<Rule>,
    /// Machines are real QEMU processes; absent: guests are simulated. For [`Simulator::open`].
    ///
    /// [`Simulator::open`]: super::proxmox::Simulator::open
    pub qemu: Option<QemuSpec>,
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
            downloads: BTreeMap::new(),
            network: NetworkSpec::default(),
            units: BTreeMap::new(),
            guests: Vec::new(),
            faults: Vec::new(),
            qemu: None,
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

    /// The text that [`Self::parse`] reads.
    pub fn to_yaml(&self) -> Result<String, ScenarioError> {
        serde_yaml::to_string(self).map_err(ScenarioError::Write)
    }

    /// The same world where real machines take the time that they take.
    #[must_use]
    pub(crate) fn in_real_time(mut self) -> Self {
        self.timings = self.timings.of_real_machines();
        self
    }

    /// The behaviour of the guest named `name`.
    pub fn behaviour_of(&self, name: &str) -> GuestBehaviour {
        self.guests.iter().find(|rule| rule.fits(name)).map(|rule| rule.behaviour.clone()).unwrap_or_default()
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
        let text = demo.to_yaml().unwrap();
        let back = Scenario::parse("test", &text).unwrap();
        assert_eq!(back.to_yaml().unwrap(), text);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_origin() {
        let error = Scenario::parse("lab.yaml", "nodez: []").unwrap_err().to_string();
        assert!(error.contains("lab.yaml") && error.contains("nodez"), "{error}");
    }
}

//! Answers as they come over the wire: everything optional, unknown keys ignored. See [`super::lenient`].

use serde::Deserialize;

use super::lenient::{flag, list, number, text};

/// `GET /version`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Version {
    #[serde(deserialize_with = "text")]
    pub(super) version: Option<String>,
}

/// One entry of `GET /cluster/resources`: a VM, a node, a storage, or something else.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resource {
    #[serde(rename = "type", deserialize_with = "text")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) node: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) vmid: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) template: Option<bool>,
    #[serde(deserialize_with = "text")]
    pub(super) tags: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) lock: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) hastate: Option<String>,
    #[serde(deserialize_with = "number")]
    pub(super) maxcpu: Option<i64>,
    #[serde(deserialize_with = "number")]
    pub(super) maxmem: Option<i64>,
    #[serde(deserialize_with = "text")]
    pub(super) storage: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) plugintype: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) content: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) shared: Option<bool>,
}

/// One entry of `GET /cluster/ha/status/current`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HaStatus {
    #[serde(rename = "type", deserialize_with = "text")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) quorate: Option<bool>,
    #[serde(deserialize_with = "text")]
    pub(super) status: Option<String>,
}

/// One entry of `GET /cluster/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClusterStatus {
    #[serde(rename = "type", deserialize_with = "text")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) local: Option<bool>,
}

/// One entry of `GET /nodes/{node}/certificates/info`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Certificate {
    #[serde(deserialize_with = "text")]
    pub(super) filename: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) fingerprint: Option<String>,
}

/// `GET /nodes/{node}/qemu/{vmid}/status/current`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VmStatus {
    #[serde(deserialize_with = "text")]
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) lock: Option<String>,
}

/// One entry of `GET /nodes/{node}/tasks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Task {
    #[serde(deserialize_with = "text")]
    pub(super) upid: Option<String>,
    #[serde(rename = "type", deserialize_with = "text")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "number")]
    pub(super) starttime: Option<i64>,
}

/// `GET /nodes/{node}/tasks/{upid}/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TaskStatus {
    #[serde(deserialize_with = "text")]
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) exitstatus: Option<String>,
}

/// One line of a task's log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogLine {
    #[serde(deserialize_with = "text")]
    pub(super) t: Option<String>,
}

/// One entry of `GET /nodes/{node}/storage`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Storage {
    #[serde(rename = "storage", deserialize_with = "text")]
    pub(super) name: Option<String>,
    #[serde(rename = "type", deserialize_with = "text")]
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) content: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) active: Option<bool>,
    #[serde(deserialize_with = "flag")]
    pub(super) enabled: Option<bool>,
}

/// One entry of `GET /nodes/{node}/storage/{storage}/content`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Volume {
    #[serde(deserialize_with = "text")]
    pub(super) volid: Option<String>,
}

/// One entry of `GET /nodes/{node}/network`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    #[serde(deserialize_with = "text")]
    pub(super) iface: Option<String>,
}

/// What an agent call brings: `{"result": …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AgentResult {
    pub(super) result: serde_json::Value,
}

/// One interface of a guest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GuestInterface {
    #[serde(rename = "hardware-address", deserialize_with = "text")]
    pub(super) mac: Option<String>,
    #[serde(rename = "ip-addresses", deserialize_with = "list")]
    pub(super) addresses: Vec<GuestInterfaceAddress>,
}

/// One address of a guest's interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GuestInterfaceAddress {
    #[serde(rename = "ip-address", deserialize_with = "text")]
    pub(super) address: Option<String>,
    #[serde(deserialize_with = "number")]
    pub(super) prefix: Option<i64>,
}

/// The answer to `agent/exec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Exec {
    #[serde(deserialize_with = "number")]
    pub(super) pid: Option<i64>,
}

/// The answer to `agent/exec-status`. The two outputs have one character for each byte.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct ExecStatus {
    #[serde(deserialize_with = "flag")]
    pub(super) exited: Option<bool>,
    #[serde(deserialize_with = "number")]
    pub(super) exitcode: Option<i64>,
    #[serde(deserialize_with = "text")]
    pub(super) out_data: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) err_data: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) out_truncated: Option<bool>,
    #[serde(deserialize_with = "flag")]
    pub(super) err_truncated: Option<bool>,
}

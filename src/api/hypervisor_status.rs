//! What the operator writes back about a `Hypervisor`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::common::Quantity;
use super::conditions::{self, Condition};
use super::shapes;

/// The most orphans that a status lists; `orphanCount` counts them all.
pub const MAX_ORPHANS: usize = 50;

/// The most deletions that a status lists: the highest `deletionsPerHour`, and room for VMs that vanished.
pub const MAX_DELETIONS: usize = 2000;

/// The most hosts that a status lists.
pub const MAX_HOSTS: usize = 64;

/// What the operator found at the hypervisor.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HypervisorStatus {
    /// The generation of the object (`metadata.generation`) that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// What is true of the hypervisor now. `Ready` sums the others up. `Reachable`: an endpoint answers. `Authorized`:
    /// the credential has every privilege that is needed; the message names the missing ones. `CertificateValid`: the
    /// certificate is trusted; the message names its expiry date. `DeletionsHeld`: deletions wait for the hourly
    /// budget. `SharedConnection`: another Hypervisor reaches the same cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// Which cluster this is, kept from the first contact. A cluster with another identity behind the same endpoints
    /// is not touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ClusterIdentity>,

    /// The product, such as Proxmox VE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::short")]
    pub product: Option<String>,

    /// The product's version, such as 9.0.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::short")]
    pub version: Option<String>,

    /// The hosts that are online and all hosts, such as 2/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub hosts_online: Option<String>,

    /// The hosts of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "hosts")]
    pub hosts: Vec<HostStatus>,

    /// How many Workers name this Hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub workers: Option<i32>,

    /// How many of the workers are powered on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub running_workers: Option<i32>,

    /// How many sessions on this Hypervisor have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub sessions: Option<i32>,

    /// The limits in force: those of the spec, defaults filled in, and the lower ones where the cluster is shared with
    /// another Hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<EffectiveLimits>,

    /// VMs that carry the mark of this installation but belong to no Worker, 50 at most. They are reported and never
    /// deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "orphans")]
    pub orphans: Vec<Orphan>,

    /// How many such VMs there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub orphan_count: Option<i32>,

    /// The deletions of the last hour, which the budget `deletionsPerHour` counts, and VMs that vanished without our
    /// doing, which it does not count. An id in this list rests before it is used again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "deletions")]
    pub deletions: Vec<Deletion>,
}

/// Which cluster this is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// The name of the cluster; absent for a node that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub cluster_name: Option<String>,

    /// The names of the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::names")]
    pub nodes: Vec<String>,

    /// The SHA-256 fingerprint of the cluster's root certificate. A lone node is called pve by habit, so that its name
    /// alone proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub ca_fingerprint: Option<String>,
}

/// One host of the cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// The name of the host.
    #[schemars(schema_with = "shapes::name")]
    pub name: String,

    /// Its state: `Online`, `Offline` or `Unknown`.
    #[schemars(schema_with = "shapes::word")]
    pub state: String,

    /// How many CPUs it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cpus: Option<i32>,

    /// How much memory it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// The limits in force.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveLimits {
    /// How many workers are launched at the same time.
    #[schemars(range(min = 0))]
    pub parallel_launches: i32,

    /// How many requests to the hypervisor's API run at the same time.
    #[schemars(range(min = 0))]
    pub parallel_operations: i32,

    /// How many tasks work at the same time on the VMs of one storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tasks_per_storage: Option<i32>,

    /// How many VMs may be deleted within an hour.
    #[schemars(range(min = 0))]
    pub deletions_per_hour: i32,
}

/// A VM that carries our mark but belongs to no Worker.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// The id of the VM.
    #[schemars(schema_with = "shapes::id")]
    pub vm_id: String,

    /// The host that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub host: Option<String>,

    /// The name of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub name: Option<String>,

    /// The namespace and name of the Worker in its mark, such as backup/worker-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::namespaced_name")]
    pub worker: Option<String>,

    /// The UID of the Worker in its mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::id")]
    pub worker_uid: Option<String>,
}

/// A VM that was deleted, or that vanished.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// When it was entered here, which is before the delete is sent.
    pub time: Time,

    /// The id of the VM.
    #[schemars(schema_with = "shapes::id")]
    pub vm_id: String,

    /// The id of the operation that deletes it; one operation counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::short")]
    pub operation: Option<String>,

    /// The VM vanished without our doing: its id rests, but the budget does not count it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vanished: bool,
}

fn hosts(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_HOSTS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": generator.subschema_for::<HostStatus>(),
    })
}

fn orphans(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_ORPHANS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["vmId"],
        "items": generator.subschema_for::<Orphan>(),
    })
}

fn deletions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_DELETIONS,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<Deletion>(),
    })
}

//! `Hypervisor`: how to reach one cluster, and what may be done on it.

#![allow(unreachable_pub, reason = "the derive of KubeSchema puts a copy of each public struct inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Span;
use super::hypervisor_status::HypervisorStatus;
use super::shapes;

const NAME_RULE: &str = "oldSelf.hasValue() || self.metadata.name.size() <= 63 \
     && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')";
const BLOCK_RULE: &str = "(self.provider == 'Proxmox') == has(self.proxmox)";
const BLOCK_MESSAGE: &str = "provider Proxmox needs the block proxmox, which says which VM ids may be used, \
     such as proxmox: {vmIdRange: {min: 5000, max: 5999}}";
const SKIP_VERIFY_RULE: &str = "!has(self.insecureSkipVerify) || !self.insecureSkipVerify \
     || (!has(self.caRef) && (!has(self.fingerprints) || self.fingerprints.size() == 0))";
const SKIP_VERIFY_MESSAGE: &str =
    "insecureSkipVerify switches every check off: leave caRef and fingerprints away, or leave it out";
const RANGE_RULE: &str = "self.max - self.min >= 15 && self.max - self.min < 100000";
const RANGE_MESSAGE: &str = "max must be 15 to 99999 above min: ids are used in turn and rest after a delete";
const POLL_RULE: &str = "!self.busy.matches(r'^([0-9]{1,6}[hms]){1,3}$') || !self.idle.matches(r'^([0-9]{1,6}[hms]){1,3}$') \
     || duration(self.busy) <= duration(self.idle)";

/// How to reach the hypervisor, and what may be done on it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "stevedore.dev",
    version = "v1alpha1",
    kind = "Hypervisor",
    plural = "hypervisors",
    singular = "hypervisor",
    namespaced,
    derive = "PartialEq",
    status = "HypervisorStatus",
    doc = "One Proxmox VE cluster (or lone node), reached with one set of endpoints and one credential. Workers name the Hypervisor that they live on; both are in the same namespace.",
    shortname = "hv",
    category = "stevedore",
    validation = Rule::new(NAME_RULE).message("a Hypervisor's name has at most 63 of a-z, 0-9 and -").optional_old_self(true),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Hosts", type_ = "string", json_path = ".status.hostsOnline"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workers"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.provider == oldSelf.provider").message("provider cannot be changed; create another Hypervisor").field_path(".provider"),
    validation = Rule::new(BLOCK_RULE).message(BLOCK_MESSAGE),
)]
pub struct HypervisorSpec {
    /// The kind of hypervisor: `Proxmox` (Proxmox VE). It cannot be changed.
    pub provider: Provider,

    /// The URLs of the hypervisor's API, such as `https://pve1.example.org:8006`. With several, one for each host is
    /// best: the one that answers is used, and another one when it no longer does.
    #[schemars(schema_with = "shapes::endpoints")]
    pub endpoints: Vec<String>,

    /// The Secret with the credential. For Proxmox VE it holds `tokenId` and `tokenSecret` (an API token, such as
    /// `stevedore@pve!operator`), or `username` and `password`. With keys of both kinds the token counts. A changed Secret
    /// is taken up without a restart.
    pub credentials_secret_ref: SecretRef,

    /// How the hypervisor's certificate is checked. Without anything given it must be signed by an authority that the
    /// operator's system trusts, and must name the endpoint's host.
    #[serde(default)]
    pub tls: Tls,

    /// What is particular to Proxmox VE. Needed with provider `Proxmox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox: Option<ProxmoxConnection>,

    /// How much is done at the same time, and how much may be deleted. When two Hypervisor objects reach the same
    /// cluster, they share these limits and the lower one counts.
    #[serde(default)]
    pub limits: Limits,

    /// How often the hypervisor is asked what its VMs are doing.
    #[serde(default)]
    pub poll: Poll,

    /// Hosts that get no new task and on which no worker is launched, such as for maintenance. Tasks that run there go on
    /// to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::unschedulable_hosts")]
    pub unschedulable_hosts: Vec<String>,

    /// While true, nothing is changed on this hypervisor; everything is still observed.
    #[serde(default)]
    pub paused: bool,
}

/// The kinds of hypervisor.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Proxmox VE.
    Proxmox,
}

/// A Secret in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(schema_with = "shapes::secret_name")]
    pub name: String,
}

/// How the hypervisor's certificate is checked.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(SKIP_VERIFY_RULE).message(SKIP_VERIFY_MESSAGE))]
pub struct Tls {
    /// Where the certificate of the signing authority is, in PEM. On Proxmox VE it is the file
    /// `/etc/pve/pve-root-ca.pem` of any node. A certificate that this authority has signed for the endpoint's host is
    /// accepted; with `fingerprints` given, too, either is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,

    /// SHA-256 fingerprints of the certificates that are accepted, as 32 pairs of hex digits with colons. A
    /// certificate with one of them is trusted whoever signed it. Give the old and the new one while a certificate is
    /// being replaced. With `caRef` given, too, either is enough; without it, nothing but these certificates is accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::fingerprints")]
    pub fingerprints: Vec<String>,

    /// Switches every check of the certificate off. Anyone in between can then read the credential: use it only to
    /// try things out.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// Where the certificate of a signing authority is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct CaRef {
    /// The kind of the object: `ConfigMap` or `Secret`.
    pub kind: CaKind,

    /// The name of the object, in the same namespace.
    #[schemars(schema_with = "shapes::ca_object_name")]
    pub name: String,

    /// The key in the object that holds the certificate; `ca.crt` if not given.
    #[serde(default = "ca_key")]
    #[schemars(schema_with = "shapes::ca_object_key")]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

/// The kinds of object that can hold a certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A `Secret`.
    Secret,
}

/// What is particular to a connection to Proxmox VE.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxmoxConnection {
    /// The VM ids that may be used for workers. Give a range that nobody else uses.
    pub vm_id_range: VmIdRange,
}

/// A range of VM ids, both ends included.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new(RANGE_RULE).message(RANGE_MESSAGE))]
pub struct VmIdRange {
    /// The lowest id that may be used.
    #[schemars(range(min = 100, max = 999_999_999))]
    pub min: i32,

    /// The highest id that may be used: 15 to 99999 above `min`.
    #[schemars(range(min = 100, max = 999_999_999))]
    pub max: i32,
}

/// How much is done at the same time, and how much may be deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How many workers are launched (powered on, waited for, checked) at the same time. 4 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub parallel_launches: Option<i32>,

    /// How many requests to the hypervisor's API run at the same time. 8 if not given.
    #[serde(default = "parallel_operations")]
    #[schemars(range(min = 1, max = 64))]
    pub parallel_operations: i32,

    /// How many tasks work at the same time on the VMs of one storage. 4 if not given. It counts over all workers and
    /// sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub tasks_per_storage: Option<i32>,

    /// How many VMs may be deleted within an hour; 10 if not given, 0 means none. More deletions than that wait, and the condition
    /// `DeletionsHeld` says so; raising the number lets them go on at once.
    #[serde(default = "deletions_per_hour")]
    #[schemars(range(min = 0, max = 1000))]
    pub deletions_per_hour: i32,
}

fn parallel_operations() -> i32 {
    8
}

fn deletions_per_hour() -> i32 {
    10
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parallel_launches: None,
            parallel_operations: parallel_operations(),
            tasks_per_storage: None,
            deletions_per_hour: deletions_per_hour(),
        }
    }
}

/// How often the hypervisor is asked what its VMs are doing.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new(POLL_RULE).message("busy must not be longer than idle"))]
pub struct Poll {
    /// The interval while nothing is going on, between 10s and 10m; 30s if not given.
    #[serde(default = "idle_interval")]
    #[schemars(schema_with = "shapes::idle_interval")]
    pub idle: Span,

    /// The interval while a worker is deployed, launched, tested, shut down or deleted, between 1s and 1m; 2s if not
    /// given.
    #[serde(default = "busy_interval")]
    #[schemars(schema_with = "shapes::busy_interval")]
    pub busy: Span,
}

fn idle_interval() -> Span {
    Span::new("30s")
}

fn busy_interval() -> Span {
    Span::new("2s")
}

impl Default for Poll {
    fn default() -> Self {
        Self { idle: idle_interval(), busy: busy_interval() }
    }
}

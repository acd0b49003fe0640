//! `WorkerSession`: one backup or restore run, which workers process VM by VM.

#![allow(unreachable_pub, reason = "the derive of KubeSchema puts a copy of each public struct inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::Span;
use super::hypervisor::SecretRef;
pub use super::selector::{MatchExpression, MatchOperator, WorkerSelector};
use super::session_rules as rules;
use super::session_shapes as shapes;
use super::session_status::WorkerSessionStatus;
use super::worker::HypervisorRef;

/// The most VMs of one session.
pub const MAX_VMS: usize = 1000;

/// The run as it should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "stevedore.dev",
    version = "v1alpha1",
    kind = "WorkerSession",
    plural = "workersessions",
    singular = "workersession",
    namespaced,
    derive = "PartialEq",
    status = "WorkerSessionStatus",
    doc = "One backup or restore run. The workers that it needs are launched, each VM is processed by one of them as a WorkerTask, and the workers are shut down afterwards. Deleting a session that is not done cancels it first.",
    shortname = "wsn",
    category = "stevedore",
    selectable = ".spec.hypervisorRef.name",
    validation = Rule::new(rules::NAME).message(rules::NAME_MESSAGE).optional_old_self(true),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Tasks", type_ = "string", json_path = ".status.done"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workersInUse"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(rules::HEAD_KEPT).message(rules::HEAD_KEPT_MESSAGE),
    validation = Rule::new(rules::VMS_KEPT).message(rules::VMS_KEPT_MESSAGE).field_path(".virtualMachines"),
    validation = Rule::new(rules::SELECTOR_KEPT).message(rules::SELECTOR_KEPT_MESSAGE).field_path(".workerSelector"),
    validation = Rule::new(rules::PARALLELISM_KEPT).message(rules::PARALLELISM_KEPT_MESSAGE).field_path(".parallelism"),
    validation = Rule::new(rules::RUN_KEPT).message(rules::RUN_KEPT_MESSAGE).field_path(".run"),
    validation = Rule::new(rules::FORWARD).message(rules::FORWARD_MESSAGE).field_path(".state"),
    validation = Rule::new(rules::ENDS_ITSELF).message(rules::ENDS_ITSELF_MESSAGE).field_path(".state"),
    validation = Rule::new(rules::NEW_VM).message(rules::NEW_VM_MESSAGE).field_path(".virtualMachines"),
)]
pub struct WorkerSessionSpec {
    /// What is done: `Backup` or `Restore`. Restores go before backups.
    #[serde(rename = "type")]
    pub type_: SessionType,

    /// The Hypervisor that the VMs are on, in the same namespace. Its Workers do the work.
    pub hypervisor_ref: HypervisorRef,

    /// The VMs that are backed up or restored, each of which becomes one task. They are taken in this order.
    #[schemars(schema_with = "protected_vms")]
    pub virtual_machines: Vec<ProtectedVm>,

    /// Which Workers may be used: all that the Hypervisor has if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_selector: Option<WorkerSelector>,

    /// `PreferSameHost`, the default: a VM is processed by a worker on its own host, or else by another one.
    /// `RequireSameHost`: it waits for a worker on its own host.
    #[serde(default)]
    pub placement: Placement,

    /// How many tasks of this session run at the same time, at most. As many as the workers take if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub parallelism: Option<i32>,

    /// What is run inside a worker for each task. Without it the session is a lease: the workers are launched and held
    /// ready, and a program outside does the work and reports the end of each task in its `spec.result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,

    /// `Active`, the default. `Completed` says that a lease is no longer needed. `Cancelled` stops what runs and gives
    /// the workers back. There is no way back.
    #[serde(default)]
    pub state: SessionState,

    /// How long after the session's creation its first task must have started, between 1s and 168h; 1h if not given.
    #[serde(default = "start_deadline")]
    #[schemars(schema_with = "shapes::start_deadline")]
    pub start_deadline: Span,

    /// How long after its creation the session must have ended, between 1m and 168h; 24h if not given. What still runs
    /// then is stopped.
    #[serde(default = "active_deadline")]
    #[schemars(schema_with = "shapes::active_deadline")]
    pub active_deadline: Span,

    /// How long after its end the session is deleted with its tasks, between 0s and 8760h; 168h if not given.
    #[serde(default = "ttl_after_finished")]
    #[schemars(schema_with = "shapes::time_to_live")]
    pub ttl_after_finished: Span,
}

fn start_deadline() -> Span {
    Span::new("1h")
}

fn active_deadline() -> Span {
    Span::new("24h")
}

fn ttl_after_finished() -> Span {
    Span::new("168h")
}

/// What a session does.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionType {
    /// VMs are backed up.
    Backup,
    /// VMs are restored.
    Restore,
}

/// A VM that is backed up or restored. Nothing in it is changed by the operator.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProtectedVm {
    /// The id of the VM on its hypervisor, such as `"101"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::vm_id")]
    pub id: Option<String>,

    /// The name of the VM on its hypervisor. A task whose VM shares its name with another one fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::vm_name")]
    pub name: Option<String>,

    /// For a restore to a VM that does not exist yet: the host that it is to be on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::shapes::host")]
    pub host: Option<String>,
}

fn protected_vms(generator: &mut SchemaGenerator) -> Schema {
    let mut vm = generator.subschema_for::<ProtectedVm>();
    let one_name = json!([{"rule": rules::ONE_NAME, "message": rules::ONE_NAME_MESSAGE}]);
    vm.insert("x-kubernetes-validations".to_owned(), one_name);
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_VMS,
        "x-kubernetes-list-type": "atomic",
        "items": vm,
    })
}

/// Where a VM is processed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// On its own host if a worker there can take it.
    #[default]
    PreferSameHost,
    /// On its own host and nowhere else.
    RequireSameHost,
}

/// What is run inside a worker for each task.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(rules::COMMAND_SIZE).message(rules::COMMAND_SIZE_MESSAGE))]
pub struct Run {
    /// The program and its arguments. No shell is in between. Exit code 0 is success. The program sees in its
    /// environment `STEVEDORE_SESSION`, `STEVEDORE_TYPE`, `STEVEDORE_TASK`, `STEVEDORE_VM_ID`, `STEVEDORE_VM_NAME`,
    /// `STEVEDORE_VM_HOST` and `STEVEDORE_ATTEMPT`.
    #[schemars(schema_with = "shapes::command")]
    pub command: Vec<String>,

    /// Environment variables. They are no place for a secret: everybody can read them who may read this session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "env")]
    pub env: Vec<EnvVar>,

    /// A Secret, each key of which becomes an environment variable. It is read when a task starts. Values of 8 or more
    /// characters are masked in the output that the task's status keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<SecretRef>,

    /// The Linux user as whom the command runs; `root` if not given.
    #[serde(default = "run_user")]
    #[schemars(schema_with = "shapes::run_user")]
    pub user: String,

    /// How long the command may run before it is stopped, between 1s and 168h; 12h if not given.
    #[serde(default = "run_timeout")]
    #[schemars(schema_with = "shapes::run_timeout")]
    pub timeout: Span,

    /// How often a task whose command failed is run again, if possible on another worker; 0 if not given.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub retries: i32,
}

fn run_user() -> String {
    "root".to_owned()
}

fn run_timeout() -> Span {
    Span::new("12h")
}

/// An environment variable.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// The name of the variable. Names that begin with `STEVEDORE_` are the operator's own.
    #[schemars(schema_with = "shapes::variable_name")]
    pub name: String,

    /// The value as it is: nothing is expanded in it.
    #[schemars(schema_with = "shapes::variable_value")]
    pub value: String,
}

fn env(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": generator.subschema_for::<EnvVar>(),
    })
}

/// What is wanted of a session.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Go on.
    #[default]
    Active,
    /// A lease is no longer needed.
    Completed,
    /// Stop.
    Cancelled,
}

//! `WorkerTask`: the processing of one VM inside a session.

#![allow(unreachable_pub, reason = "the derive of KubeSchema puts a copy of each public struct inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::session::ProtectedVm;
pub use super::task_status::{TaskPhase, WorkerTaskStatus};
use super::{session_rules as rules, session_shapes, shapes};

/// The most characters of a VM's name, as Proxmox VE and HyperCore allow names longer than a host name's part.
pub const MAX_VM_NAME: usize = 253;

/// The task as it should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "stevedore.dev",
    version = "v1alpha1",
    kind = "WorkerTask",
    plural = "workertasks",
    singular = "workertask",
    namespaced,
    derive = "PartialEq",
    status = "WorkerTaskStatus",
    doc = "The processing of one VM inside a WorkerSession, which takes one slot of a worker. The operator makes one for each VM of a session; deleting one cancels it, and it is not made again.",
    shortname = "wtk",
    category = "stevedore",
    selectable = ".spec.sessionRef.name",
    selectable = ".status.worker",
    printcolumn(name = "Session", type_ = "string", json_path = ".spec.sessionRef.name"),
    // The first of the two that is there.
    printcolumn(name = "VM", type_ = "string", json_path = ".spec.virtualMachine['name','id']"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Worker", type_ = "string", json_path = ".status.worker"),
    printcolumn(name = "Local", type_ = "boolean", json_path = ".status.local"),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[x_kube(
    validation = Rule::new(rules::TASK_KEPT).message(rules::TASK_KEPT_MESSAGE),
    validation = Rule::new(rules::RESULT_KEPT).message(rules::RESULT_KEPT_MESSAGE).field_path(".result"),
    validation = Rule::new(rules::RESULT_OF_LEASE).message(rules::RESULT_OF_LEASE_MESSAGE).field_path(".result"),
)]
pub struct WorkerTaskSpec {
    /// The session that the task belongs to.
    pub session_ref: SessionRef,

    /// Which of the session's VMs this is, counted from 0.
    #[schemars(range(min = 0, max = 999))]
    pub index: i32,

    /// `Command`: a command is run inside the worker. `Lease`: a program outside does the work, and reports its end in
    /// `result`.
    pub mode: TaskMode,

    /// The VM that is backed up or restored: its id and its name, as they were found when the session started.
    #[schemars(schema_with = "resolved_vm")]
    pub virtual_machine: ProtectedVm,

    /// How the task of a lease ended. The client of the lease sets it, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
}

/// A VM that a session names by its id may be called as it likes: longer, or with other characters than a session could
/// name it.
fn resolved_vm(generator: &mut SchemaGenerator) -> Schema {
    let mut vm = generator.subschema_for::<ProtectedVm>();
    if let Some(name) = vm.pointer_mut("/properties/name") {
        *name =
            json!({"type": "string", "maxLength": MAX_VM_NAME, "description": "The name of the VM on its hypervisor."});
    }
    vm
}

/// A session in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionRef {
    /// The name of the session.
    #[schemars(schema_with = "session_shapes::session_name")]
    pub name: String,

    /// The UID of the session.
    #[schemars(schema_with = "shapes::id")]
    pub uid: String,
}

/// Who does the work of a task.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskMode {
    /// A command inside the worker.
    Command,
    /// A program outside, which uses the worker.
    Lease,
}

/// How the task of a lease ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct TaskResult {
    /// `Succeeded` or `Failed`.
    pub outcome: TaskOutcome,

    /// What there is to say about it, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::sentence")]
    pub message: Option<String>,
}

/// The two ways in which the task of a lease ends.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// The VM was processed.
    Succeeded,
    /// It was not.
    Failed,
}

//! What the operator writes back about a `WorkerTask`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::{self, Condition};
pub use super::phases::TaskPhase;
use super::{session_shapes, shapes};

/// The most storages that a status names.
pub const MAX_STORAGES: usize = 32;

/// The most workers that a status says to avoid.
pub const MAX_AVOIDED: usize = 16;

/// How many bytes of a command's output are kept: the last ones.
pub const MAX_OUTPUT: usize = 4096;

/// The task as it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkerTaskStatus {
    /// The generation of the object (`metadata.generation`) that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Where the task is on its way. `Pending`: it waits for a worker. `Starting`: it has one, and does not run yet.
    /// `Running`: it runs. Then `Succeeded`, `Failed` or `Cancelled`. Later versions may add others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub phase: Option<String>,

    /// Why it waits, what it does, or why it ended, in one word of the documented list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub reason: Option<String>,

    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::sentence")]
    pub message: Option<String>,

    /// What is true of the task now. `Ready`: it has succeeded. `Stalled` is there if it failed, was cancelled, or is none
    /// of the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// The host that the VM is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub vm_host: Option<String>,

    /// The storages that the VM's disks are on, 32 at most. How many tasks work on one storage at the same time is bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "session_shapes::storages")]
    pub storages: Vec<String>,

    /// The Worker that the task is on, or was on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub worker: Option<String>,

    /// The UID of that Worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::id")]
    pub worker_uid: Option<String>,

    /// The host that the worker's VM is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub worker_host: Option<String>,

    /// The address at which the worker can be talked to. It is there while the worker is ready for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "session_shapes::address")]
    pub address: Option<String>,

    /// Whether the worker is on the host that the VM is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<bool>,

    /// Which attempt this is, counted from 1. Each is started at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub attempt: Option<i32>,

    /// How many attempts failed. They count against `run.retries` of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub failed_attempts: Option<i32>,

    /// How many attempts were lost with their worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub lost_attempts: Option<i32>,

    /// The Workers on which it failed or was lost, 16 at most. The next attempt is made on another one if there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "session_shapes::avoided_workers")]
    pub avoid: Vec<String>,

    /// When the latest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,

    /// The exit code of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub exit_code: Option<i32>,

    /// The end of the command's output, the last 4 KiB. Bytes that are no text are escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "session_shapes::output")]
    pub output: Option<String>,
}

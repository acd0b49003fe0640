//! What the operator writes back about a `WorkerSession`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::conditions::{self, Condition};
pub use super::phases::SessionPhase;
use super::{session_shapes, shapes};

/// The most workers that a status names; `workersInUse` counts them all.
pub const MAX_WORKERS: usize = 100;

/// The most reasons for waiting that a status lists.
pub const MAX_WAITING: usize = 20;

/// The most failed tasks that a status names; `tasks.failed` counts them all.
pub const MAX_FAILED: usize = 20;

/// The run as it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSessionStatus {
    /// The generation of the object (`metadata.generation`) that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Where the session is on its way. `Pending`: no task has a worker yet. `Starting`: workers are launched. `Running`:
    /// tasks run. Then `Succeeded`, `Failed` if any task failed or a deadline passed, or `Cancelled`. Later versions may
    /// add others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub phase: Option<String>,

    /// What is true of the session now. `WorkersAvailable`: at least one task has a worker that is ready, with its
    /// address; the client of a lease waits for it. `Finished`: the session has ended; the reason says how. `Ready`: it
    /// has succeeded. `Reconciling` is there while it goes on, `Stalled` once it has ended otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// Whether all tasks have been made. A task that is deleted afterwards is not made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_created: Option<bool>,

    /// How many tasks there are in each phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<TaskCounts>,

    /// The tasks that have ended and all tasks, such as 3/10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub done: Option<String>,

    /// The Workers that tasks of this session are on, 100 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "session_shapes::workers_in_use")]
    pub workers: Vec<String>,

    /// How many such Workers there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub workers_in_use: Option<i32>,

    /// Why tasks wait, 20 reasons at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "waiting")]
    pub waiting: Vec<WaitingTasks>,

    /// The names of tasks that failed, 20 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "session_shapes::failed_tasks")]
    pub failed: Vec<String>,

    /// When the first task started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// How many tasks there are in each phase.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// All tasks of the session.
    #[schemars(range(min = 0))]
    pub total: i32,

    /// Those that wait for a worker.
    #[schemars(range(min = 0))]
    pub pending: i32,

    /// Those that have a worker and do not run yet.
    #[schemars(range(min = 0))]
    pub starting: i32,

    /// Those that run.
    #[schemars(range(min = 0))]
    pub running: i32,

    /// Those that succeeded.
    #[schemars(range(min = 0))]
    pub succeeded: i32,

    /// Those that failed.
    #[schemars(range(min = 0))]
    pub failed: i32,

    /// Those that were cancelled, or deleted.
    #[schemars(range(min = 0))]
    pub cancelled: i32,
}

/// Tasks that wait for the same reason.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingTasks {
    /// Why they wait, in one word of the documented list.
    #[schemars(schema_with = "shapes::word")]
    pub reason: String,

    /// How many they are.
    #[schemars(range(min = 0))]
    pub tasks: i32,

    /// The name of one of them.
    #[schemars(schema_with = "shapes::name")]
    pub example: String,

    /// What that one waits for, in a sentence.
    #[schemars(schema_with = "shapes::sentence")]
    pub message: String,
}

fn waiting(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_WAITING,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<WaitingTasks>(),
    })
}

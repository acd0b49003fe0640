//! What the operator writes back about a `Worker`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{Quantity, Span};
use super::conditions::{self, Condition};
use super::shapes;
use super::worker_updates::UpdateReport;

/// The most tasks that a worker runs at the same time.
pub const MAX_ASSIGNMENTS: usize = 64;

/// The most checks that the result of a test lists.
pub const MAX_CHECKS: usize = 64;

/// The worker as it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// The generation of the object (`metadata.generation`) that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Where the worker is in its life. `Configured`: declared, without a VM. `Testing`: its configuration is being
    /// applied or tested. `Working`: at least one task runs on it. `Idle`: powered on, without a task. `ShutDown`: it
    /// has a VM, which is powered off. Later versions may add others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub phase: Option<String>,

    /// What is true of the worker now. `Ready` speaks of the declaration: it is true for a declared worker without a VM,
    /// and false when a test of the current spec failed. `Deployed`: it has a VM. `Tested`: its last test passed.
    /// `Schedulable`: it is given tasks, or the reason why not. `PackagesCurrent`: its last update left no older package
    /// behind; it is not there where packages are never updated. `Reconciling` is there while the operator works on the
    /// declaration, `Stalled` while it cannot go on until someone does something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// The piece of work that is in progress, written before anything is done, so that it survives a restart of the
    /// operator. It is the operator's own record: do not edit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::open_object")]
    pub operation: Option<Value>,

    /// The tasks that hold a slot of the worker. A task is entered here before anything is done for it. It is the
    /// operator's own record: do not edit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "assignments")]
    pub assignments: Vec<Assignment>,

    /// The slots that are taken and all slots, such as 2/4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub tasks: Option<String>,

    /// The launch after which the VM takes tasks. It is there while the VM is powered on and ready for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchReport>,

    /// The VM of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmStatus>,

    /// The sizes in use: those of the spec, defaults filled in. The disk is the one that the VM has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<EffectiveResources>,

    /// The configuration that the VM has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,

    /// The last test that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test: Option<TestReport>,

    /// The last update of its packages that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<UpdateReport>,

    /// The value of the annotation `stevedore.dev/test-requested-at` that was last acted upon (its SHA-256 if it is
    /// longer than 253 characters). A test is asked for while the annotation has another value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub last_handled_test_request: Option<String>,

    /// How many tests of the current spec failed in a row. The next one waits the longer, the more they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub test_failures: Option<i32>,
}

/// One task that holds a slot of a worker.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The name of the task.
    #[schemars(schema_with = "shapes::name")]
    pub task: String,

    /// The UID of the task.
    #[schemars(schema_with = "shapes::id")]
    pub uid: String,

    /// The name of the session that the task belongs to.
    #[schemars(schema_with = "shapes::name")]
    pub session: String,

    /// Which attempt of the task this is, counted from 1.
    #[schemars(range(min = 0))]
    pub attempt: i32,
}

fn assignments(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_ASSIGNMENTS,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<Assignment>(),
    })
}

/// The launch after which a VM takes tasks.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LaunchReport {
    /// The id of the operation that was the launch.
    #[schemars(schema_with = "shapes::short")]
    pub operation: String,

    /// The boot id of the guest. Another one means that the guest was restarted since.
    #[schemars(schema_with = "shapes::short")]
    pub boot_id: String,

    /// When the worker was ready.
    pub at: Time,
}

/// The VM of a worker.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VmStatus {
    /// The id of the VM on its hypervisor, such as 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::id")]
    pub id: Option<String>,

    /// The UUID by which the VM is known to be this worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::id")]
    pub uuid: Option<String>,

    /// The host that the VM is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub host: Option<String>,

    /// Its power state: `On`, `Off` or `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::word")]
    pub power: Option<String>,

    /// The addresses that the guest had when it was last asked, in the order of the networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::addresses")]
    pub addresses: Vec<String>,
}

/// The sizes in use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveResources {
    /// The number of virtual CPUs.
    #[schemars(range(min = 0))]
    pub cpus: i32,

    /// The memory.
    pub memory: Quantity,

    /// The system disk.
    pub disk: Quantity,
}

/// The configuration that a VM has.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// A hash of all settings that were applied. Another hash of the spec's settings means that there is something to
    /// apply. Empty as long as they were not all applied.
    #[schemars(schema_with = "shapes::name")]
    pub hash: String,

    /// The settings that were applied, by their path in the spec, such as `image.template: debian-worker`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::settings")]
    pub summary: BTreeMap<String, String>,
}

/// The result of a test.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TestReport {
    /// Whether the test passed: `Passed` or `Failed`.
    #[schemars(schema_with = "shapes::word")]
    pub result: String,

    /// When it started.
    pub started_at: Time,

    /// When it ended.
    pub finished_at: Time,

    /// A hash of the configuration that was tested. The result speaks of no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::name")]
    pub config_hash: Option<String>,

    /// The id of the operation that was the test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::short")]
    pub operation: Option<String>,

    /// The checks in the order in which they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "checks")]
    pub checks: Vec<CheckReport>,
}

/// The result of one check of a test.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// The name of the check.
    #[schemars(schema_with = "shapes::name")]
    pub name: String,

    /// `Passed`, `Failed`, or `Skipped` if an earlier failure made it pointless.
    #[schemars(schema_with = "shapes::word")]
    pub result: String,

    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,

    /// What was found; for a failure also what to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::sentence")]
    pub message: Option<String>,
}

fn checks(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_CHECKS,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<CheckReport>(),
    })
}

/// Where a worker is in its life. Statuses hold the text, so that one written by a later version can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Declared, without a VM.
    Configured,
    /// Its configuration is being applied or tested.
    Testing,
    /// At least one task runs on it.
    Working,
    /// Powered on, without a task.
    Idle,
    /// It has a VM, which is powered off.
    ShutDown,
}

impl Phase {
    /// All phases.
    pub const ALL: &[Self] = &[Self::Configured, Self::Testing, Self::Working, Self::Idle, Self::ShutDown];

    /// The text in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "Configured",
            Self::Testing => "Testing",
            Self::Working => "Working",
            Self::Idle => "Idle",
            Self::ShutDown => "ShutDown",
        }
    }

    /// The phase of this text; `None` for one that this version does not know.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|phase| phase.as_str() == text)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a test, or one check of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestResult {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// Not made: an earlier failure made it pointless.
    Skipped,
}

impl TestResult {
    /// The text in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Skipped => "Skipped",
        }
    }
}

impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The part of a `Worker` that says whether and how its packages are updated, and the result of the last update.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::common::Span;
use super::hypervisor::SecretRef;
use super::shapes;

/// Whether and how the packages of a worker are updated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Updates {
    /// `OnLaunch`, the default: each time that the worker was powered on for a task or for a test and its checks have
    /// passed, before a task runs. If what was installed asks for it, the worker is rebooted, and checked again. `Never`:
    /// not at all, as where there is no way to a package repository.
    #[serde(default)]
    pub policy: UpdatePolicy,

    /// What an update that fails means. `Warn`, the default: the worker is used all the same, and the condition
    /// `PackagesCurrent` is false. `Fail`: the test, or the launch, fails.
    #[serde(default)]
    pub on_failure: OnUpdateFailure,

    /// How long the update may take, between 1m and 4h; 30m if not given. It waits as long for a package manager that
    /// somebody else has started in the worker.
    #[serde(default = "update_timeout")]
    #[schemars(schema_with = "shapes::update_timeout")]
    pub timeout: Span,

    /// The proxy through which packages are fetched. If not given, the one that the image may be set up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<UpdateProxy>,
}

fn update_timeout() -> Span {
    Span::new("30m")
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            policy: UpdatePolicy::default(),
            on_failure: OnUpdateFailure::default(),
            timeout: update_timeout(),
            proxy: None,
        }
    }
}

/// When the packages of a worker are updated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// Each time that it was powered on for a task or a test.
    #[default]
    OnLaunch,
    /// Not at all.
    Never,
}

/// What an update that fails means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUpdateFailure {
    /// The worker is used all the same.
    #[default]
    Warn,
    /// The test, or the launch, fails.
    Fail,
}

/// A proxy through which packages are fetched.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateProxy {
    /// The URL of the proxy, such as `http://proxy.example.org:3128`; without a port, the scheme's own is meant.
    #[schemars(schema_with = "shapes::proxy_url")]
    pub url: String,

    /// The Secret with the keys `username` and `password`, for a proxy that asks for them. It is read when an update begins.
    /// The password is in the worker's memory for as long as the update runs, readable by root alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// The last update of a worker's packages.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateReport {
    /// The id of the operation that the update was a part of.
    #[schemars(schema_with = "shapes::short")]
    pub operation: String,

    /// How it ended: `Succeeded`, `Failed` or `TimedOut`.
    #[schemars(schema_with = "shapes::word")]
    pub result: String,

    /// When it ended.
    pub finished_at: Time,

    /// How many packages were updated.
    #[schemars(range(min = 0))]
    pub packages: i32,

    /// How many packages are not current all the same, because something holds them back.
    #[schemars(range(min = 0))]
    pub pending: i32,

    /// Whether the worker was rebooted after it.
    pub rebooted: bool,

    /// The same for people; for a failure also what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::sentence")]
    pub message: Option<String>,
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// It went through.
    Succeeded,
    /// It did not.
    Failed,
    /// It took longer than it may.
    TimedOut,
}

impl UpdateOutcome {
    /// The text in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
        }
    }

    /// The outcome of this text. One that a later version may write is none that went well.
    pub fn parse(text: &str) -> Self {
        match text {
            "Succeeded" => Self::Succeeded,
            "TimedOut" => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for UpdateOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

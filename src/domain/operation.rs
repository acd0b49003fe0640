//! The durable write-ahead record of the one operation in flight: `Worker.status.operation`.
//!
//! It is written whole, by compare-and-swap, *before* the call that it speaks of. Whatever happens to the process
//! afterwards, the record and a look at the hypervisor are enough to go on, and never to do a thing twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::hypervisor::vm::{TaskHandle, VmRef};

/// The form of the record that this program writes.
pub const VERSION: u32 = 1;

/// One piece of work on a worker's VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The form of this record.
    pub version: u32,
    /// Its id; the VM that it makes carries it in its mark.
    pub id: String,
    /// What it is for.
    pub kind: Kind,
    /// The effect that was intended last.
    pub step: Step,
    /// The hash of the declaration that it works for.
    pub spec_hash: String,
    /// The VM it works on; without an id as long as none was chosen.
    pub target: Target,
    /// How often the call of this step may have been sent; written before each sending.
    pub sends: u32,
    /// The task that the call started, where it must not be forgotten (download, create, destroy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskHandle>,
    /// Whether the test's checks are over: from here on the VM is only powered off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checked: bool,
    /// The settings that only another VM can have and that no VM shows of itself, by field, as they were when the call
    /// was intended that makes the VM: an edit changes the declaration, and not what the VM was made of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made_as: BTreeMap<String, String>,
    /// The value of the annotation by which a person asked for this test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// When this step was intended first.
    pub step_since: Timestamp,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Make the VM if there is none, apply the declaration, power on, check, power off.
    Test,
    /// Apply the declaration to a VM that is powered off.
    Apply,
    /// The same for work that waits: make, apply, power on, check, and leave it powered on.
    Launch,
    /// Power off a VM on which nothing runs.
    ShutDown,
    /// Cut the power of a VM whose guest is dead while tasks are with it, so that they can go on elsewhere.
    Fence,
    /// Power off and delete.
    Delete,
}

/// The effect that an operation intended last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Have the image downloaded that the VM is made from. There is no VM yet, and no id for one.
    Download,
    /// Make the VM.
    Create,
    /// Change its configuration and size.
    Configure,
    /// Power on; the checks follow without another intent, for they change nothing.
    Start,
    /// Update the packages in the guest. The checks have passed, if they were to be made.
    Update,
    /// Reboot the guest, because what was installed asks for it.
    Reboot,
    /// Ask the guest to shut down, cut the power after the grace period.
    ShutDown,
    /// Cut the power.
    PowerOff,
    /// Delete the VM with its disks.
    Destroy,
}

/// The VM that an operation works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The host.
    pub host: String,
    /// The id on the hypervisor.
    pub vm_id: String,
    /// The uuid that the VM has or will get.
    pub uuid: String,
}

impl Target {
    /// The reference that a hypervisor takes.
    pub fn at(&self) -> VmRef {
        VmRef { host: self.host.clone(), id: self.vm_id.clone() }
    }
}

/// A record that cannot be read.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Written by a newer program.
    #[error(
        "status.operation has version {found}, this program knows up to {VERSION}: run the newer version until the \
         operation has ended"
    )]
    Newer {
        /// The version that was found.
        found: u64,
    },
    /// Not a record at all.
    #[error("status.operation cannot be read ({reason}): remove it; the VM is then found again by its marks")]
    Malformed {
        /// Why.
        reason: String,
    },
}

impl Operation {
    /// Reads a record as it stands in a status.
    pub fn from_json(value: &Value) -> Result<Self, RecordError> {
        let found = value.get("version").and_then(Value::as_u64).unwrap_or(0);
        if found > u64::from(VERSION) {
            return Err(RecordError::Newer { found });
        }
        serde_json::from_value(value.clone()).map_err(|error| RecordError::Malformed { reason: error.to_string() })
    }

    /// The record as it is written into a status.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Whether `other` states the very same intent: the answer to a write must, and after a conflict it tells
    /// whether the write was ours.
    pub fn same_intent(&self, other: &Self) -> bool {
        self.id == other.id
            && self.kind == other.kind
            && self.step == other.step
            && self.sends == other.sends
            && self.target == other.target
    }

    /// Whether it has powered the VM on and has not begun to power it off.
    pub fn has_powered_on(&self) -> bool {
        matches!(self.step, Step::Start | Step::Update | Step::Reboot)
    }

    /// This record with the next effect intended: `sends` counts on within a step and starts at 1 in a new one.
    #[must_use]
    pub fn intending(&self, step: Step, now: Timestamp) -> Self {
        let repeated = self.step == step && self.sends > 0;
        Self {
            step,
            sends: if repeated { self.sends.saturating_add(1) } else { 1 },
            step_since: if repeated { self.step_since } else { now },
            task: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn operation() -> Operation {
        Operation {
            version: VERSION,
            id: "op-1".into(),
            kind: Kind::Test,
            step: Step::Create,
            spec_hash: "h1".into(),
            target: Target { host: "pve1".into(), vm_id: "5000".into(), uuid: "u".into() },
            sends: 1,
            task: None,
            checked: false,
            made_as: BTreeMap::new(),
            request: None,
            since: Timestamp::UNIX_EPOCH,
            step_since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_record_survives_its_json() {
        let record = Operation { task: Some(TaskHandle("UPID:x".into())), request: Some("1".into()), ..operation() };
        let made_as = BTreeMap::from([("image.template".to_owned(), "debian-worker".to_owned())]);
        let record = Operation { made_as, ..record };
        assert_eq!(Operation::from_json(&record.to_json()), Ok(record));
    }

    #[test]
    fn no_number_in_a_record_is_a_float() {
        fn walk(value: &Value) -> bool {
            match value {
                Value::Number(number) => number.is_u64(),
                Value::Array(items) => items.iter().all(walk),
                Value::Object(fields) => fields.values().all(walk),
                _ => true,
            }
        }
        assert!(walk(&operation().to_json()));
    }

    #[test]
    fn a_newer_or_broken_record_is_said_to_be_so() {
        assert_eq!(Operation::from_json(&json!({"version": 7})), Err(RecordError::Newer { found: 7 }));
        assert!(matches!(Operation::from_json(&json!({"version": 1})), Err(RecordError::Malformed { .. })));
    }

    #[test]
    fn sends_count_within_a_step() {
        let later: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let again = operation().intending(Step::Create, later);
        assert_eq!((again.sends, again.step_since), (2, Timestamp::UNIX_EPOCH));
        let next = again.intending(Step::Configure, later);
        assert_eq!((next.sends, next.step_since), (1, later));
        assert!(!again.same_intent(&operation()));
    }
}

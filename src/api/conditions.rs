//! Conditions: the statements of a status that people, `kubectl wait` and other tools read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{Schema, SchemaGenerator, json_schema};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Whether the declaration is fulfilled. The one condition that every object has.
pub const READY: &str = "Ready";
/// Present and `True` while the operator works on the declaration.
pub const RECONCILING: &str = "Reconciling";
/// Present and `True` while the declaration cannot be fulfilled until someone does something.
pub const STALLED: &str = "Stalled";
/// Worker: whether it has a VM.
pub const DEPLOYED: &str = "Deployed";
/// Worker: whether its last test passed.
pub const TESTED: &str = "Tested";
/// Worker: whether it is given tasks.
pub const SCHEDULABLE: &str = "Schedulable";
/// Worker: whether its last update left no older package behind. Absent where packages are never updated.
pub const PACKAGES_CURRENT: &str = "PackagesCurrent";
/// Session: whether at least one task has a worker that is ready, with its address.
pub const WORKERS_AVAILABLE: &str = "WorkersAvailable";
/// Session: whether it has ended.
pub const FINISHED: &str = "Finished";
/// Hypervisor: whether an endpoint answers.
pub const REACHABLE: &str = "Reachable";
/// Hypervisor: whether the credential is accepted and has every privilege that is needed.
pub const AUTHORIZED: &str = "Authorized";
/// Hypervisor: whether its certificate is trusted and will be for a while.
pub const CERTIFICATE_VALID: &str = "CertificateValid";
/// Hypervisor: whether deletions wait because the hourly budget is used up.
pub const DELETIONS_HELD: &str = "DeletionsHeld";
/// Hypervisor: whether another Hypervisor object reaches the same cluster.
pub const SHARED_CONNECTION: &str = "SharedConnection";

/// The longest message that [`set`] keeps; the schema allows 32768 characters.
const LONGEST_MESSAGE: usize = 4096;

/// The three answers of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be told.
    Unknown,
}

impl Answer {
    /// The text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Answer {
    fn from(is_so: bool) -> Self {
        if is_so { Self::True } else { Self::False }
    }
}

/// A condition as it should be, without the time of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    /// The condition's type, such as [`READY`].
    pub type_: &'static str,
    /// The answer.
    pub status: Answer,
    /// Why, in one CamelCase word of the documented list.
    pub reason: String,
    /// Why, in a sentence; what to do, where there is something to do.
    pub message: String,
    /// The generation of the object that this speaks of.
    pub observed_generation: Option<i64>,
}

impl NewCondition {
    /// A condition without generation; the reason is one of [`super::reasons`].
    pub fn new(type_: &'static str, status: Answer, reason: impl AsRef<str>, message: impl Into<String>) -> Self {
        Self { type_, status, reason: reason.as_ref().to_owned(), message: message.into(), observed_generation: None }
    }

    /// The same for a certain generation of the object.
    #[must_use]
    pub fn observed(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }
}

/// Puts a condition into a list and says whether that changed anything but times.
///
/// `lastTransitionTime` stays as it was while the answer is the same, so that it says since when it is so. Messages
/// that are too long end with "…".
pub fn set(conditions: &mut Vec<Condition>, new: NewCondition, now: Timestamp) -> bool {
    let mut next = Condition {
        type_: new.type_.to_owned(),
        status: new.status.as_str().to_owned(),
        reason: new.reason,
        message: shortened(new.message),
        observed_generation: new.observed_generation,
        last_transition_time: Time(now),
    };
    let Some(current) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        conditions.push(next);
        return true;
    };
    if current.status == next.status {
        next.last_transition_time = current.last_transition_time.clone();
    }
    let changed = *current != next;
    *current = next;
    changed
}

/// Takes a condition out of a list and says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != type_);
    conditions.len() != before
}

/// The condition of this type, if there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type is there and `True`.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == Answer::True.as_str())
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        None => message,
        Some(_) => message.chars().take(LONGEST_MESSAGE - 1).chain(['…']).collect(),
    }
}

/// The schema of a list of conditions, as strict as the built-in kinds have it.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    "description": "What the condition speaks of, such as Ready.",
                },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether it is so: True, False or Unknown.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the object (metadata.generation) that this speaks of. An older one than the object's own means that the operator has not looked at the latest edit yet.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "Since when the status is what it is.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, in one word for programs. The reasons are a documented list, to which later versions may add.",
                },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "Why, in a sentence for people, and what to do about it.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn ready(status: Answer, message: &str) -> NewCondition {
        NewCondition::new(READY, status, "Because", message).observed(Some(1))
    }

    #[test]
    fn the_time_of_change_stays_while_the_answer_is_the_same() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, ready(Answer::False, "a"), at(1)));
        assert!(!set(&mut conditions, ready(Answer::False, "a"), at(2)), "nothing but the time is new");
        assert!(set(&mut conditions, ready(Answer::False, "b"), at(3)), "the message is new");
        assert_eq!(conditions[0].last_transition_time.0, at(1));
        assert!(set(&mut conditions, ready(Answer::True, "b"), at(4)));
        assert_eq!(conditions[0].last_transition_time.0, at(4));
        assert!(set(&mut conditions, ready(Answer::True, "b").observed(Some(2)), at(5)), "the generation is new");
        assert_eq!(conditions.len(), 1);
        assert!(is_true(&conditions, READY));
    }

    #[test]
    fn a_condition_can_be_taken_out() {
        let mut conditions = Vec::new();
        set(&mut conditions, ready(Answer::True, ""), at(1));
        set(&mut conditions, NewCondition::new(STALLED, Answer::True, "Because", ""), at(1));
        assert!(remove(&mut conditions, STALLED));
        assert!(!remove(&mut conditions, STALLED));
        assert!(find(&conditions, STALLED).is_none() && find(&conditions, READY).is_some());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut conditions = Vec::new();
        set(&mut conditions, ready(Answer::True, &"ä".repeat(5_000)), at(1));
        assert_eq!(conditions[0].message.chars().count(), LONGEST_MESSAGE);
        assert!(conditions[0].message.ends_with("ä…"));
    }
}

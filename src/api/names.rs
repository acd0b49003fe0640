//! Well-known names: the API group, finalizers, annotations, and the name under which the operator writes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The API group of all our kinds.
pub const GROUP: &str = "stevedore.dev";

/// The version of the API that this program writes.
pub const VERSION: &str = "v1alpha1";

/// The field manager and event source of the operator. It never changes: server-side apply would keep the fields of
/// an old name for ever.
pub const FIELD_MANAGER: &str = "stevedore";

/// On a Worker while it has a VM or an open operation.
pub const WORKER_FINALIZER: &str = "stevedore.dev/worker";

/// On a Hypervisor while a Worker needs it.
pub const HYPERVISOR_FINALIZER: &str = "stevedore.dev/hypervisor";

/// On a `WorkerSession` until it has ended and all its claims are released.
pub const SESSION_FINALIZER: &str = "stevedore.dev/session";

/// On a `WorkerTask` until nothing of it runs and its claim is released.
pub const TASK_FINALIZER: &str = "stevedore.dev/task";

/// Any new value asks for one test of the Worker.
pub const TEST_REQUESTED_AT: &str = "stevedore.dev/test-requested-at";

/// `"true"` releases our finalizers without a call to the hypervisor and leaves the VM behind.
pub const ABANDON: &str = "stevedore.dev/abandon";

/// `"true"` lets a delete end what still runs on the Worker.
pub const FORCE_DELETE: &str = "stevedore.dev/force-delete";

/// On a Hypervisor: the name of a cluster whose new identity may be taken over.
pub const ACCEPT_IDENTITY: &str = "stevedore.dev/accept-identity";

/// On a Hypervisor: the objects that carry its in-use finalizer, such as `ConfigMap/pve-ca Secret/pve-credentials`,
/// so that they are released even if the spec has come to name others.
pub const HOLDS: &str = "stevedore.dev/holds";

/// The longest value of [`TEST_REQUESTED_AT`] that a status holds as it is.
const LONGEST_TEST_REQUEST: usize = 253;

/// The finalizer that keeps a Secret or `ConfigMap` while the Hypervisor with this UID uses it.
pub fn in_use_finalizer(hypervisor_uid: &str) -> String {
    format!("stevedore.dev/in-use.{hypervisor_uid}")
}

/// The test that is asked for by annotation, as `status.lastHandledTestRequest` holds it: the annotation's value, or
/// its SHA-256 if the value is too long for a status. `None` without annotation or with an empty one.
pub fn test_request(annotations: Option<&BTreeMap<String, String>>) -> Option<String> {
    let value = annotations?.get(TEST_REQUESTED_AT).filter(|value| !value.is_empty())?;
    if value.chars().count() <= LONGEST_TEST_REQUEST {
        return Some(value.clone());
    }
    let digest = Sha256::digest(value.as_bytes());
    Some(digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

/// Whether an annotation is there and says `true`.
pub fn is_set(annotations: Option<&BTreeMap<String, String>>, name: &str) -> bool {
    annotations.and_then(|all| all.get(name)).is_some_and(|value| value == "true")
}

/// What a switch says that is there and says neither `true` nor `false`: nobody can tell what was meant.
pub fn unclear<'a>(annotations: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    let value = annotations?.get(name)?.as_str();
    (!matches!(value, "true" | "false")).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(TEST_REQUESTED_AT.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_test_request_fits_into_a_status() {
        assert_eq!(test_request(None), None);
        assert_eq!(test_request(Some(&asked(""))), None);
        assert_eq!(test_request(Some(&asked("now"))).as_deref(), Some("now"));
        let long = test_request(Some(&asked(&"x".repeat(100_000)))).unwrap_or_default();
        assert!(long.starts_with("sha256:") && long.len() == 71, "{long}");
    }

    #[test]
    fn only_true_sets_an_annotation() {
        let annotations = BTreeMap::from([(ABANDON.to_owned(), "yes".to_owned())]);
        assert!(!is_set(Some(&annotations), ABANDON));
        let annotations = BTreeMap::from([(ABANDON.to_owned(), "true".to_owned())]);
        assert!(is_set(Some(&annotations), ABANDON));
        assert!(!is_set(None, ABANDON));
    }

    #[test]
    fn a_switch_says_true_or_false() {
        let says = |value: &str| BTreeMap::from([(ABANDON.to_owned(), value.to_owned())]);
        assert_eq!(unclear(Some(&says("True")), ABANDON), Some("True"));
        assert_eq!(unclear(Some(&says("")), ABANDON), Some(""));
        assert_eq!(unclear(Some(&says("false")), ABANDON), None);
        assert_eq!(unclear(Some(&says("true")), ABANDON), None);
        assert_eq!(unclear(None, ABANDON), None);
    }
}

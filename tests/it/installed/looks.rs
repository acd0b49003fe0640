//! What people see of the examples: `kubectl get`, `describe` and `explain`, compared with files in `tests/golden/`.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; look at what changed.

use super::normal;
use super::stage::{NAMESPACE, Stage};
use crate::support::golden;

/// What is asked, what makes the answer the same each time, and where it stands.
type View = (&'static [&'static str], fn(&str) -> String, &'static str);

const VIEWS: [View; 7] = [
    (&["get", "workers"], normal::table, "get-workers.txt"),
    (&["get", "workers", "-o", "wide"], normal::table, "get-workers-wide.txt"),
    (&["get", "hypervisors", "-o", "wide"], normal::table, "get-hypervisors-wide.txt"),
    (&["describe", "worker", "worker-1"], normal::description, "describe-worker.txt"),
    (&["describe", "worker", "worker-failing"], normal::description, "describe-failing-worker.txt"),
    (&["describe", "hypervisor", "pve"], normal::description, "describe-hypervisor.txt"),
    (&["explain", "worker.spec.networks"], str::to_owned, "explain-worker-networks.txt"),
];

/// Holds what kubectl shows of the examples, once they came to rest, against the files.
pub(super) async fn check(stage: &Stage) {
    let mut differences = String::new();
    for (question, normal, file) in VIEWS {
        let args: Vec<&str> = ["-n", NAMESPACE].iter().chain(question).copied().collect();
        differences += &golden::difference(file, &normal(&stage.kubectl(&args).await));
    }
    assert!(differences.is_empty(), "kubectl shows something else than tests/golden:\n{differences}");
}

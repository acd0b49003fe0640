//! What people see: `kubectl get`, `describe` and `explain`, compared with files in `tests/golden/`.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; look at what changed.

use super::normal;
use super::stage::{NAMESPACE, Stage};
use crate::support::golden;

/// What is asked, what makes the answer the same each time, and where it stands.
pub(super) type View = (&'static [&'static str], fn(&str) -> String, &'static str);

/// Of the examples, once they came to rest.
pub(super) const EXAMPLES: [View; 7] = [
    (&["get", "workers"], normal::table, "get-workers.txt"),
    (&["get", "workers", "-o", "wide"], normal::table, "get-workers-wide.txt"),
    (&["get", "hypervisors", "-o", "wide"], normal::table, "get-hypervisors-wide.txt"),
    (&["describe", "worker", "worker-1"], normal::description, "describe-worker.txt"),
    (&["describe", "worker", "worker-failing"], normal::description, "describe-failing-worker.txt"),
    (&["describe", "hypervisor", "pve"], normal::description, "describe-hypervisor.txt"),
    (&["explain", "worker.spec.networks"], str::to_owned, "explain-worker-networks.txt"),
];

/// Of a session while eight of its tasks run and two wait.
pub(super) const SESSIONS: [View; 5] = [
    (&["get", "workersessions,workertasks"], normal::tables, "get-sessions.txt"),
    (&["get", "workersessions,workertasks", "-o", "wide"], normal::tables, "get-sessions-wide.txt"),
    (&["describe", "workersession", "nightly"], normal::description, "describe-session.txt"),
    (&["describe", "workertask", "nightly-0"], normal::description, "describe-task.txt"),
    (&["describe", "workertask", "nightly-4"], normal::description, "describe-waiting-task.txt"),
];

/// Of sessions with commands that have ended.
pub(super) const ENDED: [View; 3] = [
    (&["get", "workersessions,workertasks", "-o", "wide"], normal::tables, "get-ended-sessions-wide.txt"),
    (&["describe", "workersession", "badly"], normal::description, "describe-failed-session.txt"),
    (&["describe", "workertask", "badly-0"], normal::description, "describe-failed-task.txt"),
];

/// Of tasks that wait, each for another reason.
pub(super) const WAITING: [View; 2] = [
    (&["get", "workersessions,workertasks", "-o", "wide"], normal::tables, "get-waiting-sessions-wide.txt"),
    (&["describe", "workersession", "of-failing"], normal::description, "describe-waiting-session.txt"),
];

/// Holds what kubectl shows against the files.
pub(super) async fn check(stage: &Stage, views: &[View]) {
    let mut differences = String::new();
    for (question, normal, file) in views {
        let args: Vec<&str> = ["-n", NAMESPACE].iter().chain(*question).copied().collect();
        differences += &golden::difference(file, &normal(&stage.kubectl(&args).await));
    }
    assert!(differences.is_empty(), "kubectl shows something else than tests/golden:\n{differences}");
}

//! Why a worker takes no tasks, in words for people, and whether that passes. The words go on after the name of the worker.

use crate::api::reasons::TaskReason;

/// Whether it is over soon, with nobody's help: such a worker is waited for like one that is full.
pub const fn passes(reason: TaskReason) -> bool {
    matches!(reason, TaskReason::ShuttingDown | TaskReason::Unavailable)
}

/// What one worker is, and what more there is to say of that; `message` may be empty.
pub fn says(reason: TaskReason, message: &str) -> String {
    let what = of_one(reason);
    if message.is_empty() { what.to_owned() } else { format!("{what}: {message}") }
}

/// What one worker is.
pub const fn of_one(reason: TaskReason) -> &'static str {
    match reason {
        TaskReason::Disabled => "is disabled",
        TaskReason::Paused => "is paused",
        TaskReason::TestFailed => "failed its test",
        TaskReason::Draining => "is to be changed first",
        TaskReason::ShuttingDown => "is shutting down",
        TaskReason::Deleting => "is being deleted",
        TaskReason::Stalled => "is stalled",
        TaskReason::HostUnschedulable => "is on a host that is to get no tasks",
        TaskReason::HostOffline => "is on a host that is offline",
        TaskReason::HypervisorNotReady => "is on a hypervisor that is not ready",
        _ => "takes no tasks now",
    }
}

/// What several workers are.
pub const fn of_many(reason: TaskReason) -> &'static str {
    match reason {
        TaskReason::Disabled => "are disabled",
        TaskReason::Paused => "are paused",
        TaskReason::TestFailed => "failed their tests",
        TaskReason::Draining => "are to be changed first",
        TaskReason::ShuttingDown => "are shutting down",
        TaskReason::Deleting => "are being deleted",
        TaskReason::Stalled => "are stalled",
        TaskReason::HostUnschedulable => "are on hosts that are to get no tasks",
        TaskReason::HostOffline => "are on hosts that are offline",
        TaskReason::HypervisorNotReady => "are on a hypervisor that is not ready",
        _ => "take no tasks now",
    }
}

//! Temporary: between the scheduler's words and those of the API.

use crate::api::reasons::TaskReason;
use crate::domain::availability;
use crate::domain::schedule::{Availability, Unavailable, Unfit, WaitReason};

pub(super) fn availability(one: availability::Availability) -> Availability {
    match one {
        availability::Availability::Running => Availability::Running,
        availability::Availability::Launching => Availability::Launching,
        availability::Availability::Off => Availability::Off,
        availability::Availability::Not(why) => {
            Availability::Not(Unavailable { reason: unfit(why.reason), message: why.message })
        }
    }
}

fn unfit(reason: TaskReason) -> Unfit {
    match reason {
        TaskReason::Disabled => Unfit::Disabled,
        TaskReason::Paused => Unfit::Paused,
        TaskReason::TestFailed => Unfit::TestFailed,
        TaskReason::Draining => Unfit::Draining,
        TaskReason::Deleting => Unfit::Deleting,
        TaskReason::Stalled => Unfit::Stalled,
        TaskReason::HostUnschedulable => Unfit::HostUnschedulable,
        TaskReason::HostOffline => Unfit::HostOffline,
        _ => Unfit::ShuttingDown,
    }
}

pub(super) fn reason(reason: WaitReason) -> TaskReason {
    TaskReason::ALL.iter().copied().find(|one| one.as_str() == reason.as_str()).unwrap_or(TaskReason::Unavailable)
}

//! Before a VM is made from an image, the image must be where the VM's host can import it from.
//!
//! The host downloads, under a name that follows from the checksum, and checks before the file gets that name: so what is
//! there is right, and to ask once more does no harm. Of several workers that want the same image one has it downloaded,
//! the others wait for it, and go by its failure, too. A download takes no launch permit: nothing is made or powered on
//! meanwhile.

use std::time::Duration;

use super::test::{passes, was_told};
use super::{Decision, Effect, Facts, Look, MOST_SENDS, test};
use crate::api::reasons::WorkerReason;
use crate::domain::observation::{ImageSight, Presence, Problem};
use crate::domain::operation::Operation;
use crate::hypervisor::vm::TaskState;
use crate::hypervisor::vm::image::{ImageFile, LONGEST_DOWNLOAD};

/// Between two looks at a download of which no task is known here: it takes minutes, many may wait for it, and each look
/// costs several calls.
const OTHERS: Duration = Duration::from_secs(10);

/// Makes the VM once its image is there. No operation is open yet; that somebody else has the image downloaded opens none.
pub(super) fn before(facts: &Facts, operation: &Operation, make: impl FnOnce(&Facts) -> Decision) -> Decision {
    let Some(image) = facts.declared.wanted.image.file() else { return make(facts) };
    match &facts.looks.image {
        None => facts.look(Look::Image, operation),
        Some(ImageSight::Present) => make(facts),
        Some(ImageSight::Downloading) => facts.waiting(under_way(facts, image), operation, OTHERS),
        // A person who asks for a test wants to see it tried.
        Some(ImageSight::Refused(why)) if operation.request.is_none() => {
            facts.conclude(operation, "deployed", format!("{why}; that was tried for another worker"))
        }
        Some(ImageSight::Absent | ImageSight::Refused(_)) => facts.act(operation, Effect::Download),
    }
}

/// The call that downloads has been sent, perhaps: what came of it? Nothing depends on it but time; so whoever does not
/// want this image any more leaves it to itself.
pub(super) fn plan(facts: &Facts, operation: &Operation) -> Decision {
    let outdated = operation.spec_hash != facts.declared.spec_hash;
    let Some(image) = facts.declared.wanted.image.file().filter(|_| !outdated && !facts.declared.deleting) else {
        return facts.close(operation);
    };
    if was_told(facts, operation) {
        return facts.close(operation);
    }
    let is_late = facts.observed.step_age >= LONGEST_DOWNLOAD;
    if facts.looks.task == Some(TaskState::Running) && !is_late {
        return facts.waiting(under_way(facts, image), operation, super::BUSY);
    }
    match &facts.looks.image {
        None => facts.look(Look::Image, operation),
        Some(ImageSight::Present) => kept(facts, operation),
        _ if is_late => facts.conclude(operation, "deployed", too_late(facts, operation, image)),
        Some(ImageSight::Downloading) => facts.waiting(under_way(facts, image), operation, OTHERS),
        Some(ImageSight::Absent | ImageSight::Refused(_)) => match failure(facts, operation) {
            Some(why) => facts.conclude(operation, "deployed", format!("{image} could not be downloaded: {why}")),
            None => facts.act(operation, Effect::Download),
        },
    }
}

/// The image is there. That took its time: all that stood before the operation began is looked at anew before the VM is
/// made, that the worker still has none first of all. What is in the way is said with no operation open.
fn kept(facts: &Facts, operation: &Operation) -> Decision {
    match &facts.observed.presence {
        Presence::Absent { .. } if facts.observed.presence.is_gone() => {}
        Presence::Absent { .. } | Presence::Unknown(_) => return facts.poll(operation),
        Presence::Present { .. } | Presence::Elsewhere { .. } => return facts.close(operation),
    }
    let is_clear = match (&facts.looks.strangers, &facts.looks.obstacles) {
        (None, _) => return facts.look(Look::Strangers, operation),
        (_, None) => return facts.look(Look::Obstacles(None), operation),
        (Some(strangers), Some(obstacles)) => strangers.is_empty() && obstacles.is_empty(),
    };
    if is_clear && facts.observed.conflict.is_none() { test::create(facts, operation) } else { facts.close(operation) }
}

/// Why it is not tried again, but left to the next test; `None` if it is.
fn failure(facts: &Facts, operation: &Operation) -> Option<String> {
    if let Some(TaskState::Failed { message, kind }) = &facts.looks.task
        && !passes(kind)
    {
        return Some(message.clone());
    }
    let fault = facts.observed.last_call.as_ref();
    if let Some(fault) = fault.filter(|fault| !passes(&fault.kind)) {
        return Some(fault.to_string());
    }
    (operation.sends >= MOST_SENDS).then(|| fault.map_or_else(|| "it does not come".to_owned(), ToString::to_string))
}

fn too_late(facts: &Facts, operation: &Operation, image: &ImageFile) -> String {
    let minutes = LONGEST_DOWNLOAD.as_secs() / 60;
    let task = match (&facts.looks.task, &operation.task) {
        (Some(TaskState::Running), Some(task)) => format!("; the task {task} still runs, and may be ended if it hangs"),
        _ => String::new(),
    };
    format!(
        "{image} could not be downloaded: it has not come for {minutes} min; see the log of the task on {}{task}",
        operation.target.host
    )
}

fn under_way(facts: &Facts, image: &ImageFile) -> Problem {
    let text = format!("{image} is being downloaded for {}", facts.declared.wanted.host);
    Problem::new(WorkerReason::Downloading, text)
}

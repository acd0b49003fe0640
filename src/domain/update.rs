//! Updates of a worker's packages, as they are seen inside its guest.
//!
//! The update that an operation wants leaves a guard in the guest before it is started, so that it is started once at
//! most, whatever happens to the one who starts it. What became of it is read from the guard and from its unit.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::worker_updates::UpdateOutcome;

/// What is seen of an operation's update in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSight {
    /// The id of the guest's present boot.
    pub boot_id: String,
    /// What became of the update.
    pub state: UpdateState,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateState {
    /// It has never been heard of in this guest.
    NotStarted,
    /// It runs, or is about to.
    Running,
    /// It ended, and left its result.
    Ended(UpdateEnd),
    /// It was started in an earlier boot and has no result: the guest went down in the middle of it.
    Lost,
    /// It was started in this boot, but neither runs nor has a result: that could not be written, or what wrote it was killed.
    NoResult,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateEnd {
    /// The result.
    pub result: UpdateResult,
    /// What installed the packages; none if the guest has nothing that we know.
    pub manager: Option<PackageManager>,
    /// Packages that were updated.
    pub packages: u32,
    /// Packages that are not current all the same, because something holds them back.
    pub pending: u32,
    /// What was installed takes effect with the next boot only.
    pub reboot_needed: bool,
    /// The boot in which it ended.
    pub boot_id: String,
    /// How long ago it ended: the guest's clock need not agree with ours.
    pub finished_ago: Duration,
}

/// The result of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateResult {
    /// It went through, which does not say that every package is current.
    Done,
    /// It failed; the text says why.
    Failed(String),
    /// It took longer than it may. The text says what it waited for, and is empty if nobody knows.
    TimedOut(String),
}

/// What installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageManager {
    /// Debian's and Ubuntu's.
    Apt,
    /// Fedora's, and that of the many that are like Red Hat Enterprise Linux.
    Dnf,
}

impl fmt::Display for PackageManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
        })
    }
}

/// An update that is over, as the status keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRecord {
    /// The operation that wanted it.
    pub operation: String,
    /// How it ended.
    pub outcome: UpdateOutcome,
    /// Packages that were updated.
    pub packages: u32,
    /// Packages that are not current all the same.
    pub pending: u32,
    /// The guest has booted since.
    pub rebooted: bool,
    /// When it ended.
    pub finished: Timestamp,
    /// The same for people.
    pub message: String,
}

impl UpdateRecord {
    /// An update that ended, seen from a guest in the boot `boot_id`.
    pub fn of(operation: &str, end: &UpdateEnd, boot_id: &str, now: Timestamp) -> Self {
        let ago = SignedDuration::try_from(end.finished_ago).unwrap_or(SignedDuration::ZERO);
        let rebooted = end.boot_id != boot_id;
        let outcome = match end.result {
            UpdateResult::Done => UpdateOutcome::Succeeded,
            UpdateResult::Failed(_) => UpdateOutcome::Failed,
            UpdateResult::TimedOut(_) => UpdateOutcome::TimedOut,
        };
        Self {
            operation: operation.to_owned(),
            outcome,
            packages: end.packages,
            pending: end.pending,
            rebooted,
            finished: now.checked_sub(ago).unwrap_or(now),
            message: message(end, rebooted),
        }
    }

    /// An update of which nothing came.
    pub fn failed(operation: &str, why: &str, now: Timestamp) -> Self {
        Self {
            operation: operation.to_owned(),
            outcome: UpdateOutcome::Failed,
            packages: 0,
            pending: 0,
            rebooted: false,
            finished: now,
            message: format!("the update of the packages failed: {why}"),
        }
    }

    /// The same for a guest that could not be rebooted, which counts as a failure.
    #[must_use]
    pub fn without_reboot(self, why: &str) -> Self {
        let message = format!("{}; the reboot that it asks for failed: {why}", self.message);
        Self { outcome: UpdateOutcome::Failed, message, ..self }
    }

    /// Whether it went through.
    pub fn succeeded(&self) -> bool {
        self.outcome == UpdateOutcome::Succeeded
    }

    /// Whether the guest may be another one than before, so that what was found out about it does not count any more.
    pub fn changed_something(&self) -> bool {
        self.packages > 0 || self.rebooted || !self.succeeded()
    }
}

fn message(end: &UpdateEnd, rebooted: bool) -> String {
    let by = end.manager.map(|manager| format!(" by {manager}")).unwrap_or_default();
    let after = if rebooted { "; the worker was rebooted" } else { "" };
    match &end.result {
        UpdateResult::Done => {
            let held = if end.pending > 0 { format!(", {} held back", end.pending) } else { String::new() };
            format!("{} updated{by}{held}{after}", packages(end.packages))
        }
        UpdateResult::Failed(why) => format!("the update of the packages{by} failed: {why}{after}"),
        UpdateResult::TimedOut(why) if why.is_empty() => {
            format!("the update of the packages{by} took longer than updates.timeout{after}")
        }
        UpdateResult::TimedOut(why) => {
            format!("the update of the packages{by} took longer than updates.timeout: {why}{after}")
        }
    }
}

/// So many packages, in words.
fn packages(count: u32) -> String {
    match count {
        0 => "no package had to be".to_owned(),
        1 => "1 package".to_owned(),
        more => format!("{more} packages"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(result: UpdateResult, packages: u32, pending: u32) -> UpdateEnd {
        let (manager, boot_id) = (Some(PackageManager::Apt), "b1".to_owned());
        UpdateEnd {
            result,
            manager,
            packages,
            pending,
            reboot_needed: false,
            boot_id,
            finished_ago: Duration::from_secs(9),
        }
    }

    fn record(end: &UpdateEnd, boot_id: &str) -> UpdateRecord {
        UpdateRecord::of("op-1", end, boot_id, Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn what_an_update_did_is_told_in_words() {
        let told = |result, packages, pending, boot| record(&end(result, packages, pending), boot).message;
        assert_eq!(told(UpdateResult::Done, 0, 0, "b1"), "no package had to be updated by apt");
        assert_eq!(told(UpdateResult::Done, 1, 2, "b1"), "1 package updated by apt, 2 held back");
        assert_eq!(told(UpdateResult::Done, 3, 0, "b2"), "3 packages updated by apt; the worker was rebooted");
        let failed = told(UpdateResult::Failed("no way".into()), 0, 0, "b1");
        assert_eq!(failed, "the update of the packages by apt failed: no way");
        let late = told(UpdateResult::TimedOut(String::new()), 0, 0, "b1");
        assert_eq!(late, "the update of the packages by apt took longer than updates.timeout");
        assert_eq!(record(&end(UpdateResult::Done, 0, 0), "b1").finished.as_second(), 991);
    }

    #[test]
    fn only_an_update_that_found_nothing_to_do_leaves_the_guest_as_it_was() {
        assert!(!record(&end(UpdateResult::Done, 0, 4), "b1").changed_something());
        assert!(record(&end(UpdateResult::Done, 1, 0), "b1").changed_something());
        assert!(record(&end(UpdateResult::Done, 0, 0), "b2").changed_something());
        assert!(record(&end(UpdateResult::TimedOut(String::new()), 0, 0), "b1").changed_something());
        let failed = UpdateRecord::failed("op-1", "no Secret", Timestamp::UNIX_EPOCH);
        assert!(failed.changed_something() && !failed.succeeded());
    }
}

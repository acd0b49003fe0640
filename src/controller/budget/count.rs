//! The arithmetic of the budget.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::hypervisor_status::Deletion;

/// An entry counts for this long.
pub(super) const COUNTED: Duration = Duration::from_secs(3600);
/// A VM id rests for this long after a VM of that id was deleted or vanished.
pub(super) const REST: Duration = Duration::from_secs(15 * 60);

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stands in the list.
    Entered,
    /// Not now; the text says until when.
    Held(String),
}

/// Whether the budget counts an entry.
pub(super) fn is_counted(entry: &Deletion) -> bool {
    !entry.vanished
}

/// Whether an entry was made less than `age` ago. One from the future (the clock was put back) is young.
pub(super) fn is_younger(entry: &Deletion, now: Timestamp, age: Duration) -> bool {
    now.duration_since(entry.time.0) < SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)
}

/// Whether an entry stands in the list: a deletion by its operation, a vanished VM by its id while that rests.
pub(super) fn is_entered(entries: &[Deletion], entry: &Deletion) -> bool {
    entries.iter().any(|other| match &entry.operation {
        Some(operation) => other.operation.as_ref() == Some(operation),
        None => other.vm_id == entry.vm_id && is_younger(other, entry.time.0, REST),
    })
}

/// The list with one more entry, without those that no longer count, at most `most` long.
pub(super) fn with_entry(entries: &[Deletion], entry: &Deletion, most: usize) -> Vec<Deletion> {
    let mut next: Vec<Deletion> =
        entries.iter().filter(|other| is_younger(other, entry.time.0, COUNTED)).cloned().collect();
    while next.len() >= most {
        // The schema has room for more than the highest budget, so that there is one that the budget does not count.
        let oldest = next.iter().position(|other| !is_counted(other)).unwrap_or(0);
        next.remove(oldest);
    }
    next.push(entry.clone());
    next
}

/// Why no more may be deleted now, if that is so.
pub(super) fn refusal<'a>(
    entries: impl Iterator<Item = &'a Deletion>,
    limit: usize,
    now: Timestamp,
    hypervisor: &str,
) -> Option<String> {
    if limit == 0 {
        return Some(format!(
            "limits.deletionsPerHour of Hypervisor {hypervisor} is 0, so nothing is deleted; raise it to let deletions go on"
        ));
    }
    let mut times: Vec<Timestamp> = entries
        .filter(|entry| is_counted(entry) && is_younger(entry, now, COUNTED))
        .map(|entry| entry.time.0)
        .collect();
    times.sort();
    let used = times.len();
    let frees = *times.get(used.checked_sub(limit)?)?;
    let until = frees.checked_add(SignedDuration::try_from(COUNTED).ok()?).ok()?;
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
    Some(format!(
        "{used} VMs were deleted within an hour, and limits.deletionsPerHour allows {limit} (Hypervisor {hypervisor}); the \
         next one may go at {until}, or at once if limits.deletionsPerHour is raised"
    ))
}

/// The VM ids that rest.
pub(in crate::controller) fn resting(entries: &[Deletion], now: Timestamp) -> impl Iterator<Item = u32> {
    entries.iter().filter(move |entry| is_younger(entry, now, REST)).filter_map(|entry| entry.vm_id.parse().ok())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn deletion(at: i64, id: &str, operation: Option<&str>) -> Deletion {
        Deletion {
            time: Time(minute(at)),
            vm_id: id.into(),
            operation: operation.map(str::to_owned),
            vanished: operation.is_none(),
        }
    }

    #[test]
    fn an_hour_has_so_many_deletions() {
        let entries = [
            deletion(0, "1", Some("a")),
            deletion(10, "2", Some("b")),
            deletion(20, "3", None),
            deletion(30, "4", Some("c")),
        ];
        let refused = |limit, now| refusal(entries.iter(), limit, minute(now), "ns/pve");
        assert_eq!(refused(4, 40), None, "a VM that vanished does not count");
        let text = refused(3, 40).unwrap();
        assert!(text.starts_with("3 VMs") && text.contains("1970-01-01T01:00:00Z"), "{text}");
        assert!(refused(2, 40).unwrap().contains("1970-01-01T01:10:00Z"), "two must grow old first");
        assert_eq!(refused(3, 60), None, "the first one is an hour old");
        assert!(refused(0, 500).unwrap().contains("is 0"));
        assert!(refused(3, -100).is_some(), "the clock was put back");
    }

    #[test]
    fn an_operation_counts_once_and_a_vanished_id_rests() {
        let entries = [deletion(0, "1", Some("a")), deletion(0, "2", None)];
        assert!(is_entered(&entries, &deletion(50, "9", Some("a"))));
        assert!(!is_entered(&entries, &deletion(50, "1", Some("b"))));
        assert!(is_entered(&entries, &deletion(10, "1", None)), "we deleted it ourselves");
        assert!(is_entered(&entries, &deletion(10, "2", None)));
        assert!(!is_entered(&entries, &deletion(15, "2", None)), "it has rested");
        assert_eq!(resting(&entries, minute(14)).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(resting(&entries, minute(15)).count(), 0);
    }

    #[test]
    fn the_list_stays_short() {
        let entries = [deletion(0, "1", Some("a")), deletion(30, "2", None), deletion(31, "3", Some("b"))];
        let ids = |now, most| {
            let next = with_entry(&entries, &deletion(now, "9", Some("z")), most);
            next.into_iter().map(|entry| entry.vm_id).collect::<Vec<_>>()
        };
        assert_eq!(ids(40, 9), ["1", "2", "3", "9"]);
        assert_eq!(ids(60, 9), ["2", "3", "9"]);
        assert_eq!(ids(40, 3), ["1", "3", "9"], "what the budget does not count goes first");
    }
}

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

/// An entry and how long ago it was made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Aged {
    pub(super) entry: Deletion,
    pub(super) age: Duration,
}

impl Aged {
    fn is_counted(&self) -> bool {
        is_counted(&self.entry) && self.age < COUNTED
    }

    /// When the budget counts it no longer, by the wall clock, which says `now`. If that clock was set since, it is told
    /// to the minute, so that it reads the same each time.
    fn frees(&self, now: Timestamp) -> Option<Timestamp> {
        let by_wall = self.entry.time.0.checked_add(SignedDuration::try_from(COUNTED).ok()?).ok()?;
        let left = SignedDuration::try_from(COUNTED.saturating_sub(self.age)).ok()?;
        let by_age = now.checked_add(left).ok()?;
        if by_wall.duration_since(by_age).abs() < SignedDuration::from_mins(1) {
            return Some(by_wall);
        }
        Timestamp::from_second((by_age.as_second() / 60 + 1) * 60).ok()
    }
}

/// How long ago an entry was made, by the wall clock. One from the future (the clock was put back) was made just now.
pub(super) fn age_by_wall(entry: &Deletion, now: Timestamp) -> Duration {
    now.duration_since(entry.time.0).try_into().unwrap_or(Duration::ZERO)
}

/// Whether two entries are one.
pub(super) fn is_same(one: &Deletion, other: &Deletion) -> bool {
    let key = |entry: &Deletion| (entry.vm_id.clone(), entry.operation.clone(), entry.time.0.as_second());
    key(one) == key(other)
}

/// Whether the budget counts an entry, while it is young.
pub(super) fn is_counted(entry: &Deletion) -> bool {
    !entry.vanished
}

/// Whether an entry stands in the list: a deletion by its operation, a vanished VM by its id while that rests.
pub(super) fn is_entered(entries: &[Aged], entry: &Deletion) -> bool {
    entries.iter().any(|Aged { entry: other, age }| match &entry.operation {
        Some(operation) => other.operation.as_ref() == Some(operation),
        None => other.vm_id == entry.vm_id && *age < REST,
    })
}

/// The list with one more entry, without those that no longer count, at most `most` long.
pub(super) fn with_entry(entries: &[Aged], entry: &Deletion, most: usize) -> Vec<Deletion> {
    let mut next: Vec<Deletion> =
        entries.iter().filter(|other| other.age < COUNTED).map(|other| other.entry.clone()).collect();
    while next.len() >= most {
        // The schema has room for more than the highest budget, so that there is one that the budget does not count.
        let oldest = next.iter().position(|other| !is_counted(other)).unwrap_or(0);
        next.remove(oldest);
    }
    next.push(entry.clone());
    next
}

/// Why no more may be deleted now, if that is so.
pub(super) fn refusal(entries: &[Aged], limit: usize, now: Timestamp, hypervisor: &str) -> Option<String> {
    if limit == 0 {
        return Some(format!(
            "limits.deletionsPerHour of Hypervisor {hypervisor} is 0, so nothing is deleted; raise it to let deletions go on"
        ));
    }
    let mut counted: Vec<&Aged> = entries.iter().filter(|entry| entry.is_counted()).collect();
    counted.sort_by_key(|entry| std::cmp::Reverse(entry.age));
    let used = counted.len();
    let until = counted.get(used.checked_sub(limit)?)?.frees(now)?.strftime("%Y-%m-%dT%H:%M:%SZ");
    Some(format!(
        "{used} VMs were deleted within an hour, and limits.deletionsPerHour allows {limit} (Hypervisor {hypervisor}); the \
         next one may go at {until}, or at once if limits.deletionsPerHour is raised"
    ))
}

/// The VM ids that rest.
pub(super) fn resting(entries: &[Aged]) -> impl Iterator<Item = u32> {
    entries.iter().filter(|aged| aged.age < REST).filter_map(|aged| aged.entry.vm_id.parse().ok())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// The same by the wall clock at a minute.
    fn aged(entries: &[Deletion], now: i64) -> Vec<Aged> {
        let aged = |entry: &Deletion| Aged { entry: entry.clone(), age: age_by_wall(entry, minute(now)) };
        entries.iter().map(aged).collect()
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
        let refused = |limit, now| refusal(&aged(&entries, now), limit, minute(now), "ns/pve");
        assert_eq!(refused(4, 40), None, "a VM that vanished does not count");
        let text = refused(3, 40).unwrap();
        assert!(text.starts_with("3 VMs") && text.contains("1970-01-01T01:00:00Z"), "{text}");
        assert!(refused(2, 40).unwrap().contains("1970-01-01T01:10:00Z"), "two must grow old first");
        assert_eq!(refused(3, 60), None, "the first one is an hour old");
        assert!(refused(0, 500).unwrap().contains("is 0"));
        assert!(refused(3, -100).is_some(), "the clock was put back");
    }

    #[test]
    fn an_age_counts_although_the_wall_clock_was_set() {
        let entry = |age| Aged { entry: deletion(0, "1", Some("a")), age: Duration::from_secs(age) };
        let refused = |age, now: i64| refusal(&[entry(age)], 1, Timestamp::from_second(now).unwrap(), "ns/pve");
        let text = refused(600, 90_000).unwrap();
        assert!(text.contains("1970-01-02T01:51:00Z"), "{text}");
        assert_eq!(refused(601, 90_001), Some(text), "it reads the same each time");
        assert_eq!(refused(3600, 100), None, "the clock was put back, and an hour has passed all the same");
    }

    #[test]
    fn an_operation_counts_once_and_a_vanished_id_rests() {
        let entries = [deletion(0, "1", Some("a")), deletion(0, "2", None)];
        let is_entered = |entry: &Deletion, now| is_entered(&aged(&entries, now), entry);
        assert!(is_entered(&deletion(50, "9", Some("a")), 50));
        assert!(!is_entered(&deletion(50, "1", Some("b")), 50));
        assert!(is_entered(&deletion(10, "1", None), 10), "we deleted it ourselves");
        assert!(is_entered(&deletion(10, "2", None), 10));
        assert!(!is_entered(&deletion(15, "2", None), 15), "it has rested");
        assert_eq!(resting(&aged(&entries, 14)).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(resting(&aged(&entries, 15)).count(), 0);
    }

    #[test]
    fn the_list_stays_short() {
        let entries = [deletion(0, "1", Some("a")), deletion(30, "2", None), deletion(31, "3", Some("b"))];
        let ids = |now, most| {
            let next = with_entry(&aged(&entries, now), &deletion(now, "9", Some("z")), most);
            next.into_iter().map(|entry| entry.vm_id).collect::<Vec<_>>()
        };
        assert_eq!(ids(40, 9), ["1", "2", "3", "9"]);
        assert_eq!(ids(60, 9), ["2", "3", "9"]);
        assert_eq!(ids(40, 3), ["1", "3", "9"], "what the budget does not count goes first");
    }
}

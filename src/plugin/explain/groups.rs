//! Tasks of which the same is to be said, said once: so that a session of a thousand tasks can be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Groups of one place that are shown; those of more tasks go first.
const MOST_GROUPS: usize = 12;
/// Ranges of tasks that one line names.
const MOST_RANGES: usize = 12;

/// Where a task is; what people ask about comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Waiting,
    Starting,
    Running,
    Failed,
    Cancelled,
    Succeeded,
}

impl Place {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "wait",
            Self::Starting => "are starting",
            Self::Running => "run",
            Self::Failed => "failed",
            Self::Cancelled => "were cancelled",
            Self::Succeeded => "succeeded",
        }
    }
}

/// What is to be said of a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    place: Place,
    head: String,
    lines: Vec<String>,
}

impl Told {
    pub(super) fn new(place: Place, head: String, lines: Vec<String>) -> Self {
        Self { place, head, lines }
    }
}

/// A text on all tasks of a session, each with its place in the session's list.
pub(super) fn shown(session: &str, tasks: Vec<(i32, Told)>, all: bool) -> String {
    let mut groups: BTreeMap<Told, Vec<i32>> = BTreeMap::new();
    for (index, told) in tasks {
        groups.entry(told).or_default().push(index);
    }
    let mut by_place: BTreeMap<Place, Vec<(Told, Vec<i32>)>> = BTreeMap::new();
    for (told, indices) in groups {
        by_place.entry(told.place).or_default().push((told, indices));
    }
    let mut text = String::new();
    for (place, mut groups) in by_place {
        groups.sort_by_key(|(_, indices)| indices.first().copied());
        let most = if all { usize::MAX } else { MOST_GROUPS };
        let left = set_aside(&mut groups, most);
        for (told, indices) in &groups {
            let _ = write!(text, "\n{}: {}\n", named(session, indices), told.head);
            for line in &told.lines {
                let _ = writeln!(text, "    {line}");
            }
        }
        if left > 0 {
            let _ = write!(text, "\n{left} more {} (--all shows them)\n", place.as_str());
        }
    }
    text
}

/// Takes out the smallest groups, so that `most` are left; how many tasks were in them.
fn set_aside(groups: &mut Vec<(Told, Vec<i32>)>, most: usize) -> usize {
    let mut sizes: Vec<usize> = groups.iter().map(|(_, indices)| indices.len()).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let Some(largest_left) = sizes.get(most).copied() else { return 0 };
    // Of those of one size the first ones stay.
    let mut room = most - sizes.iter().take(most).filter(|size| **size > largest_left).count();
    let mut left = 0;
    groups.retain(|(_, indices)| {
        let stays = indices.len() > largest_left || indices.len() == largest_left && room > 0;
        if !stays {
            left += indices.len();
        } else if indices.len() == largest_left {
            room -= 1;
        }
        stays
    });
    left
}

/// `task night-3`, or `tasks 0, 3-40 of night (39)`.
fn named(session: &str, indices: &[i32]) -> String {
    if let [index] = indices {
        return format!("task {session}-{index}");
    }
    let ranges = ranges(indices);
    let range = |(first, last): &(i32, i32)| match last - first {
        0 => format!("{first}"),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    };
    let mut text = ranges.iter().take(MOST_RANGES).map(range).collect::<Vec<_>>().join(", ");
    if ranges.len() > MOST_RANGES {
        text.push_str(", …");
    }
    format!("tasks {text} of {session} ({})", indices.len())
}

fn ranges(indices: &[i32]) -> Vec<(i32, i32)> {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indices {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(place: Place, head: &str) -> Told {
        Told::new(place, head.to_owned(), vec!["worker w1: is full (4/4)".to_owned()])
    }

    #[test]
    fn a_thousand_tasks_are_a_few_lines() {
        let of = |index: i32| match index {
            7 => told(Place::Running, "running, on worker w1"),
            0..=2 => told(Place::Succeeded, "succeeded"),
            _ => told(Place::Waiting, "waiting (Busy): all workers are full"),
        };
        let text = shown("night", (0..1000).map(|index| (index, of(index))).collect(), false);
        let expected = "
tasks 3-6, 8-999 of night (996): waiting (Busy): all workers are full
    worker w1: is full (4/4)

task night-7: running, on worker w1
    worker w1: is full (4/4)

tasks 0-2 of night (3): succeeded
    worker w1: is full (4/4)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn many_groups_are_counted_the_smallest_ones_first() {
        let of = |index: i32| told(Place::Failed, &format!("failed: {}", if index % 2 == 0 { 0 } else { index }));
        let tasks: Vec<_> = (0..100).map(|index| (index, of(index))).collect();
        let text = shown("night", tasks.clone(), false);
        assert!(text.contains("tasks 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, … of night (50): failed: 0"), "{text}");
        assert!(text.ends_with("\n39 more failed (--all shows them)\n"), "{text}");
        assert_eq!(text.matches("worker w1").count(), MOST_GROUPS);
        assert_eq!(shown("night", tasks, true).matches("worker w1").count(), 51);
    }

    #[test]
    fn two_in_a_row_are_no_range() {
        assert_eq!(named("n", &[0, 1, 4, 5, 6]), "tasks 0, 1, 4-6 of n (5)");
        assert_eq!(shown("n", Vec::new(), false), "");
    }
}

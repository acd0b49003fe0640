//! An attempt in a canned guest: what became of it by some moment.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::command::Course;
use crate::guest::tasks::Ended;

/// How long a command has between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(30);

/// A moment in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) boots: u64,
    pub(super) wall: Timestamp,
    pub(super) uptime: Duration,
}

impl Moment {
    /// The moment in the same boot when the guest has been up for so long.
    pub(super) fn at(self, uptime: Duration) -> Self {
        let passed = SignedDuration::try_from(uptime.saturating_sub(self.uptime)).unwrap_or(SignedDuration::MAX);
        Self { uptime, wall: self.wall.checked_add(passed).unwrap_or(Timestamp::MAX), ..self }
    }
}

/// A guard, and what is behind it.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) made: Moment,
    /// What was begun; none if it was stopped before.
    pub(super) run: Option<Run>,
}

/// A command that was begun.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) course: Course,
    pub(super) limit: Duration,
    /// For how long the guest had been up when it was asked to stop.
    pub(super) asked: Option<Duration>,
    /// For how long it had been up when it went down.
    pub(super) down: Option<Duration>,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stopped,
    Running,
    Lost,
    Ended(Ended, Moment),
}

impl Attempt {
    /// What became of it by `now`.
    pub(super) fn fate(&self, now: Moment) -> Fate {
        let Some(run) = &self.run else { return Fate::Stopped };
        let (end, at) = run.end(self.made.uptime);
        let same = self.made.boots == now.boots;
        // A boot of whose end nobody told has ended before anything else did.
        let until = run.down.unwrap_or(if same { now.uptime } else { Duration::ZERO });
        if at <= until {
            Fate::Ended(end, self.made.at(at))
        } else if same && run.down.is_none() {
            Fate::Running
        } else {
            Fate::Lost
        }
    }

    /// What it had printed by `now`.
    pub(super) fn printed(&self, now: Moment) -> Vec<u8> {
        let Some(run) = &self.run else { return Vec::new() };
        let (_, end) = run.end(self.made.uptime);
        let until = if self.made.boots == now.boots { now.uptime } else { Duration::MAX };
        let until = until.min(run.down.unwrap_or(Duration::MAX)).min(end).saturating_sub(self.made.uptime);
        let printed = run.course.printed.iter().filter(|(at, _)| *at <= until);
        let printed: Vec<&[u8]> = printed.map(|(_, text)| text.as_bytes()).collect();
        match &run.course.end {
            Ended::CouldNotStart(why) => format!("{why}\n").into_bytes(),
            _ => printed.concat(),
        }
    }
}

impl Run {
    /// How it ends if the guest stays up, and when, for one that began at `begun`.
    fn end(&self, begun: Duration) -> (Ended, Duration) {
        let grace = if self.course.stubborn { GRACE } else { Duration::ZERO };
        let mut ends = vec![
            (begun + self.course.lasts, Duration::ZERO, self.course.end.clone()),
            (begun + self.limit, grace, Ended::TimedOut),
        ];
        ends.extend(self.asked.map(|asked| (asked, grace, Ended::Stopped)));
        ends.sort_by_key(|(at, ..)| *at);
        let (at, grace, end) = ends.swap_remove(0);
        // One that will not hear may end by itself while it is waited for.
        (end, (at + grace).min(at.max(begun + self.course.lasts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boots: u64, uptime: u64) -> Moment {
        let wall = Timestamp::from_second(1000 + i64::try_from(uptime).unwrap()).unwrap();
        Moment { boots, wall, uptime: Duration::from_secs(uptime) }
    }

    fn attempt(script: &str, limit: u64) -> Attempt {
        let course = Course::of(&format!("set -- \"$1\" sh -c '{script}'\n"));
        let run = Run { course, limit: Duration::from_secs(limit), asked: None, down: None };
        Attempt { made: moment(1, 100), run: Some(run) }
    }

    fn asked(mut attempt: Attempt, at: u64) -> Attempt {
        attempt.run.as_mut().unwrap().asked = Some(Duration::from_secs(at));
        attempt
    }

    #[test]
    fn the_earliest_end_counts() {
        let fate = |attempt: &Attempt, at| attempt.fate(moment(1, at));
        let natural = attempt("sleep 10; exit 3", 60);
        assert_eq!(fate(&natural, 109), Fate::Running);
        assert_eq!(fate(&natural, 500), Fate::Ended(Ended::Exited(3), moment(1, 110)));
        assert_eq!(fate(&attempt("sleep 99", 60), 160), Fate::Ended(Ended::TimedOut, moment(1, 160)));
        assert_eq!(fate(&asked(attempt("sleep 99", 60), 120), 120), Fate::Ended(Ended::Stopped, moment(1, 120)));
        let stubborn = asked(attempt("trap \"\" TERM; sleep 99", 60), 120);
        assert_eq!(fate(&stubborn, 149), Fate::Running);
        assert_eq!(fate(&stubborn, 150), Fate::Ended(Ended::Stopped, moment(1, 150)));
        assert_eq!(fate(&asked(attempt("sleep 10", 60), 300), 301), Fate::Ended(Ended::Exited(0), moment(1, 110)));
    }

    #[test]
    fn what_had_not_ended_when_the_guest_went_down_is_lost() {
        let mut attempt = attempt("echo a; sleep 10; echo b", 60);
        assert_eq!(attempt.fate(moment(2, 5)), Fate::Lost);
        attempt.run.as_mut().unwrap().down = Some(Duration::from_secs(109));
        assert_eq!(attempt.fate(moment(2, 500)), Fate::Lost);
        assert_eq!(attempt.printed(moment(2, 500)), b"a\n");
        attempt.run.as_mut().unwrap().down = Some(Duration::from_secs(110));
        assert_eq!(attempt.fate(moment(2, 5)), Fate::Ended(Ended::Exited(0), moment(1, 110)));
        assert_eq!(attempt.printed(moment(2, 5)), b"a\nb\n");
    }
}

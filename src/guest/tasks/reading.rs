//! From the records of a look to what became of each attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::AttemptId;
use crate::domain::attempt::{Attempt, AttemptState, End, Ended, Sight};
use crate::guest::records::{BadAnswer, Record};
use crate::guest::scripts::TASK_LOOK;

/// How old the guard of an attempt may be that has no unit yet. A start gives up before.
const STARTING: Duration = Duration::from_secs(60);

/// A moment in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    /// The boot; none if only the wall clock tells of it.
    boot: Option<String>,
    wall: Timestamp,
    uptime: Duration,
}

/// A guard.
struct Guard {
    made: Moment,
    /// Stopped before it began.
    stopped: bool,
    result: Option<(Ended, Moment)>,
}

/// What a guest told of its attempts.
pub(super) struct Reading {
    now: Moment,
    /// Units that are active.
    units: BTreeSet<String>,
    guards: BTreeMap<AttemptId, Guard>,
}

impl Moment {
    /// How long before `now` it was.
    fn ago(&self, now: &Self) -> Duration {
        if self.boot == now.boot {
            return now.uptime.saturating_sub(self.uptime);
        }
        Duration::try_from(now.wall.duration_since(self.wall)).unwrap_or_default()
    }
}

impl Reading {
    pub(super) fn of(records: &[Record]) -> Result<Self, BadAnswer> {
        let untold = || BadAnswer::new(TASK_LOOK, "did not tell its boot and its clock");
        let boot = records.iter().find(|record| record.key() == "boot").ok_or_else(untold)?.exactly()?;
        let clock = records.iter().find(|record| record.key() == "clock").ok_or_else(untold)?;
        let [epoch, uptime] = clock.exactly()?;
        if boot == [""] {
            return Err(untold());
        }
        let now = moment(clock, [boot[0], epoch, uptime])?;
        let mut reading = Self { now, units: BTreeSet::new(), guards: BTreeMap::new() };
        records.iter().try_for_each(|record| reading.take(record))?;
        Ok(reading)
    }

    fn take(&mut self, record: &Record) -> Result<(), BadAnswer> {
        match record.key() {
            "boot" | "clock" => Ok(()),
            "unit" => record.exactly().map(|[name, _]| self.units.extend([name.to_owned()])),
            "guard" => {
                let [name, mark, boot, epoch, uptime] = record.exactly()?;
                let made = moment(record, [boot, epoch, uptime])?;
                let guard = Guard { made, stopped: mark == "stopped", result: None };
                self.guards.insert(record.parsed(name)?, guard);
                Ok(())
            }
            "result" => {
                let [name, word, value, boot, epoch, uptime, text] = record.exactly()?;
                let guard = self.guards.get_mut(&record.parsed(name)?);
                let guard = guard.ok_or_else(|| record.bad("a result without a guard"))?;
                guard.result = Some((ended(record, [word, value, text])?, moment(record, [boot, epoch, uptime])?));
                Ok(())
            }
            _ => Err(record.bad("nothing of that name is known")),
        }
    }

    pub(super) fn sight(self) -> Sight {
        let Self { now, mut units, guards } = self;
        let mut attempts = Vec::new();
        for (id, guard) in guards {
            let age = guard.made.ago(&now);
            let state = if units.remove(&id.unit()) { AttemptState::Running } else { guard.state(&now) };
            attempts.push(Attempt { id, age, state });
        }
        Sight { boot_id: now.boot.unwrap_or_default(), attempts, strays: units.into_iter().collect() }
    }
}

impl Guard {
    /// What became of an attempt without an active unit.
    fn state(self, now: &Moment) -> AttemptState {
        if let Some((result, finished)) = self.result {
            let finished_ago = finished.ago(now);
            return AttemptState::Ended(End { result, started: self.made.wall, finished: finished.wall, finished_ago });
        }
        if self.stopped {
            return AttemptState::Stopped;
        }
        let same_boot = self.made.boot.is_none() || self.made.boot == now.boot;
        match same_boot {
            true if self.made.ago(now) < STARTING => AttemptState::Starting,
            true => AttemptState::NoResult,
            false => AttemptState::Lost,
        }
    }
}

/// Reads a boot, seconds since 1970, and seconds since that boot; the first and the last may be `-`.
fn moment(record: &Record, [boot, epoch, uptime]: [&str; 3]) -> Result<Moment, BadAnswer> {
    let wall = Timestamp::from_second(record.parsed(epoch)?).map_err(|_| record.bad("no such time"))?;
    if boot == "-" {
        return Ok(Moment { boot: None, wall, uptime: Duration::ZERO });
    }
    let uptime = Duration::try_from_secs_f64(record.parsed(uptime)?).map_err(|_| record.bad("no such duration"))?;
    Ok(Moment { boot: Some(boot.to_owned()), wall, uptime })
}

fn ended(record: &Record, [word, value, text]: [&str; 3]) -> Result<Ended, BadAnswer> {
    Ok(match word {
        "exited" => Ended::Exited(record.parsed(value)?),
        "signalled" => Ended::Signalled(value.to_owned()),
        "timed-out" => Ended::TimedOut,
        "stopped" => Ended::Stopped,
        "failed" => Ended::CouldNotStart(text.to_owned()),
        _ => return Err(record.bad("an unknown result")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::records::read;
    use crate::guest::records::tests::printed;

    fn sight(lines: &str) -> Result<Sight, BadAnswer> {
        let text = format!("script\ttask_look\t1\nboot\tb2\nclock\t1000\t500.25\n{lines}end\n");
        Reading::of(&read(TASK_LOOK, &printed(text))?).map(Reading::sight)
    }

    /// The state of the one attempt in these records.
    fn state(lines: &str) -> AttemptState {
        let sight = sight(lines).unwrap();
        assert_eq!((sight.attempts.len(), sight.boot_id.as_str()), (1, "b2"));
        sight.attempts[0].state.clone()
    }

    fn end(result: Ended, finished: i64, ago: f64) -> AttemptState {
        let at = |second| Timestamp::from_second(second).unwrap();
        let finished_ago = Duration::from_secs_f64(ago);
        AttemptState::Ended(End { result, started: at(900), finished: at(finished), finished_ago })
    }

    #[test]
    fn a_guard_without_unit_and_result_starts_for_a_minute_and_has_none_then() {
        assert_eq!(state("guard\ta.1\theld\tb2\t0\t441.00\n"), AttemptState::Starting);
        assert_eq!(state("guard\ta.1\theld\tb2\t0\t440.20\n"), AttemptState::NoResult);
        // Made while the script looked, or by a wall clock that has jumped since.
        assert_eq!(state("guard\ta.1\theld\tb2\t5000\t501.00\n"), AttemptState::Starting);
        assert_eq!(state("guard\ta.1\theld\tb1\t999\t499.00\n"), AttemptState::Lost);
        assert_eq!(state("guard\ta.1\theld\t-\t950\t-\n"), AttemptState::Starting);
        assert_eq!(state("guard\ta.1\theld\t-\t940\t-\n"), AttemptState::NoResult);
        assert_eq!(state("guard\ta.1\tstopped\tb1\t100\t100.00\n"), AttemptState::Stopped);
    }

    #[test]
    fn a_unit_goes_before_a_result_and_a_result_before_the_boot() {
        let guard = "guard\ta.1\theld\tb2\t900\t400.00\n";
        let result = "result\ta.1\texited\t3\tb2\t950\t490.00\t\n";
        assert_eq!(
            state(&format!("unit\tstevedore-task-a.1.service\tdeactivating\n{guard}{result}")),
            AttemptState::Running
        );
        assert_eq!(state(&format!("{guard}{result}")), end(Ended::Exited(3), 950, 10.25));
        let before = "guard\ta.1\theld\tb1\t900\t400.00\nresult\ta.1\tsignalled\tKILL\tb1\t950\t490.00\t\n";
        assert_eq!(state(before), end(Ended::Signalled("KILL".into()), 950, 50.0));
        let failed = format!("{guard}result\ta.1\tfailed\t-\tb2\t950\t490.00\tno such user\n");
        assert_eq!(state(&failed), end(Ended::CouldNotStart("no such user".into()), 950, 10.25));
        for (word, ended) in [("timed-out", Ended::TimedOut), ("stopped", Ended::Stopped)] {
            assert_eq!(state(&format!("{guard}result\ta.1\t{word}\t-\tb2\t950\t490.00\t\n")), end(ended, 950, 10.25));
        }
    }

    #[test]
    fn a_unit_without_a_guard_is_a_stray() {
        let sight =
            sight("unit\tstevedore-task-a.1.service\tactive\nunit\tstevedore-task-x.service\tactive\n").unwrap();
        assert_eq!(sight.strays, ["stevedore-task-a.1.service", "stevedore-task-x.service"]);
        assert!(sight.attempts.is_empty());
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let guard = "guard\ta.1\theld\tb2\t900\t400.00\n";
        let wrong = [
            "guard\tx\theld\tb2\t0\t441.00\n",
            "guard\ta.1\theld\tb2\t0\tNaN\n",
            "guard\ta.1\theld\tb2\tsoon\t1\n",
            "result\ta.1\texited\t0\tb2\t950\t490.00\t\n",
            &format!("{guard}result\ta.1\texited\tmany\tb2\t950\t490.00\t\n"),
            &format!("{guard}result\ta.1\tvanished\t-\tb2\t950\t490.00\t\n"),
            "weather\tfine\n",
        ];
        for lines in wrong {
            assert!(sight(lines).is_err(), "{lines}");
        }
        for lines in ["boot\tb\n", "clock\t1\t1.0\n", "boot\t\nclock\t1\t1.0\n"] {
            let text = format!("script\ttask_look\t1\n{lines}end\n");
            assert!(Reading::of(&read(TASK_LOOK, &printed(text)).unwrap()).is_err(), "{lines}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(lines in "(?:(?:guard|result|unit)(?:\t(?:a\\.1|held|-|[0-9.eE-]{0,12}|[ -~]{0,9})){0,7}\n){0,4}") {
            let _ = sight(&lines);
        }
    }
}

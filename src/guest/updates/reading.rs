//! From the records of a look to what became of an update.

use std::time::Duration;

use super::{PackageManager, UpdateEnd, UpdateResult, UpdateSight, UpdateState};
use crate::guest::records::{BadAnswer, Record};
use crate::guest::scripts::UPDATE_LOOK;

/// How old the guard of an update may be that has no unit yet. A start gives up before.
const STARTING: Duration = Duration::from_secs(60);

/// A moment in a guest.
struct Moment {
    /// The boot; none if only the wall clock tells of it.
    boot: Option<String>,
    /// Seconds since 1970.
    wall: i64,
    uptime: Duration,
}

impl Moment {
    /// How long before `now` it was.
    fn ago(&self, now: &Self) -> Duration {
        if self.boot == now.boot {
            return now.uptime.saturating_sub(self.uptime);
        }
        Duration::from_secs(u64::try_from(now.wall.saturating_sub(self.wall)).unwrap_or(0))
    }
}

/// What a guest told of an update.
struct Reading<'a> {
    now: Moment,
    unit: bool,
    guard: Option<Moment>,
    result: Option<&'a Record>,
}

/// What became of the update that these records tell of.
pub(super) fn sight(records: &[Record]) -> Result<UpdateSight, BadAnswer> {
    let reading = Reading::of(records)?;
    let boot_id = reading.now.boot.clone().unwrap_or_default();
    Ok(UpdateSight { boot_id, state: reading.state()? })
}

impl<'a> Reading<'a> {
    fn of(records: &'a [Record]) -> Result<Self, BadAnswer> {
        let untold = || BadAnswer::new(UPDATE_LOOK, "did not tell its boot and its clock");
        let [boot] = records.iter().find(|record| record.key() == "boot").ok_or_else(untold)?.exactly()?;
        let clock = records.iter().find(|record| record.key() == "clock").ok_or_else(untold)?;
        let [epoch, uptime] = clock.exactly()?;
        if boot.is_empty() {
            return Err(untold());
        }
        let now = moment(clock, [boot, epoch, uptime])?;
        let mut reading = Self { now, unit: false, guard: None, result: None };
        records.iter().try_for_each(|record| reading.take(record))?;
        Ok(reading)
    }

    fn take(&mut self, record: &'a Record) -> Result<(), BadAnswer> {
        match record.key() {
            "boot" | "clock" => {}
            "unit" => self.unit = true,
            "guard" => self.guard = Some(moment(record, record.exactly()?)?),
            "result" => self.result = Some(record),
            _ => return Err(record.bad("nothing of that name is known")),
        }
        Ok(())
    }

    fn state(&self) -> Result<UpdateState, BadAnswer> {
        let Some(guard) = &self.guard else { return Ok(UpdateState::NotStarted) };
        if self.unit {
            return Ok(UpdateState::Running);
        }
        if let Some(record) = self.result {
            return end(record, &self.now).map(UpdateState::Ended);
        }
        let same_boot = guard.boot.is_none() || guard.boot == self.now.boot;
        Ok(match same_boot {
            true if guard.ago(&self.now) < STARTING => UpdateState::Running,
            true => UpdateState::NoResult,
            false => UpdateState::Lost,
        })
    }
}

fn end(record: &Record, now: &Moment) -> Result<UpdateEnd, BadAnswer> {
    let [word, manager, packages, pending, reboot, boot, epoch, uptime, text] = record.exactly()?;
    let result = match word {
        "done" => UpdateResult::Done,
        "failed" => UpdateResult::Failed(text.to_owned()),
        "timed-out" => UpdateResult::TimedOut(text.to_owned()),
        _ => return Err(record.bad("an unknown result")),
    };
    let manager = match manager {
        "apt" => Some(PackageManager::Apt),
        "dnf" => Some(PackageManager::Dnf),
        "none" => None,
        _ => return Err(record.bad("an unknown package manager")),
    };
    Ok(UpdateEnd {
        result,
        manager,
        packages: record.parsed(packages)?,
        pending: record.parsed(pending)?,
        reboot_needed: reboot == "yes",
        boot_id: boot.to_owned(),
        finished_ago: moment(record, [boot, epoch, uptime])?.ago(now),
    })
}

/// Reads a boot, seconds since 1970, and seconds since that boot; the first and the last may be `-`.
fn moment(record: &Record, [boot, epoch, uptime]: [&str; 3]) -> Result<Moment, BadAnswer> {
    let wall = record.parsed(epoch)?;
    if boot == "-" {
        return Ok(Moment { boot: None, wall, uptime: Duration::ZERO });
    }
    let uptime = Duration::try_from_secs_f64(record.parsed(uptime)?).map_err(|_| record.bad("no such duration"))?;
    Ok(Moment { boot: Some(boot.to_owned()), wall, uptime })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::records::read;
    use crate::guest::records::tests::printed;

    fn state(lines: &str) -> Result<UpdateState, BadAnswer> {
        let text = format!("script\tupdate_look\t1\nboot\tb2\nclock\t1000\t500.25\n{lines}end\n");
        sight(&read(UPDATE_LOOK, &printed(text))?).map(|sight| {
            assert_eq!(sight.boot_id, "b2");
            sight.state
        })
    }

    const GUARD: &str = "guard\tb2\t900\t400.00\n";

    #[test]
    fn a_guard_without_unit_and_result_is_about_to_run_for_a_minute_and_never_ran_then() {
        assert_eq!(state("").unwrap(), UpdateState::NotStarted);
        assert_eq!(state("guard\tb2\t0\t441.00\n").unwrap(), UpdateState::Running);
        assert_eq!(state("guard\tb2\t0\t440.20\n").unwrap(), UpdateState::NoResult);
        // Made while the script looked, or by a wall clock that has jumped since.
        assert_eq!(state("guard\tb2\t5000\t501.00\n").unwrap(), UpdateState::Running);
        assert_eq!(state("guard\tb1\t999\t499.00\n").unwrap(), UpdateState::Lost);
        assert_eq!(state("guard\t-\t950\t-\n").unwrap(), UpdateState::Running);
        assert_eq!(state("guard\t-\t940\t-\n").unwrap(), UpdateState::NoResult);
    }

    #[test]
    fn a_unit_goes_before_a_result_and_a_result_before_the_boot() {
        let result = "result\tdone\tapt\t3\t1\tyes\tb2\t950\t490.00\t\n";
        assert_eq!(state(&format!("unit\tdeactivating\n{GUARD}{result}")).unwrap(), UpdateState::Running);
        let ended = |result, manager, boot: &str, ago| {
            let done = result == UpdateResult::Done;
            let (packages, pending) = if done { (3, 1) } else { (0, 0) };
            let finished_ago = Duration::from_secs_f64(ago);
            let boot_id = boot.to_owned();
            UpdateState::Ended(UpdateEnd {
                result,
                manager,
                packages,
                pending,
                reboot_needed: done,
                boot_id,
                finished_ago,
            })
        };
        let apt = Some(PackageManager::Apt);
        assert_eq!(state(&format!("{GUARD}{result}")).unwrap(), ended(UpdateResult::Done, apt, "b2", 10.25));
        let before = "guard\tb1\t900\t400.00\nresult\tfailed\tdnf\t0\t0\tno\tb1\t950\t490.00\tno network\n";
        let failed = UpdateResult::Failed("no network".into());
        assert_eq!(state(before).unwrap(), ended(failed, Some(PackageManager::Dnf), "b1", 50.0));
        let late = format!("{GUARD}result\ttimed-out\tnone\t0\t0\tno\tb2\t950\t490.00\theld\n");
        assert_eq!(state(&late).unwrap(), ended(UpdateResult::TimedOut("held".into()), None, "b2", 10.25));
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let wrong = [
            "weather\tfine\n",
            "guard\tb2\tsoon\t1.0\n",
            "guard\tb2\t900\tNaN\n",
            &format!("{GUARD}result\tvanished\tapt\t0\t0\tno\tb2\t950\t490.00\t\n"),
            &format!("{GUARD}result\tdone\tyum\t0\t0\tno\tb2\t950\t490.00\t\n"),
            &format!("{GUARD}result\tdone\tapt\tmany\t0\tno\tb2\t950\t490.00\t\n"),
        ];
        for lines in wrong {
            assert!(state(lines).is_err(), "{lines}");
        }
        for lines in ["boot\tb\n", "clock\t1\t1.0\n", "boot\t\nclock\t1\t1.0\n"] {
            let text = format!("script\tupdate_look\t1\n{lines}end\n");
            assert!(sight(&read(UPDATE_LOOK, &printed(text)).unwrap()).is_err(), "{lines}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(lines in "(?:(?:guard|result|unit)(?:\t(?:apt|b2|-|[0-9.eE-]{0,12}|[ -~]{0,9})){0,9}\n){0,4}") {
            let _ = state(&lines);
        }
    }
}

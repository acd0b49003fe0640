//! systemd units in a guest: what a service's unit does.

use super::channel::Output;
use super::records::{BadAnswer, Record, read};
use super::scripts::UNIT;

/// What systemd says of a unit; the words are systemd's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitProperties {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error` …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating` …
    pub active: String,
    /// More closely: `running`, `exited`, `dead`, `auto-restart` …
    pub sub: String,
    /// How its last run ended: `success`, `exit-code`, `signal`, `timeout` …; empty for units without one.
    pub result: String,
    /// Exit code or signal of the main process; empty for units without one.
    pub main_status: String,
}

impl UnitProperties {
    /// Reads the output of [`UNIT`]. The outer error is an unreadable answer, the inner one systemd's refusal.
    pub fn read(output: &Output) -> Result<Result<Self, String>, BadAnswer> {
        let mut properties = Self::default();
        for record in read(UNIT, output)? {
            match record.key() {
                "problem" => return problem(&record).map(Err),
                "property" => properties.take(&record)?,
                _ => return Err(record.bad("nothing of that name is known")),
            }
        }
        if properties.load.is_empty() || properties.active.is_empty() {
            return Err(BadAnswer::new(UNIT, "did not tell the unit's state"));
        }
        Ok(Ok(properties))
    }

    fn take(&mut self, record: &Record) -> Result<(), BadAnswer> {
        let [name, value] = record.exactly()?;
        let field = match name {
            "LoadState" => &mut self.load,
            "ActiveState" => &mut self.active,
            "SubState" => &mut self.sub,
            "Result" => &mut self.result,
            "ExecMainStatus" => &mut self.main_status,
            _ => return Err(record.bad("an unknown property")),
        };
        value.clone_into(field);
        Ok(())
    }
}

/// A `problem` record as a text for people.
fn problem(record: &Record) -> Result<String, BadAnswer> {
    let [program, text] = record.exactly()?;
    Ok(format!("{program}: {text}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::records::tests::printed;
    use super::*;

    #[test]
    fn a_unit_is_told_in_systemds_words() {
        let told = |lines: &str| UnitProperties::read(&printed(format!("script\tunit\t1\n{lines}end\n")));
        let unit = told("property\tLoadState\tloaded\nproperty\tActiveState\tfailed\nproperty\tExecMainStatus\t7\n");
        let unit = unit.unwrap().unwrap();
        assert_eq!([unit.load, unit.active, unit.main_status], ["loaded", "failed", "7"]);
        let refused = told("problem\tsystemctl\tthere is no such program\n").unwrap().unwrap_err();
        assert_eq!(refused, "systemctl: there is no such program");
        assert!(told("property\tLoadState\tloaded\n").is_err());
        assert!(told("property\tWeather\tfine\n").is_err());
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            lines in "(?:(?:property|problem)(?:\t(?:LoadState|ActiveState|[ -~]{0,9})){0,3}\n){0,4}"
        ) {
            let _ = UnitProperties::read(&printed(format!("script\tunit\t1\n{lines}end\n")));
        }
    }
}

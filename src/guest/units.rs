//! systemd units in a guest: what a service's unit does, and transient units that run a program detached.

use std::time::Duration;

use super::channel::{GuestChannel, Output, Script, UnitState};
use super::records::{BadAnswer, Record, read};
use super::scripts::{START_UNIT, UNIT, UNIT_STATE};
use crate::domain::fault::{Fault, FaultKind};

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
        Self::of(UNIT, output)
    }

    fn of(script: Script, output: &Output) -> Result<Result<Self, String>, BadAnswer> {
        let mut properties = Self::default();
        for record in read(script, output)? {
            match record.key() {
                "problem" => return problem(&record).map(Err),
                "property" => properties.take(&record)?,
                _ => return Err(record.bad("nothing of that name is known")),
            }
        }
        if properties.load.is_empty() || properties.active.is_empty() {
            return Err(BadAnswer::new(script, "did not tell the unit's state"));
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

    /// What became of a transient unit. One that ended well stays loaded as `active (exited)`.
    fn state(self) -> UnitState {
        match self.active.as_str() {
            _ if self.load == "not-found" => UnitState::Missing,
            "inactive" | "failed" => UnitState::Inactive { result: self.result },
            "active" if self.sub == "exited" => UnitState::Inactive { result: self.result },
            _ => UnitState::Active,
        }
    }
}

/// A `problem` record as a text for people.
fn problem(record: &Record) -> Result<String, BadAnswer> {
    let [program, text] = record.exactly()?;
    Ok(format!("{program}: {text}"))
}

/// [`GuestChannel::start_unit`] for channels that can run scripts.
pub async fn start_unit<C>(channel: &C, name: &str, command: &[String], deadline: Duration) -> Result<(), Fault>
where
    C: GuestChannel + ?Sized,
{
    let args: Vec<String> = std::iter::once(name.to_owned()).chain(command.iter().cloned()).collect();
    let output = channel.run(START_UNIT, &args, &[], deadline).await?;
    started(name, &output).map_err(|fault| fault.context(format_args!("starting the unit {name} in the guest")))
}

fn started(name: &str, output: &Output) -> Result<(), Fault> {
    let bad = |error: BadAnswer| Fault::new(FaultKind::UnknownOutcome, error.to_string());
    let records = read(START_UNIT, output).map_err(bad)?;
    match records.as_slice() {
        [record] if record.key() == "started" && record.values() == [name] => Ok(()),
        [record] if record.key() == "exists" => {
            let state = record.values().last().map_or("unknown", String::as_str);
            Err(Fault::new(FaultKind::Refused, format!("there is a unit of that name already ({state})")))
        }
        [record] if record.key() == "problem" => Err(Fault::new(FaultKind::Refused, problem(record).map_err(bad)?)),
        [record] if record.key() == "unsure" => {
            Err(Fault::new(FaultKind::UnknownOutcome, "systemd did not answer in time; the unit may have started"))
        }
        _ => Err(bad(BadAnswer::new(START_UNIT, "did not say whether the unit was started"))),
    }
}

/// [`GuestChannel::unit_state`] for channels that can run scripts.
pub async fn unit_state<C>(channel: &C, name: &str, deadline: Duration) -> Result<UnitState, Fault>
where
    C: GuestChannel + ?Sized,
{
    let output = channel.run(UNIT_STATE, &[name.to_owned()], &[], deadline).await?;
    let context = format_args!("asking for the unit {name} in the guest").to_string();
    let fault = |text: String| Fault::new(FaultKind::Other, text).context(&context);
    let properties = UnitProperties::of(UNIT_STATE, &output).map_err(|error| fault(error.to_string()))?;
    properties.map(UnitProperties::state).map_err(fault)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::records::tests::printed;
    use super::*;

    fn state(load: &str, active: &str, sub: &str, result: &str) -> UnitState {
        let text = format!(
            "script\tunit_state\t1\nproperty\tLoadState\t{load}\nproperty\tActiveState\t{active}\n\
             property\tSubState\t{sub}\nproperty\tResult\t{result}\nend\n"
        );
        UnitProperties::of(UNIT_STATE, &printed(text)).unwrap().unwrap().state()
    }

    #[test]
    fn a_transient_unit_that_ended_is_inactive_with_its_result() {
        assert_eq!(state("not-found", "inactive", "dead", "success"), UnitState::Missing);
        assert_eq!(state("loaded", "active", "running", "success"), UnitState::Active);
        assert_eq!(state("loaded", "activating", "start", "success"), UnitState::Active);
        let ended = |result: &str| UnitState::Inactive { result: result.to_owned() };
        assert_eq!(state("loaded", "active", "exited", "success"), ended("success"));
        assert_eq!(state("loaded", "failed", "failed", "exit-code"), ended("exit-code"));
    }

    #[test]
    fn starting_tells_a_refusal_from_an_unknown_outcome() {
        let answer = |text: &str| started("job", &printed(format!("script\tstart_unit\t1\n{text}end\n")));
        assert_eq!(answer("started\tjob\n"), Ok(()));
        let exists = answer("exists\tjob\tactive\n").unwrap_err();
        assert_eq!(exists.kind, FaultKind::Refused);
        assert_eq!(exists.message, "there is a unit of that name already (active)");
        assert_eq!(answer("problem\tsystemd-run\tno\n").unwrap_err().kind, FaultKind::Refused);
        assert_eq!(answer("unsure\tjob\n").unwrap_err().kind, FaultKind::UnknownOutcome);
        assert_eq!(answer("").unwrap_err().kind, FaultKind::UnknownOutcome);
        assert_eq!(started("job", &Output::default()).unwrap_err().kind, FaultKind::UnknownOutcome);
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            lines in "(?:(?:property|problem|started|exists)(?:\t(?:LoadState|ActiveState|[ -~]{0,9})){0,3}\n){0,4}"
        ) {
            let _ = UnitProperties::read(&printed(format!("script\tunit\t1\n{lines}end\n")));
            let _ = started("job", &printed(format!("script\tstart_unit\t1\n{lines}end\n")));
        }
    }
}

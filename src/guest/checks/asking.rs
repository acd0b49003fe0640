//! The questions to a guest, one script each, and what came back.

use std::time::Duration;

use jiff::Timestamp;

use super::super::channel::{GuestChannel, Output, Script};
use super::super::facts::Facts;
use super::super::reach::{Attempts, Endpoint, Lookups, read_attempts, read_lookups};
use super::super::records::BadAnswer;
use super::super::scripts::{CONNECT, FACTS, RESOLVE, UNIT};
use super::super::units::UnitProperties;
use super::{CheckResult, Verdict};
use crate::clock::Clock;
use crate::domain::fault::Fault;

/// Facts, and when they were asked for.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) facts: Facts,
    /// Our wall clock just before.
    pub(super) asked: Timestamp,
    /// Our wall clock just after.
    pub(super) answered: Timestamp,
}

/// What came back from one question.
pub(super) struct Answer<T> {
    took: Duration,
    heard: Heard<T>,
}

enum Heard<T> {
    Clearly(T),
    Badly(BadAnswer),
    Nothing,
}

impl<T> Answer<T> {
    /// What was heard, if it was clear.
    pub(super) fn value(&self) -> Option<&T> {
        match &self.heard {
            Heard::Clearly(value) => Some(value),
            Heard::Badly(_) | Heard::Nothing => None,
        }
    }

    /// The result of a check that `judge` decides by this answer.
    pub(super) fn check(&self, name: impl Into<String>, judge: impl FnOnce(&T) -> Verdict) -> CheckResult {
        let verdict = match &self.heard {
            Heard::Clearly(value) => judge(value),
            Heard::Badly(bad) => Err(format!("{bad}; look whether the image has the usual base programs")),
            Heard::Nothing => return CheckResult::skipped(name),
        };
        match verdict {
            Ok(message) => CheckResult::passed(name, self.took, message),
            Err(message) => CheckResult::failed(name, self.took, message),
        }
    }
}

/// Asks one question after the other, until the guest stops answering.
pub(super) struct Asking<'a> {
    channel: &'a dyn GuestChannel,
    clock: &'a dyn Clock,
    deadline: Duration,
    away: Option<(CheckResult, Fault)>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(channel: &'a dyn GuestChannel, clock: &'a dyn Clock, deadline: Duration) -> Self {
        Self { channel, clock, deadline, away: None }
    }

    /// The failed check of the guest itself, if it stopped answering.
    pub(super) fn into_away(self) -> Option<(CheckResult, Fault)> {
        self.away
    }

    pub(super) async fn facts(&mut self) -> Answer<Told> {
        let asked = self.clock.wall();
        let args = [self.patience().to_string()];
        let answer = self.ask(FACTS, &args, Facts::read).await;
        let answered = self.clock.wall();
        let heard = match answer.heard {
            Heard::Clearly(facts) => Heard::Clearly(Told { facts, asked, answered }),
            Heard::Badly(bad) => Heard::Badly(bad),
            Heard::Nothing => Heard::Nothing,
        };
        Answer { took: answer.took, heard }
    }

    pub(super) async fn lookups(&mut self, names: &[String]) -> Answer<Lookups> {
        if names.is_empty() {
            return Answer { took: Duration::ZERO, heard: Heard::Clearly(Lookups::new()) };
        }
        let mut args = vec![self.seconds_for(names.len(), 10).to_string()];
        args.extend(names.iter().cloned());
        self.ask(RESOLVE, &args, |output| read_lookups(output, names)).await
    }

    pub(super) async fn attempts(&mut self, targets: &[Endpoint]) -> Answer<Attempts> {
        if targets.is_empty() {
            return Answer { took: Duration::ZERO, heard: Heard::Clearly(Attempts::new()) };
        }
        // A name is looked up before, for as long again.
        let mut args = vec![self.seconds_for(2 * targets.len(), 5).to_string()];
        for target in targets {
            args.extend([target.host.clone(), target.port.to_string()]);
        }
        self.ask(CONNECT, &args, |output| read_attempts(output, targets)).await
    }

    pub(super) async fn unit(&mut self, name: &str) -> Answer<Result<UnitProperties, String>> {
        let args = [name.to_owned(), self.patience().to_string()];
        self.ask(UNIT, &args, UnitProperties::read).await
    }

    async fn ask<T>(
        &mut self,
        script: Script,
        args: &[String],
        read: impl FnOnce(&Output) -> Result<T, BadAnswer>,
    ) -> Answer<T> {
        if self.away.is_some() {
            return Answer { took: Duration::ZERO, heard: Heard::Nothing };
        }
        let begin = self.clock.boot();
        let answer = self.channel.run(script, args, &[], self.deadline).await;
        let took = self.clock.boot().since(begin);
        let heard = match answer.as_ref().map(read) {
            Ok(Ok(value)) => Heard::Clearly(value),
            Ok(Err(bad)) => Heard::Badly(bad),
            Err(fault) => {
                let fault = fault.clone().context(format_args!("running the script \"{}\"", script.name));
                self.away = Some((CheckResult::guest(took, Err(&fault)), fault));
                Heard::Nothing
            }
        };
        Answer { took, heard }
    }

    /// Seconds that a script may wait for something to settle, well within the deadline.
    fn patience(&self) -> u64 {
        (self.deadline.as_secs() / 2).min(20)
    }

    /// Seconds for each of `count` things that a script does sixteen at a time, well within the deadline.
    fn seconds_for(&self, count: usize, most: u64) -> u64 {
        let batches = u64::try_from(count.div_ceil(16)).unwrap_or(u64::MAX);
        (self.deadline.as_secs() / batches.saturating_add(1)).clamp(1, most)
    }
}

//! What canned guests keep: on the disk of a machine, and in its memory.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::super::updates::Updates;
use super::attempt::{Attempt, Fate, Moment};
use super::updates::Update;
use crate::guest::tasks::AttemptId;
use crate::simulator::guest_exec::{GuestEnd, GuestFacts};

/// One machine, from its making to its end.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// Its boot. What is in memory is lost when it changes.
    boots: u64,
    /// The guards, on the disk.
    pub(super) attempts: BTreeMap<AttemptId, Attempt>,
    /// The pieces of commands by attempt and number, in memory: the first line and the rest.
    pub(super) pieces: BTreeMap<(String, String), Vec<u8>>,
    /// In memory: it was asked to reboot.
    pub(super) reboots: bool,
    /// The guards of updates by the operations that wanted them, on the disk.
    pub(super) updates: BTreeMap<String, Update>,
    /// What the last update that went through has installed.
    pub(super) installed: Option<Updates>,
}

impl Machine {
    pub(super) fn boot(&mut self, boots: u64) {
        if self.boots != boots {
            self.boots = boots;
            self.pieces.clear();
            self.reboots = false;
        }
    }

    /// The attempts whose commands run at this moment, as far as is known by now.
    pub(super) fn running(&self, wall: Timestamp) -> impl Iterator<Item = &AttemptId> {
        let runs = move |attempt: &Attempt| {
            let passed = Duration::try_from(wall.duration_since(attempt.made.wall)).unwrap_or_default();
            let now = attempt.made.at(attempt.made.uptime + passed);
            attempt.fate(Moment { boots: self.boots, ..now }) == Fate::Running
        };
        self.attempts.iter().filter(move |(_, attempt)| runs(attempt)).map(|(id, _)| id)
    }

    /// Notes when the boot ended that attempts ran in; gives back how many updates it cut off.
    pub(super) fn went_down(&mut self, end: &GuestEnd) -> u32 {
        let of_it = self.attempts.values_mut().filter(|attempt| attempt.made.boots == end.boots);
        for run in of_it.filter_map(|attempt| attempt.run.as_mut()) {
            run.down.get_or_insert(end.uptime);
        }
        let of_it = self.updates.values_mut().filter(|update| update.made.boots == end.boots);
        of_it.map(|update| u32::from(update.went_down(end.uptime))).sum()
    }
}

/// The present moment in a guest.
pub(super) fn now(facts: &GuestFacts) -> Moment {
    Moment { boots: facts.boots, wall: facts.clock, uptime: facts.uptime }
}

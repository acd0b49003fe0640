//! The scripts for updates, played.

use std::time::Duration;

use super::super::inside::Inside;
use super::super::updates::{IGNORED, Manager, Updates};
use super::Answer;
use super::attempt::Moment;
use super::machine::{Machine, now};
use crate::guest::updates::UpdateResult;
use crate::simulator::guest_exec::{ExecCall, GuestEffect};

/// How long an update takes of which the facts do not say it: it reads what there is.
const TAKES: Duration = Duration::from_secs(2);

/// How long after the answer a guest reboots.
const REBOOTS_AFTER: Duration = Duration::from_secs(2);

/// A guard, and what is behind it.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) made: Moment,
    /// What it meets.
    updates: Updates,
    /// How it ends if the guest stays up, and after how long.
    end: (UpdateResult, Duration),
    /// For how long the guest had been up when it went down.
    pub(super) down: Option<Duration>,
}

/// What became of an update.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Running,
    Lost,
    Ended(Moment),
}

impl Update {
    fn fate(&self, now: Moment) -> Fate {
        let at = self.made.uptime + self.end.1;
        let same = self.made.boots == now.boots;
        let until = self.down.unwrap_or(if same { now.uptime } else { Duration::ZERO });
        if at <= until {
            Fate::Ended(self.made.at(at))
        } else if same && self.down.is_none() {
            Fate::Running
        } else {
            Fate::Lost
        }
    }

    /// Whether its unit is active.
    pub(super) fn is_running(&self, now: Moment) -> bool {
        self.fate(now) == Fate::Running
    }

    /// Notes for how long its guest had been up when it went down; says whether that cut it off.
    pub(super) fn went_down(&mut self, uptime: Duration) -> bool {
        let is_first = self.down.is_none();
        let down = *self.down.get_or_insert(uptime);
        is_first && down < self.made.uptime + self.end.1
    }

    /// Packages that were updated and that are not current, and whether they want a reboot.
    fn counts(&self) -> (u32, u32, bool) {
        match self.end.0 {
            UpdateResult::Done => {
                (self.updates.pending, self.updates.held_back, self.updates.reboot && self.updates.pending > 0)
            }
            UpdateResult::Failed(_) | UpdateResult::TimedOut(_) => (0, 0, false),
        }
    }
}

/// Runs the script `name`; gives back the operation whose update it started.
pub(super) fn run(
    machine: &mut Machine,
    name: &str,
    args: &[String],
    call: &ExecCall,
    answer: &mut Answer,
) -> Option<String> {
    let inside = Inside(&call.facts);
    match (name, args) {
        ("update", [operation, seconds, _]) => {
            let limit = Duration::from_secs(seconds.parse().unwrap_or(0));
            return start(machine, operation, limit, call, answer);
        }
        ("update_look", [operation]) => look(machine, operation, now(&call.facts), inside, answer),
        ("update_reboot", [boot]) if inside.boot_id() != *boot => answer.record(["over", &inside.boot_id()]),
        _ if inside.lacks("reboot") => answer.record(["problem", "reboot", "there is no such program"]),
        _ => {
            if !std::mem::replace(&mut machine.reboots, true) {
                (answer.effect, answer.effect_after) = (GuestEffect::Reboot, REBOOTS_AFTER);
            }
            answer.record(["asked", &inside.boot_id()]);
        }
    }
    None
}

fn start(
    machine: &mut Machine,
    operation: &str,
    limit: Duration,
    call: &ExecCall,
    answer: &mut Answer,
) -> Option<String> {
    let (inside, made) = (Inside(&call.facts), now(&call.facts));
    if inside.lacks("systemctl") || inside.lacks("systemd-run") {
        answer.record(["problem", "systemd-run", "systemd is not there"]);
        return None;
    }
    if machine.updates.contains_key(operation) {
        answer.record(["guarded", operation]);
        return None;
    }
    settle(machine, made);
    let mut updates = Updates::of(inside);
    let end = end(&updates, inside, proxy_in(&call.input).as_deref(), limit);
    if machine.installed.as_ref() == Some(&updates) {
        updates.pending = 0;
    }
    machine.updates.insert(operation.to_owned(), Update { made, updates, end, down: None });
    answer.record(["started", operation]);
    Some(operation.to_owned())
}

/// Notes what earlier updates have installed, and forgets those of earlier boots.
fn settle(machine: &mut Machine, now: Moment) {
    for update in machine.updates.values() {
        if matches!(update.fate(now), Fate::Ended(_))
            && update.end.0 == UpdateResult::Done
            && update.updates.pending > 0
        {
            machine.installed = Some(update.updates.clone());
        }
    }
    machine.updates.retain(|_, update| update.made.boots == now.boots);
}

fn proxy_in(input: &[u8]) -> Option<String> {
    String::from_utf8_lossy(input).lines().next().map(str::to_owned)
}

/// How an update ends, and after how long.
fn end(updates: &Updates, inside: Inside<'_>, proxy: Option<&str>, limit: Duration) -> (UpdateResult, Duration) {
    let takes = updates.takes.map_or(TAKES, Duration::from_secs);
    let (manager, failed) = (updates.manager, |text: String| (UpdateResult::Failed(text), TAKES.min(limit)));
    if manager == Manager::None {
        return failed("the guest has neither apt-get nor dnf".to_owned());
    }
    if let Some(holder) = &updates.lock {
        return (UpdateResult::TimedOut(waits(manager, holder)), limit);
    }
    match (updates.obstacle(inside, proxy), manager) {
        (Some(why), Manager::Apt) => failed(format!("{why}; {IGNORED}")),
        (Some(why), _) => failed(format!("Error: {why}")),
        (None, _) if takes >= limit => (UpdateResult::TimedOut(String::new()), limit),
        (None, _) => (UpdateResult::Done, takes),
    }
}

/// What a package manager says while it waits for its lock.
fn waits(manager: Manager, holder: &str) -> String {
    match manager {
        Manager::Dnf => {
            format!("Waiting for process with pid {} to finish.", holder.split(' ').next().unwrap_or_default())
        }
        _ => format!("Could not get lock /var/lib/dpkg/lock-frontend. It is held by process {holder}"),
    }
}

fn look(machine: &Machine, operation: &str, now: Moment, inside: Inside<'_>, answer: &mut Answer) {
    answer.record(["boot", &inside.boot_id()]);
    answer.record(["clock", &now.wall.as_second().to_string(), &uptime(now)]);
    let Some(update) = machine.updates.get(operation) else { return };
    if update.is_running(now) {
        answer.record(["unit", "active"]);
    }
    let [boot, epoch, up] = told(inside, update.made);
    answer.record(["guard", &boot, &epoch, &up]);
    if let Fate::Ended(at) = update.fate(now) {
        let (word, text) = match &update.end.0 {
            UpdateResult::Done => ("done", ""),
            UpdateResult::Failed(text) => ("failed", text.as_str()),
            UpdateResult::TimedOut(text) => ("timed-out", text.as_str()),
        };
        let (packages, pending, reboot) = update.counts();
        let [packages, pending] = [packages, pending].map(|count| count.to_string());
        let ([boot, epoch, up], reboot) = (told(inside, at), if reboot { "yes" } else { "no" });
        let manager = update.updates.manager.word();
        answer.record(["result", word, manager, &packages, &pending, reboot, &boot, &epoch, &up, text]);
    }
}

/// A moment as the scripts tell it.
fn told(inside: Inside<'_>, at: Moment) -> [String; 3] {
    [inside.boot_id_of(at.boots), at.wall.as_second().to_string(), uptime(at)]
}

/// Seconds as the kernel tells them.
fn uptime(at: Moment) -> String {
    format!("{:.2}", at.uptime.as_secs_f64())
}

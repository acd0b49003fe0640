//! The scripts for attempts, played.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::inside::Inside;
use super::Answer;
use super::attempt::{Attempt, Fate, Moment, Run};
use super::command::Course;
use super::machine::{Machine, now};
use crate::guest::tasks::{AttemptId, Ended};
use crate::simulator::guest_exec::ExecCall;

/// Runs the script `name`; gives back the attempts whose commands it started.
pub(super) fn run(
    machine: &mut Machine,
    name: &str,
    args: &[String],
    call: &ExecCall,
    answer: &mut Answer,
) -> Option<AttemptId> {
    let mut playing = Playing { machine, now: now(&call.facts), inside: Inside(&call.facts), answer };
    match (name, args) {
        ("task_stage", [name, number]) => playing.stage(name, number, &call.input),
        ("task_start", [name, pieces, user, seconds, _]) => {
            return playing.start([name, pieces, user, seconds], &call.input);
        }
        ("task_look", _) => playing.look(),
        ("task_stop", [name]) => playing.stop(name),
        ("task_output", [name, rest @ ..]) => playing.output(name, rest),
        _ => playing.forget(args),
    }
    None
}

struct Playing<'a> {
    machine: &'a mut Machine,
    now: Moment,
    inside: Inside<'a>,
    answer: &'a mut Answer,
}

impl Playing<'_> {
    fn attempt(&self, name: &str) -> Option<&Attempt> {
        self.machine.attempts.get(&name.parse().ok()?)
    }

    fn stage(&mut self, name: &str, number: &str, piece: &[u8]) {
        if self.attempt(name).is_some() {
            return self.answer.record(["guarded", name]);
        }
        self.machine.pieces.insert((name.to_owned(), number.to_owned()), piece.to_vec());
        self.answer.record(["staged", number]);
    }

    fn start(&mut self, [name, pieces, user, seconds]: [&str; 4], last: &[u8]) -> Option<AttemptId> {
        if self.inside.lacks("systemctl") || self.inside.lacks("systemd-run") {
            self.answer.record(["problem", "systemd-run", "systemd is not there"]);
            return None;
        }
        let (command, guarded) = (self.put_together(name, pieces, last), self.attempt(name).is_some());
        if guarded {
            self.machine.pieces.retain(|(of, _), _| of != name);
            self.answer.record(["guarded", name]);
            return None;
        }
        let (Some(text), Ok(id)) = (command, name.parse::<AttemptId>()) else {
            self.answer.record(["incomplete", name]);
            return None;
        };
        self.machine.pieces.retain(|(of, _), _| of != name);
        let unknown = !self.inside.lacks("getent") && !self.inside.users().contains(&user);
        let refused = || Course::refused(format!("the guest has no user {user}"));
        let course = if unknown { refused() } else { Course::of(&text) };
        let limit = Duration::from_secs(seconds.parse().unwrap_or(0));
        let run = Run { course, limit, asked: None, down: None };
        self.machine.attempts.insert(id.clone(), Attempt { made: self.now, run: Some(run) });
        self.answer.record(["started", name]);
        Some(id)
    }

    /// The whole command, if all of its pieces are there.
    fn put_together(&self, name: &str, pieces: &str, last: &[u8]) -> Option<String> {
        let numbers = 1..pieces.parse::<u32>().ok()?;
        let staged = numbers.map(|number| self.machine.pieces.get(&(name.to_owned(), number.to_string())));
        let mut staged: Vec<&[u8]> = staged.map(|piece| piece.map(Vec::as_slice)).collect::<Option<_>>()?;
        staged.push(last);
        let head = first_line(last)?;
        let size: usize = std::str::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()?;
        let fits = staged.iter().all(|piece| first_line(piece) == Some(head));
        let whole: Vec<&[u8]> = staged.iter().map(|piece| piece.get(head.len() + 1..).unwrap_or_default()).collect();
        String::from_utf8(whole.concat()).ok().filter(|text| fits && text.len() == size)
    }

    fn look(&mut self) {
        let boot = self.inside.boot_id();
        self.answer.record(["boot", &boot]);
        self.answer.record(["clock", &self.now.wall.as_second().to_string(), &uptime(self.now)]);
        if self.inside.lacks("systemctl") {
            self.answer.record(["problem", "systemctl", "there is no such program"]);
        }
        for (id, attempt) in &self.machine.attempts {
            if attempt.fate(self.now) == Fate::Running {
                self.answer.record(["unit", &id.unit(), "active"]);
            }
        }
        for (operation, _) in self.machine.updates.iter().filter(|(_, update)| update.is_running(self.now)) {
            self.answer.record(["unit", &format!("stevedore-update-{operation}.service"), "active"]);
        }
        for (id, attempt) in &self.machine.attempts {
            let (name, fate) = (id.to_string(), attempt.fate(self.now));
            let mark = if fate == Fate::Stopped { "stopped" } else { "held" };
            self.answer.record(
                ["guard", &name, mark].into_iter().chain(self.told(attempt.made).each_ref().map(String::as_str)),
            );
            if let Fate::Ended(ended, at) = fate {
                let (word, value, text) = result(&ended);
                let [boot, epoch, uptime] = self.told(at);
                self.answer.record(["result", &name, word, &value, &boot, &epoch, &uptime, text]);
            }
        }
    }

    /// A moment as the scripts tell it.
    fn told(&self, at: Moment) -> [String; 3] {
        [self.inside.boot_id_of(at.boots), at.wall.as_second().to_string(), uptime(at)]
    }

    fn stop(&mut self, name: &str) {
        if self.inside.lacks("systemctl") {
            return self.answer.record(["problem", "systemctl", "there is no such program"]);
        }
        let Ok(id) = name.parse::<AttemptId>() else { return };
        let now = self.now;
        let attempt = self.machine.attempts.entry(id).or_insert(Attempt { made: now, run: None });
        let word = if attempt.run.is_some() { "asked" } else { "forestalled" };
        if let Some(run) = &mut attempt.run {
            run.asked.get_or_insert(now.uptime);
        }
        self.answer.record([word, name]);
    }

    fn output(&mut self, name: &str, rest: &[String]) {
        let Some(attempt) = self.attempt(name) else { return self.answer.record(["unknown", name]) };
        let printed = attempt.printed(self.now);
        let number = |index: usize| rest.get(index).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        let from = match rest.first().map(String::as_str) {
            Some("tail") => printed.len().saturating_sub(number(1)),
            _ => number(2).min(printed.len()),
        };
        if printed.is_empty() {
            return self.answer.record(["data", "hex", ""]);
        }
        let piece = &printed[from..(from + number(1)).min(printed.len())];
        self.answer.record(["data", "base64", &STANDARD.encode(piece)]);
    }

    fn forget(&mut self, names: &[String]) {
        if self.inside.lacks("systemctl") {
            return self.answer.record(["problem", "systemctl", "there is no such program"]);
        }
        for name in names {
            if self.attempt(name).is_some_and(|attempt| attempt.fate(self.now) == Fate::Running) {
                self.answer.record(["kept", name]);
                continue;
            }
            self.machine.attempts.retain(|id, _| id.to_string() != *name);
            self.machine.pieces.retain(|(of, _), _| of != name);
            self.answer.record(["forgotten", name]);
        }
    }
}

fn first_line(piece: &[u8]) -> Option<&[u8]> {
    piece.iter().position(|byte| *byte == b'\n').map(|end| &piece[..end])
}

/// Seconds as the kernel tells them.
fn uptime(at: Moment) -> String {
    format!("{:.2}", at.uptime.as_secs_f64())
}

/// An end as the scripts tell it: a word, a value and a text.
fn result(ended: &Ended) -> (&str, String, &str) {
    let none = || "-".to_owned();
    match ended {
        Ended::Exited(code) => ("exited", code.to_string(), ""),
        Ended::Signalled(signal) => ("signalled", signal.clone(), ""),
        Ended::TimedOut => ("timed-out", none(), ""),
        Ended::Stopped => ("stopped", none(), ""),
        Ended::CouldNotStart(why) => ("failed", none(), why),
    }
}

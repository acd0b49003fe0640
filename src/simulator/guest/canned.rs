//! A simulated guest that answers by the script's name, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use self::machine::Machine;
use super::inside::{Inside, KERNEL, OS};
use crate::guest::reach::Reached;
use crate::guest::scripts;
use crate::guest::tasks::AttemptId;
use crate::guest::units::UnitProperties;
use crate::simulator::guest_exec::{EchoGuest, ExecCall, ExecOutcome, GuestEffect, GuestEnd, GuestExec};

mod attempt;
mod command;
mod machine;
mod tasks;
mod updates;
mod words;

/// Plays all guests of a world without processes and files, in virtual time too.
///
/// Commands of sessions last as long as their words say, see the module `command`. What is no script of ours is left to
/// [`EchoGuest`].
#[derive(Debug, Default)]
pub struct CannedGuest {
    /// By the life of the machine.
    machines: Mutex<BTreeMap<String, Machine>>,
    starts: Mutex<BTreeMap<AttemptId, u32>>,
    /// By the operation.
    updates: Mutex<BTreeMap<String, u32>>,
    /// Updates that ended with their guest.
    cut_off: AtomicU32,
}

#[async_trait]
impl GuestExec for CannedGuest {
    async fn exec(&self, call: ExecCall) -> ExecOutcome {
        let script = match call.argv.as_slice() {
            [shell, flag, text, name, args @ ..] if shell == "/bin/sh" && flag == "-c" => scripts::ALL
                .iter()
                .find(|script| script.name == name && script.text == text)
                .map(|script| (script, args)),
            _ => None,
        };
        let Some((script, args)) = script else { return EchoGuest.exec(call).await };
        let mut answer = Answer::default();
        answer.record(["script", script.name, "1"]);
        self.run(script.name, args, &call, &mut answer);
        answer.record(["end"]);
        let Answer { text, took, effect, effect_after } = answer;
        ExecOutcome { took, effect, effect_after, ..ExecOutcome::exited(0, text) }
    }

    fn went_down(&self, end: &GuestEnd) {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = machines.get_mut(&end.life) {
            self.cut_off.fetch_add(machine.went_down(end), Ordering::Relaxed);
        }
    }
}

impl CannedGuest {
    /// How often each attempt was begun, in all guests together. More than once is what must never be.
    pub fn starts(&self) -> BTreeMap<AttemptId, u32> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The commands that run in all guests at this moment: the life of the machine that each of them runs in.
    pub fn running(&self, wall: Timestamp) -> BTreeMap<AttemptId, String> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let all = machines.iter().flat_map(|(life, machine)| machine.running(wall).map(move |id| (id, life)));
        all.map(|(id, life)| (id.clone(), life.clone())).collect()
    }

    /// The attempts that have a guard in some guest.
    pub fn guards(&self) -> BTreeSet<AttemptId> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.values().flat_map(|machine| machine.attempts.keys().cloned()).collect()
    }

    /// How many updates were cut off, because their guest was powered off or rebooted in the middle of them.
    pub fn cut_off(&self) -> u32 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// How often the update of each operation was started, in all guests together.
    pub fn updates(&self) -> BTreeMap<String, u32> {
        self.updates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn run(&self, script: &str, args: &[String], call: &ExecCall, answer: &mut Answer) {
        let inside = Inside(&call.facts);
        let (first, rest) = args.split_first().map_or(("", args), |(first, rest)| (first.as_str(), rest));
        answer.took = Duration::from_millis(50);
        match script {
            "facts" => facts(inside, first.parse().unwrap_or(0), answer),
            "resolve" => rest.iter().for_each(|name| resolve(inside, name, answer)),
            "connect" => {
                rest.chunks_exact(2).for_each(|target| connect(inside, &target[0], &target[1], first, answer));
            }
            "unit" if inside.lacks("systemctl") => {
                answer.record(["problem", "systemctl", "there is no such program"]);
            }
            "unit" => answer.properties(&inside.unit(first)),
            "update" | "update_look" | "update_reboot" => self.run_for_update(script, args, call, answer),
            _ => self.run_for_task(script, args, call, answer),
        }
    }

    fn run_for_update(&self, script: &str, args: &[String], call: &ExecCall, answer: &mut Answer) {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machines.entry(call.facts.life.clone()).or_default();
        machine.boot(call.facts.boots);
        if let Some(operation) = updates::run(machine, script, args, call, answer) {
            *self.updates.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
        }
    }

    fn run_for_task(&self, script: &str, args: &[String], call: &ExecCall, answer: &mut Answer) {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machines.entry(call.facts.life.clone()).or_default();
        machine.boot(call.facts.boots);
        if let Some(id) = tasks::run(machine, script, args, call, answer) {
            *self.starts.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += 1;
        }
    }
}

/// A script's output while it grows.
#[derive(Default)]
struct Answer {
    text: String,
    took: Duration,
    effect: GuestEffect,
    effect_after: Duration,
}

impl Answer {
    fn record<'a>(&mut self, fields: impl IntoIterator<Item = &'a str>) {
        let fields: Vec<String> = fields.into_iter().map(escape).collect();
        self.text += &fields.join("\t");
        self.text.push('\n');
    }

    fn properties(&mut self, unit: &UnitProperties) {
        let names = ["LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus"];
        let values = [&unit.load, &unit.active, &unit.sub, &unit.result, &unit.main_status];
        for (name, value) in names.into_iter().zip(values) {
            self.record(["property", name, value]);
        }
    }
}

fn escape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for character in field.chars() {
        match character {
            '\\' => text += "\\\\",
            '\t' => text += "\\t",
            '\n' => text += "\\n",
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text
}

fn facts(inside: Inside<'_>, patience: u64, answer: &mut Answer) {
    let facts = inside.0;
    let setup = if inside.lacks("cloud-init") { "absent" } else { inside.cloud_init() };
    let waited = if setup == "running" || setup.starts_with("not") { patience } else { 0 };
    answer.took += Duration::from_secs(waited);
    let clock = facts.clock.as_second();
    answer.record(["clock", "begin", &clock.to_string()]);
    answer.record(["cloud-init", &setup.replace(' ', "-")]);
    answer.record(["hostname", &facts.hostname]);
    answer.record(["kernel", KERNEL]);
    answer.record(["boot", &inside.boot_id()]);
    answer.record(["os", OS[0], OS[1], OS[2]]);
    disks(inside, answer);
    network(inside, answer);
    for server in &facts.nameservers {
        answer.record(["nameserver", &server.to_string(), "resolv.conf"]);
    }
    answer.record(["clock", "end", &clock.saturating_add_unsigned(waited).to_string()]);
}

fn disks(inside: Inside<'_>, answer: &mut Answer) {
    for folder in ["/", "/var/lib"] {
        if inside.lacks("df") {
            answer.record(["problem", "df", &format!("it gives no sizes for {folder}")]);
            continue;
        }
        // df counts whole KiB.
        let [total, free] = [inside.0.disk_total_bytes, inside.0.disk_free_bytes].map(|bytes| bytes / 1024 * 1024);
        answer.record(["disk", folder, &total.to_string(), &free.to_string()]);
    }
}

fn network(inside: Inside<'_>, answer: &mut Answer) {
    if inside.lacks("ip") {
        return answer.record(["problem", "ip", "there is no such program"]);
    }
    answer.record(["link", "lo", "00:00:00:00:00:00", "UNKNOWN"]);
    for card in &inside.0.interfaces {
        answer.record(["link", &card.name, &card.mac, "UP"]);
    }
    answer.record(["address", "lo", "127.0.0.1/8", "host", "ok"]);
    for card in &inside.0.interfaces {
        for (address, prefix) in &card.addresses {
            answer.record(["address", &card.name, &format!("{address}/{prefix}"), "global", "ok"]);
        }
    }
    for (family, v4) in [("inet", true), ("inet6", false)] {
        let gateways = inside.0.interfaces.iter().filter_map(|card| Some((card, card.gateway?)));
        for (card, gateway) in gateways.filter(|(_, gateway)| gateway.is_ipv4() == v4) {
            answer.record(["route", family, &gateway.to_string(), &card.name]);
        }
    }
}

fn resolve(inside: Inside<'_>, name: &str, answer: &mut Answer) {
    if inside.lacks("getent") {
        return answer.record(["name", name, "no-tool"]);
    }
    let addresses: Vec<String> =
        inside.names().remove(name).unwrap_or_default().iter().map(ToString::to_string).collect();
    if addresses.is_empty() {
        return answer.record(["name", name, "not-found"]);
    }
    answer.record(["name", name, "ok"].into_iter().chain(addresses.iter().map(String::as_str)));
}

fn connect(inside: Inside<'_>, host: &str, port: &str, seconds: &str, answer: &mut Answer) {
    let reached = port.parse().map_or(Reached::Failed, |port| inside.connect(host, port));
    if reached == Reached::Unresolved && !inside.lacks("getent") {
        return answer.record(["target", host, port, "unresolved", "getent", ""]);
    }
    if inside.lacks("nc") {
        return answer.record(["target", host, port, "no-tool", "-", ""]);
    }
    let word = match reached {
        Reached::Ok => "ok",
        Reached::Refused => "refused",
        Reached::TimedOut => {
            answer.took = answer.took.max(Duration::from_secs(seconds.parse().unwrap_or(0)));
            "timed-out"
        }
        Reached::Unresolved => "unresolved",
        Reached::Unreachable => "unreachable",
        Reached::Failed | Reached::NoTool => "failed",
    };
    answer.record(["target", host, port, word, "nc", ""]);
}

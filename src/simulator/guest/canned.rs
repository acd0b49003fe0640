//! A simulated guest that answers by the script's name, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::inside::{Inside, KERNEL, OS, properties};
use crate::guest::reach::Reached;
use crate::guest::scripts;
use crate::guest::units::UnitProperties;
use crate::simulator::guest_exec::{EchoGuest, ExecCall, ExecOutcome, GuestExec, GuestFacts, UnitState};

/// Plays all guests of a world without processes and files, in virtual time too.
///
/// A program that a transient unit starts ends at once and well. What is no script of ours is left to [`EchoGuest`].
#[derive(Debug, Default)]
pub struct CannedGuest {
    started: Mutex<BTreeMap<String, Started>>,
}

/// The transient units of one life of a machine. They are lost when it boots anew.
#[derive(Debug, Default)]
struct Started {
    boots: u64,
    units: BTreeSet<String>,
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
        self.run(script.name, args, Inside(&call.facts), &mut answer);
        answer.record(["end"]);
        ExecOutcome { took: answer.took, ..ExecOutcome::exited(0, answer.text) }
    }
}

impl CannedGuest {
    fn run(&self, script: &str, args: &[String], inside: Inside<'_>, answer: &mut Answer) {
        let (first, rest) = args.split_first().map_or(("", args), |(first, rest)| (first.as_str(), rest));
        answer.took = Duration::from_millis(50);
        match script {
            "facts" => facts(inside, first.parse().unwrap_or(0), answer),
            "resolve" => rest.iter().for_each(|name| resolve(inside, name, answer)),
            "connect" => {
                rest.chunks_exact(2).for_each(|target| connect(inside, &target[0], &target[1], first, answer));
            }
            "unit" | "unit_state" if inside.lacks("systemctl") => {
                answer.record(["problem", "systemctl", "there is no such program"]);
            }
            "unit" => answer.properties(&inside.unit(first), true),
            "unit_state" => answer.properties(&self.transient(inside, &format!("{first}.service")), false),
            _ => self.start_unit(inside, first, answer),
        }
    }

    fn start_unit(&self, inside: Inside<'_>, name: &str, answer: &mut Answer) {
        if inside.lacks("systemctl") || inside.lacks("systemd-run") {
            return answer.record(["problem", "systemd-run", "systemd is not there"]);
        }
        let unit = format!("{name}.service");
        let known = self.transient(inside, &unit);
        if known.load != "not-found" {
            return answer.record(["exists", name, &known.active]);
        }
        self.with_units(inside.0, |units| units.insert(unit));
        answer.record(["started", name]);
    }

    fn transient(&self, inside: Inside<'_>, unit: &str) -> UnitProperties {
        if self.with_units(inside.0, |units| units.contains(unit)) {
            return UnitProperties { sub: "exited".to_owned(), ..properties(Some(UnitState::Active)) };
        }
        inside.unit(unit)
    }

    fn with_units<T>(&self, facts: &GuestFacts, act: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        let mut lives = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let started = lives.entry(facts.life.clone()).or_default();
        if started.boots != facts.boots {
            *started = Started { boots: facts.boots, units: BTreeSet::new() };
        }
        act(&mut started.units)
    }
}

/// A script's output while it grows.
#[derive(Default)]
struct Answer {
    text: String,
    took: Duration,
}

impl Answer {
    fn record<'a>(&mut self, fields: impl IntoIterator<Item = &'a str>) {
        let fields: Vec<String> = fields.into_iter().map(escape).collect();
        self.text += &fields.join("\t");
        self.text.push('\n');
    }

    fn properties(&mut self, unit: &UnitProperties, with_status: bool) {
        let all = [("LoadState", &unit.load), ("ActiveState", &unit.active), ("SubState", &unit.sub)];
        for (name, value) in all.into_iter().chain([("Result", &unit.result)]) {
            self.record(["property", name, value]);
        }
        if with_status {
            self.record(["property", "ExecMainStatus", &unit.main_status]);
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

//! A virtual machine: its configuration, its process, and what its node last published about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Config;
use crate::clock::BootTime;
use crate::simulator::guest_exec::GuestInterface;

/// A virtual machine or template.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) node: String,
    pub(crate) config: Config,
    /// The running process, if there is one.
    pub(crate) run: Option<Run>,
    /// Names this life of the VMID.
    pub(crate) life: String,
    pub(crate) boots: u64,
    /// When its process last ended.
    pub(crate) exited_at: Option<BootTime>,
    published: Vec<(BootTime, Published)>,
    /// What was last published of an earlier machine of this VMID, and when that machine went.
    heir_of: Option<(BootTime, Published)>,
}

/// What `pvestatd` knows about a machine; a client may see it up to one round late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) status: &'static str,
    pub(crate) name: String,
    pub(crate) template: bool,
    pub(crate) maxmem: u64,
    pub(crate) maxdisk: u64,
    pub(crate) cpus: u64,
    pub(crate) running_since: Option<BootTime>,
}

/// A running virtual machine.
#[derive(Debug)]
pub(crate) struct Run {
    /// Tells this process from an earlier one.
    pub(crate) number: u64,
    pub(crate) since: BootTime,
    pub(crate) pid: u32,
    pub(crate) paused: bool,
    /// Whether a process of this machine runs it; else its guest is simulated.
    pub(crate) real: bool,
    /// The configuration that the process was started with.
    pub(crate) started_with: Config,
    pub(crate) guest: Guest,
}

/// The guest in a running machine.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) booted_at: BootTime,
    /// When the operating system reacts; absent: never.
    pub(crate) up_at: Option<BootTime>,
    /// When the guest agent answers; absent: never.
    pub(crate) agent_at: Option<BootTime>,
    /// When it is off, once it goes down.
    pub(crate) down_at: Option<BootTime>,
    pub(crate) interfaces: Vec<GuestInterface>,
    pub(crate) disk_bytes: u64,
    pub(crate) cloud_init: BTreeMap<String, String>,
    pub(crate) hostname: String,
    pub(crate) next_pid: u32,
    pub(crate) programs: BTreeMap<u32, Program>,
}

/// A program that the agent started.
#[derive(Debug)]
pub(crate) enum Program {
    /// Nothing is known of its end yet.
    Running,
    /// It ends (or ended) then.
    Ends(BootTime, crate::simulator::guest_exec::ExecOutcome),
}

impl Run {
    pub(crate) fn is_up(&self, now: BootTime) -> bool {
        !self.paused && self.guest.up_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn agent_answers(&self, now: BootTime) -> bool {
        !self.paused && self.started_with.agent_enabled() && self.guest.agent_at.is_some_and(|at| at <= now)
    }
}

impl Vm {
    pub(crate) fn new(node: &str, life: String, config: Config) -> Self {
        Self {
            node: node.to_owned(),
            config,
            run: None,
            life,
            boots: 0,
            exited_at: None,
            published: Vec::new(),
            heir_of: None,
        }
    }

    /// The same after an earlier machine of the VMID that went at some moment.
    pub(crate) fn after(self, earlier: Option<(BootTime, Published)>) -> Self {
        Self { heir_of: earlier, ..self }
    }

    pub(crate) fn status(&self) -> &'static str {
        match &self.run {
            None => "stopped",
            Some(_) => "running",
        }
    }

    /// QEMU's own status, as `/cluster/resources` and `qmpstatus` show it.
    pub(crate) fn qmp_status(&self) -> &'static str {
        match &self.run {
            None => "stopped",
            Some(run) if run.paused => "paused",
            Some(_) => "running",
        }
    }

    /// The name as lists show it.
    pub(crate) fn shown_name(&self, vmid: u32) -> String {
        self.config.get("name").map_or_else(|| format!("VM {vmid}"), str::to_owned)
    }

    fn snapshot(&self, vmid: u32) -> Published {
        let current = self.run.as_ref().map_or(&self.config, |run| &run.started_with);
        Published {
            status: self.qmp_status(),
            name: self.shown_name(vmid),
            template: self.config.is_template(),
            maxmem: current.memory_bytes(),
            maxdisk: self.config.boot_disk_bytes(),
            cpus: current.vcpus(),
            running_since: self.run.as_ref().map(|run| run.since),
        }
    }

    /// Notes a change at `now`; `round` is the last round of publishing at that moment.
    pub(crate) fn note(&mut self, vmid: u32, now: BootTime, round: BootTime) {
        let snapshot = self.snapshot(vmid);
        if self.published.last().is_some_and(|(_, last)| *last == snapshot) {
            return;
        }
        let seen = self.published.iter().rposition(|(at, _)| *at <= round).unwrap_or(0);
        self.published.drain(..seen);
        self.published.push((now, snapshot));
    }

    /// What the round of publishing at `round` said; absent: it did not know the machine yet. An earlier machine of the
    /// VMID is taken for this one until the next round (recorded 152).
    pub(crate) fn published(&self, round: BootTime) -> Option<&Published> {
        let own = self.published.iter().rev().find(|(at, _)| *at <= round);
        let own = own.or_else(|| self.heir_of.as_ref().filter(|(gone, _)| *gone > round));
        own.map(|(_, published)| published)
    }
}

/// The last multiple of `interval` at or before `now`, shifted by `offset`.
pub(crate) fn last_round(now: BootTime, interval: Duration, offset: Duration) -> BootTime {
    let (now, interval) = (now.since_start(), interval.max(Duration::from_millis(1)));
    let past = now.saturating_sub(offset).as_nanos() / interval.as_nanos();
    let past = u32::try_from(past).unwrap_or(u32::MAX);
    let round = interval.saturating_mul(past).saturating_add(offset);
    BootTime::from_start(if round > now { Duration::ZERO } else { round })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_round_is_seen_until_the_next() {
        let mut vm = Vm::new("pve1", "x".into(), Config::of([("name", "a")]));
        vm.note(7, at(12), at(10));
        assert_eq!(vm.published(at(10)), None);
        vm.config.set("name", "b");
        vm.note(7, at(15), at(10));
        vm.config.set("name", "c");
        vm.note(7, at(25), at(20));
        assert_eq!(vm.published(at(20)).unwrap().name, "b");
        assert_eq!(vm.published(at(30)).unwrap().name, "c");
    }

    #[test]
    fn rounds_come_at_the_interval() {
        let ten = Duration::from_secs(10);
        assert_eq!(last_round(at(27), ten, Duration::from_secs(3)), at(23));
        assert_eq!(last_round(at(2), ten, Duration::from_secs(3)), at(0));
    }
}

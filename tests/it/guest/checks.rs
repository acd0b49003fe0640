//! Each check fails for its real cause, alike in both kinds of simulated guest.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stevedore::clock::{Clock, SystemClock, TimerClock};
use stevedore::guest::checks::{
    AddressWanted, CheckPlan, CheckResult, ConnectTarget, ExpectedNetwork, Outcome, run_checks,
};
use stevedore::guest::reach::Endpoint;
use stevedore::simulator::guest::{CannedGuest, DirectChannel, ShellGuest};
use stevedore::simulator::guest_exec::{GuestExec, GuestFacts, UnitState as SimulatedUnit};

use super::{DEADLINE, healthy, ip};

fn plan() -> CheckPlan {
    CheckPlan {
        networks: vec![ExpectedNetwork {
            name: "lan".into(),
            mac: "BC:24:11:00:00:01".into(),
            ipv4: AddressWanted::Static { ip: ip("10.77.0.9"), prefix: 24 },
            ipv6: AddressWanted::Assigned,
        }],
        endpoints: vec![Endpoint::new("pve1", 8006), Endpoint::new("10.77.0.99", 8006)],
        connect: vec![ConnectTarget { name: "repository".into(), at: Endpoint::new("repo.lab", 2049) }],
        unit: Some("backup-agent.service".into()),
        ..CheckPlan::default()
    }
}

/// What a scenario does to a healthy guest, and which checks must fail with which words.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    change: fn(&mut GuestFacts),
    fails: &'static [(&'static str, &'static str)],
}

fn behave(facts: &mut GuestFacts, name: &str, value: serde_json::Value) {
    facts.behaviours.insert(name.to_owned(), value);
}

fn shift_clock(facts: &mut GuestFacts, seconds: i64) {
    facts.clock = facts.clock.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "healthy", change: |_| {}, fails: &[] },
    Scenario {
        name: "no-dhcp",
        change: |facts| {
            facts.interfaces[0].addresses.clear();
            facts.interfaces[0].gateway = None;
        },
        fails: &[
            ("address/lan", "expected the static address 10.77.0.9/24, found none"),
            ("dns", "pve1 was not found, repo.lab was not found"),
            (
                "hypervisor-api",
                "pve1:8006 has a name that does not resolve, 10.77.0.99:8006 cannot be reached (no route)",
            ),
            ("connect/repository", "repo.lab:2049, but it has a name that does not resolve; see the check dns"),
        ],
    },
    Scenario {
        name: "no-ipv6",
        change: |facts| facts.interfaces[0].addresses.truncate(1),
        fails: &[("address/lan", "expected an IPv6 address that the network assigns, found 10.77.0.9/24")],
    },
    Scenario {
        name: "other-card",
        change: |facts| facts.interfaces[0].mac = "bc:24:11:00:00:02".into(),
        fails: &[("address/lan", "MAC address BC:24:11:00:00:01, the guest has eth0 (BC:24:11:00:00:02)")],
    },
    Scenario {
        name: "dns-dead",
        change: |facts| facts.hosts.clear(),
        fails: &[
            ("dns", "name servers (10.77.0.1) answer"),
            ("hypervisor-api", "pve1:8006 has a name that does not resolve, 10.77.0.99:8006 refused the connection"),
            ("connect/repository", "see the check dns"),
        ],
    },
    Scenario {
        name: "api-closed",
        change: |facts| facts.reachable.retain(|target| target.port != 8006),
        fails: &[("hypervisor-api", "pve1:8006 refused the connection, 10.77.0.99:8006 refused the connection")],
    },
    Scenario {
        name: "target-filtered",
        change: |facts| behave(facts, "filtered", json!(["repo.lab:2049"])),
        fails: &[("connect/repository", "repo.lab:2049, but it did not answer in time; look for a firewall")],
    },
    Scenario {
        name: "unit-failed",
        change: |facts| {
            facts.units.insert("backup-agent.service".into(), SimulatedUnit::Failed);
        },
        fails: &[("service", "found failed (failed, exit-code 1)")],
    },
    Scenario {
        name: "unit-inactive",
        change: |facts| {
            facts.units.insert("backup-agent.service".into(), SimulatedUnit::Inactive);
        },
        fails: &[("service", "found inactive (dead)")],
    },
    Scenario {
        name: "unit-missing",
        change: |facts| behave(facts, "missingUnits", json!(["backup-agent.service"])),
        fails: &[("service", "the guest has no such unit")],
    },
    Scenario {
        name: "unit-unheard-of",
        change: |facts| {
            facts.units.remove("backup-agent.service");
        },
        fails: &[("service", "the guest has no such unit")],
    },
    Scenario {
        name: "clock-ahead",
        change: |facts| shift_clock(facts, 3600),
        fails: &[("clock", "s ahead of it; look whether a time service")],
    },
    Scenario {
        name: "clock-behind",
        change: |facts| shift_clock(facts, -3600),
        fails: &[("clock", "s behind it; look whether a time service")],
    },
    Scenario {
        name: "disk-full",
        change: |facts| facts.disk_free_bytes = 100 << 20,
        fails: &[("disk", "expected at least 1.0 GiB free in /, found 0.0 GiB of 16.0 GiB")],
    },
    Scenario {
        name: "bare-image",
        change: |facts| behave(facts, "missingPrograms", json!(["nc", "getent", "systemctl", "df", "timeout"])),
        fails: &[
            ("dns", "pve1 could not be looked up (the image has no getent)"),
            ("hypervisor-api", "the image has none of nc, bash, python3 and curl"),
            ("connect/repository", "build the image with one of them"),
            ("service", "systemd in the guest cannot be asked (systemctl: there is no such program)"),
            ("disk", "df gave none (it gives no sizes for /)"),
        ],
    },
    Scenario {
        name: "no-ip",
        change: |facts| behave(facts, "missingPrograms", json!(["ip"])),
        fails: &[("address/lan", "expected the static address 10.77.0.9/24, found none")],
    },
    Scenario {
        name: "setup-failed",
        change: |facts| {
            behave(facts, "cloudInit", json!("error"));
            facts.interfaces[0].addresses[0].0 = ip("10.77.0.200");
        },
        fails: &[(
            "address/lan",
            "found 10.77.0.200/24, 2001:db8::9/64; look whether no other machine has the address",
        )],
    },
];

impl Scenario {
    pub(super) fn facts(&self) -> GuestFacts {
        let mut facts = healthy(self.name);
        (self.change)(&mut facts);
        facts
    }
}

/// Results without what differs from run to run: durations, and the odd second of the clock.
fn comparable(results: &[CheckResult]) -> Vec<(String, Outcome, String)> {
    let plain = |result: &CheckResult| {
        if (result.name.as_str(), result.outcome) == ("clock", Outcome::Passed) {
            return (result.name.clone(), result.outcome, String::new());
        }
        let message = result.message.split(' ').filter(|word| word.parse::<u32>().is_err()).collect::<Vec<_>>();
        (result.name.clone(), result.outcome, message.join(" "))
    };
    results.iter().map(plain).collect()
}

async fn check(exec: Arc<dyn GuestExec>, facts: &GuestFacts) -> Vec<CheckResult> {
    let channel = DirectChannel::new(exec, facts.clone(), Arc::new(SystemClock));
    run_checks(&channel, &plan(), &[], &SystemClock, DEADLINE).await
}

#[tokio::test]
async fn each_scenario_fails_its_checks_alike_in_both_kinds_of_guest() {
    let folder = tempfile::tempdir().unwrap();
    for scenario in SCENARIOS {
        let facts = scenario.facts();
        let shell = check(Arc::new(ShellGuest::new(folder.path())), &facts).await;
        let canned = check(Arc::new(CannedGuest::default()), &facts).await;
        assert_eq!(comparable(&shell), comparable(&canned), "{}", scenario.name);
        let failed: Vec<&CheckResult> = shell.iter().filter(|result| result.outcome != Outcome::Passed).collect();
        let names: Vec<&str> = failed.iter().map(|result| result.name.as_str()).collect();
        let expected: Vec<&str> = scenario.fails.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected, "{}: {failed:#?}", scenario.name);
        for (result, (_, words)) in failed.iter().zip(scenario.fails) {
            assert!(result.message.contains(words), "{}: {}", scenario.name, result.message);
        }
        assert_eq!(shell.len(), 7, "{}", scenario.name);
    }
}

#[tokio::test(start_paused = true)]
async fn canned_guests_wait_in_virtual_time() {
    let clock = TimerClock::starting_at("2026-11-25T00:00:00Z".parse().unwrap());
    let mut facts = healthy("virtual");
    facts.clock = clock.wall();
    behave(&mut facts, "filtered", json!(["repo.lab"]));
    behave(&mut facts, "cloudInit", json!("running"));
    let channel = DirectChannel::new(Arc::new(CannedGuest::default()), facts, Arc::new(clock));
    let results = run_checks(&channel, &plan(), &[], &clock, DEADLINE).await;
    let of = |name: &str| results.iter().find(|result| result.name == name).unwrap();
    assert_eq!(of("connect/repository").outcome, Outcome::Failed);
    assert!(of("connect/repository").duration >= Duration::from_secs(5));
    // The script waited for cloud-init, which is no fault of the clock.
    assert!(of("clock").duration >= Duration::from_secs(15));
    assert_eq!(of("clock").message, "in step with the operator's clock");
}

//! What can be wrong with a guest, and which checks must say so: one table for simulated and for real guests.
//!
//! A cause is brought about in both: by facts in a simulated guest, by a program inside a real one, or by asking for
//! what neither has. So a check or a cause for one kind of guest alone cannot be written down.

use serde_json::json;
use stevedore::guest::checks::{AddressWanted, CheckPlan, ConnectTarget, ExpectedNetwork};
use stevedore::guest::reach::Endpoint;
use stevedore::simulator::guest_exec::{GuestFacts, UnitState};

use super::ip;

/// Something that is wrong.
pub(crate) struct Cause {
    pub(crate) name: &'static str,
    /// What is asked for, where that is not what a healthy guest has.
    plan: fn(&mut CheckPlan),
    /// Brings it about in a simulated guest.
    simulated: fn(&mut GuestFacts),
    /// Brings it about in a real guest.
    pub(crate) real: Inside,
    /// The checks that do not pass, in their order, with words of their messages.
    pub(crate) fails: &'static [(&'static str, &'static str)],
}

/// Two programs for a real guest's shell: one brings a cause about, the other takes it back.
#[derive(Clone, Copy)]
pub(crate) struct Inside {
    pub(crate) breaks: &'static str,
    pub(crate) mends: &'static str,
}

/// The names of all checks that look into a guest that is asked for everything, in their order.
pub(crate) const CHECKS: [&str; 7] =
    ["address/lan", "dns", "hypervisor-api", "connect/repository", "service", "clock", "disk"];

/// What a healthy guest has.
pub(crate) fn plan() -> CheckPlan {
    CheckPlan {
        networks: vec![ExpectedNetwork {
            name: "lan".into(),
            mac: "BC:24:11:00:00:01".into(),
            ipv4: AddressWanted::Static { ip: ip("10.77.0.9"), prefix: 24 },
            ipv6: AddressWanted::Assigned,
        }],
        endpoints: vec![Endpoint::new("pve1", 8006), Endpoint::new("10.77.0.11", 8007)],
        connect: vec![ConnectTarget { name: "repository".into(), at: Endpoint::new("repo.lab", 2049) }],
        unit: Some("backup-agent.service".into()),
        ..CheckPlan::default()
    }
}

/// Gives a real guest what [`plan`] asks for and its image does not have.
pub(crate) const FURNISH: &str = "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' \
                                  >/etc/systemd/system/backup-agent.service && systemctl daemon-reload && \
                                  systemctl enable --now backup-agent.service";

const NOTHING: Inside = Inside { breaks: "true", mends: "true" };

pub(super) fn behave(facts: &mut GuestFacts, name: &str, value: serde_json::Value) {
    facts.behaviours.insert(name.to_owned(), value);
}

fn shift_clock(facts: &mut GuestFacts, seconds: i64) {
    facts.clock = facts.clock.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
}

fn connect_to(plan: &mut CheckPlan, port: u16) {
    plan.connect[0].at = Endpoint::new("repo.lab", port);
}

/// A port of `repo.lab` that packets to are dropped.
pub(crate) const FILTERED_PORT: u16 = 2051;

/// Nothing asked for otherwise, nothing wrong.
const HEALTHY: Cause = Cause { name: "healthy", plan: |_| {}, simulated: |_| {}, real: NOTHING, fails: &[] };

/// Sets the network up again as it is configured, and waits for the address.
macro_rules! network_again {
    ($before:literal) => {
        concat!(
            $before,
            "; networkctl reconfigure eth0; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1; \
             ip -o addr show dev eth0 | grep -q 10.77.0.9/24 && ip route | grep -q default && \
             getent hosts repo.lab >/dev/null && exit 0; done; ip addr; exit 1"
        )
    };
}

/// Takes the right to be run from programs, or gives it back.
macro_rules! programs {
    ($mode:literal, $($program:literal),+) => {
        concat!("/bin/chmod ", $mode, $(" /usr/bin/", $program),+)
    };
}

/// Every cause.
pub(crate) const CAUSES: &[Cause] = &[
    HEALTHY,
    Cause {
        name: "agent-stopped",
        simulated: |facts| behave(facts, "agentGone", json!(true)),
        // Nobody can be asked to start it again, so that is planned before.
        real: Inside {
            breaks: "systemd-run --quiet --on-active=1 /bin/sh -c \
                     'systemctl stop qemu-guest-agent; sleep 60; systemctl start qemu-guest-agent'",
            mends: "true",
        },
        fails: &[
            ("guest", "the guest does not answer"),
            ("address/lan", "not checked, because the guest stopped answering"),
            ("dns", "not checked"),
            ("hypervisor-api", "not checked"),
            ("connect/repository", "not checked"),
            ("service", "not checked"),
            ("clock", "not checked"),
            ("disk", "not checked"),
        ],
        ..HEALTHY
    },
    Cause {
        name: "no-dhcp-answer",
        plan: |plan| plan.networks[0].ipv4 = AddressWanted::Assigned,
        simulated: |facts| {
            facts.interfaces[0].addresses.clear();
            facts.interfaces[0].gateway = None;
        },
        // What a DHCP server answers is dropped as it arrives.
        real: Inside {
            breaks: "mkdir -p /run/systemd/network && \
                     printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\nIPv6AcceptRA=no\\n' \
                     >/run/systemd/network/00-dhcp.network && \
                     tc qdisc add dev eth0 clsact && tc filter add dev eth0 ingress protocol ip u32 \
                     match ip protocol 17 0xff match ip sport 67 0xffff action drop && \
                     networkctl reload && networkctl reconfigure eth0 && sleep 5",
            mends: network_again!(
                "rm /run/systemd/network/00-dhcp.network; tc qdisc del dev eth0 clsact; networkctl reload"
            ),
        },
        fails: &[
            ("address/lan", "expected an IPv4 address that the network assigns, found "),
            ("dns", "expected all names to resolve, but pve1 "),
            (
                "hypervisor-api",
                "pve1:8006 has a name that does not resolve, 10.77.0.11:8007 cannot be reached (no route)",
            ),
            ("connect/repository", "repo.lab:2049, but it has a name that does not resolve; see the check dns"),
        ],
    },
    Cause {
        name: "wrong-static-address",
        simulated: |facts| facts.interfaces[0].addresses[0].0 = ip("10.77.0.10"),
        real: Inside {
            breaks: "ip -4 addr flush dev eth0 && ip addr add 10.77.0.10/24 dev eth0 && \
                     ip route add default via 10.77.0.1",
            mends: network_again!("ip -4 addr flush dev eth0"),
        },
        fails: &[("address/lan", "expected the static address 10.77.0.9/24, found 10.77.0.10/24")],
        ..HEALTHY
    },
    Cause {
        name: "no-ipv6",
        simulated: |facts| facts.interfaces[0].addresses.truncate(1),
        real: Inside {
            breaks: "ip -6 addr del 2001:db8::9/64 dev eth0",
            mends: "ip -6 addr add 2001:db8::9/64 dev eth0",
        },
        fails: &[("address/lan", "expected an IPv6 address that the network assigns, found 10.77.0.9/24")],
        ..HEALTHY
    },
    Cause {
        name: "other-card",
        plan: |plan| plan.networks[0].mac = "BC:24:11:00:00:02".into(),
        fails: &[("address/lan", "MAC address BC:24:11:00:00:02, the guest has eth0 (BC:24:11:00:00:01)")],
        ..HEALTHY
    },
    Cause {
        name: "dns-dead",
        simulated: |facts| facts.hosts.clear(),
        // Nobody has that address.
        real: Inside { breaks: "resolvectl dns eth0 10.77.0.250", mends: network_again!("resolvectl revert eth0") },
        fails: &[
            ("dns", "look whether the guest's name servers ("),
            ("hypervisor-api", "pve1:8006 has a name that does not resolve, 10.77.0.11:8007 refused the connection"),
            ("connect/repository", "repo.lab:2049, but it has a name that does not resolve; see the check dns"),
        ],
        ..HEALTHY
    },
    Cause {
        name: "api-closed",
        plan: |plan| drop(plan.endpoints.remove(0)),
        fails: &[("hypervisor-api", "10.77.0.11:8007 refused the connection")],
        ..HEALTHY
    },
    Cause {
        name: "target-closed",
        plan: |plan| connect_to(plan, 2050),
        fails: &[("connect/repository", "repo.lab:2050, but it refused the connection; look whether its service runs")],
        ..HEALTHY
    },
    Cause {
        name: "target-filtered",
        plan: |plan| connect_to(plan, FILTERED_PORT),
        simulated: |facts| behave(facts, "filtered", json!([format!("repo.lab:{FILTERED_PORT}")])),
        fails: &[("connect/repository", "repo.lab:2051, but it did not answer in time; look for a firewall")],
        ..HEALTHY
    },
    Cause {
        name: "unit-failed",
        simulated: |facts| {
            facts.units.insert("backup-agent.service".into(), UnitState::Failed);
        },
        real: Inside {
            breaks: "mkdir -p /run/systemd/system/backup-agent.service.d && \
                     printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' \
                     >/run/systemd/system/backup-agent.service.d/fails.conf && systemctl daemon-reload && \
                     { systemctl restart backup-agent.service; sleep 2; }",
            mends: "rm -r /run/systemd/system/backup-agent.service.d; systemctl daemon-reload; \
                    systemctl restart backup-agent.service",
        },
        fails: &[("service", "found failed (failed, exit-code 1)")],
        ..HEALTHY
    },
    Cause {
        name: "unit-inactive",
        simulated: |facts| {
            facts.units.insert("backup-agent.service".into(), UnitState::Inactive);
        },
        real: Inside { breaks: "systemctl stop backup-agent.service", mends: "systemctl start backup-agent.service" },
        fails: &[("service", "found inactive (dead)")],
        ..HEALTHY
    },
    Cause {
        name: "unit-missing",
        simulated: |facts| behave(facts, "missingUnits", json!(["backup-agent.service"])),
        real: Inside {
            breaks: "systemctl disable --now backup-agent.service && \
                     mv /etc/systemd/system/backup-agent.service /root && systemctl daemon-reload",
            mends: "mv /root/backup-agent.service /etc/systemd/system/ && systemctl daemon-reload && \
                    systemctl enable --now backup-agent.service",
        },
        fails: &[("service", "the guest has no such unit")],
        ..HEALTHY
    },
    Cause {
        name: "unit-unheard-of",
        plan: |plan| plan.unit = Some("nosuch.service".into()),
        fails: &[("service", "the guest has no such unit")],
        ..HEALTHY
    },
    Cause {
        name: "clock-ahead",
        simulated: |facts| shift_clock(facts, 3600),
        real: Inside {
            breaks: "timedatectl set-ntp false; date -s @$(($(date +%s) + 3600))",
            mends: "date -s @$(($(date +%s) - 3600))",
        },
        fails: &[("clock", "s ahead of it; look whether a time service")],
        ..HEALTHY
    },
    Cause {
        name: "clock-behind",
        simulated: |facts| shift_clock(facts, -3600),
        real: Inside {
            breaks: "timedatectl set-ntp false; date -s @$(($(date +%s) - 3600))",
            mends: "date -s @$(($(date +%s) + 3600))",
        },
        fails: &[("clock", "s behind it; look whether a time service")],
        ..HEALTHY
    },
    Cause {
        name: "disk-full",
        simulated: |facts| facts.disk_free_bytes = 90 << 20,
        real: Inside {
            breaks: "fallocate -l $(($(df -P -k / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4) - 90000))k /var/full",
            mends: "rm /var/full",
        },
        fails: &[("disk", "expected at least 1.0 GiB free in /, found 0.0 GiB of ")],
        ..HEALTHY
    },
    Cause {
        name: "bare-image",
        simulated: |facts| behave(facts, "missingPrograms", json!(["nc", "getent", "systemctl", "df", "timeout"])),
        real: Inside {
            breaks: programs!("a-x", "nc", "bash", "python3", "getent", "systemctl", "df", "timeout"),
            mends: programs!("a+x", "nc", "bash", "python3", "getent", "systemctl", "df", "timeout"),
        },
        fails: &[
            ("dns", "pve1 could not be looked up (the image has no getent)"),
            ("hypervisor-api", "the image has none of nc, bash, python3 and curl"),
            ("connect/repository", "build the image with one of them"),
            ("service", "systemd in the guest cannot be asked (systemctl: there is no such program)"),
            ("disk", "df gave none (it gives no sizes for /)"),
        ],
        ..HEALTHY
    },
    Cause {
        name: "no-ip",
        simulated: |facts| behave(facts, "missingPrograms", json!(["ip"])),
        real: Inside { breaks: programs!("a-x", "ip"), mends: programs!("a+x", "ip") },
        fails: &[("address/lan", "expected the static address 10.77.0.9/24, found none")],
        ..HEALTHY
    },
    Cause {
        name: "setup-failed",
        plan: |plan| plan.networks[0].ipv4 = AddressWanted::Static { ip: ip("10.77.0.200"), prefix: 24 },
        simulated: |facts| behave(facts, "cloudInit", json!("error")),
        real: Inside {
            breaks: "cp /run/cloud-init/result.json /root/ && \
                     echo '{\"v1\": {\"datasource\": null, \"errors\": [\"no\"]}}' >/run/cloud-init/result.json",
            mends: "mv /root/result.json /run/cloud-init/result.json",
        },
        fails: &[("address/lan", "; cloud-init failed in this guest, `cloud-init status --long` there says why")],
    },
];

impl Cause {
    /// What is asked for.
    pub(crate) fn plan(&self) -> CheckPlan {
        let mut plan = plan();
        (self.plan)(&mut plan);
        plan
    }

    /// A simulated guest with it.
    pub(crate) fn facts(&self) -> GuestFacts {
        let mut facts = super::healthy(self.name);
        (self.simulated)(&mut facts);
        facts
    }
}

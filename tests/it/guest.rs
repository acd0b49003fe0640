//! The inside of a worker: the scripts under several shells, and checks and tasks in both kinds of simulated guest.

use std::net::IpAddr;
use std::time::Duration;

use stevedore::clock::{Clock, SystemClock};
use stevedore::simulator::guest_exec::{GuestFacts, GuestInterface, ReachableTarget, UnitState as SimulatedUnit};

pub(crate) mod attempts;
pub(crate) mod causes;
pub(crate) mod checks;
mod programs;
mod scripts;
mod task_scripts;
mod tasks;
mod update_scripts;
pub(crate) mod updates;

/// Long enough for a loaded machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn healthy(life: &str) -> GuestFacts {
    let open = |host: &str, port| ReachableTarget { host: host.into(), port };
    GuestFacts {
        life: life.into(),
        boots: 1,
        node: "pve1".into(),
        vmid: 9001,
        vm_name: "worker-1".into(),
        hostname: "worker-1".into(),
        interfaces: vec![GuestInterface {
            name: "eth0".into(),
            mac: "bc:24:11:00:00:01".into(),
            bridge: "vmbr0".into(),
            addresses: vec![(ip("10.77.0.9"), 24), (ip("2001:db8::9"), 64)],
            gateway: Some(ip("10.77.0.1")),
        }],
        nameservers: vec![ip("10.77.0.1")],
        search_domains: vec!["lab".into()],
        hosts: [
            ("pve1.lab".to_owned(), vec![ip("10.77.0.11")]),
            ("repo.lab".to_owned(), vec![ip("10.77.0.20"), ip("2001:db8::20")]),
        ]
        .into(),
        reachable: vec![open("pve1.lab", 8006), open("repo.lab", 2049)],
        units: ["backup-agent.service", "ssh.service"].map(|unit| (unit.to_owned(), SimulatedUnit::Active)).into(),
        clock: SystemClock.wall(),
        booted_at: SystemClock.wall(),
        uptime: Duration::ZERO,
        cores: 2,
        memory_bytes: 2 << 30,
        disk_total_bytes: 16 << 30,
        disk_free_bytes: 8 << 30,
        cloud_init: std::collections::BTreeMap::default(),
        behaviours: std::collections::BTreeMap::default(),
        root: None,
    }
}

//! The worlds that recordings are replayed in, and what happens to them by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stevedore::clock::TimerClock;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{MachineSpec, Release, Scenario, Seconds, StorageSpec};
use stevedore::simulator::world::World;
use tokio::time::sleep;

use super::super::setups;
use super::callers::{accounts, role, role_without};
use super::guest::RecordedGuest;
use super::script::Step;
use crate::simulator::probe::Probe;

/// When the first recording was made, in seconds since 1970.
const BEGINNING: i64 = 1_795_314_953;
/// A world in the state called `name`, asked by the administrator. For each set of privileges in `lacking` there is a
/// role that has all but these.
pub(super) async fn world(name: &str, release: Release, lacking: &BTreeSet<String>) -> Probe {
    let mut scenario = setups::scenario(if name == "lab" { "noquorum" } else { name }, release);
    accounts(&mut scenario, name);
    for lacks in lacking {
        let rest = role(name).filter(|privilege| !lacks.split('|').any(|lack| lack == *privilege));
        scenario.roles.insert(role_without(lacks), rest.map(str::to_owned).collect());
    }
    match name {
        "empty" => scenario.machines.clear(),
        "datapath" => datapath(&mut scenario),
        "base" => scenario.machines.retain(|machine| machine.vmid == 100),
        _ => grown(&mut scenario),
    }
    if name == "noquorum" {
        let far = MachineSpec { vmid: 300, node: "pve2".into(), ..MachineSpec::default() };
        scenario.machines.push(far);
        scenario.machines.iter_mut().filter(|machine| machine.vmid == 200).for_each(|tiny| tiny.running = true);
    }
    if name == "datapath" {
        scenario.timings.boot = Seconds(5.0);
    }
    if matches!(name, "empty" | "quick") {
        // The recorded disks held next to nothing.
        scenario.timings.full_clone = Seconds(0.4);
    }
    if name == "small" {
        let path = Some("/var/lib/pvesmall".to_owned());
        scenario.storages.push(StorageSpec {
            name: "small".into(),
            path,
            size_gib: 0,
            used_gib: 0,
            ..StorageSpec::default()
        });
    }
    let clock = TimerClock::starting_at(Timestamp::from_second(BEGINNING).unwrap());
    let simulator = Simulator::with_guests(scenario, Arc::new(clock), Arc::new(RecordedGuest));
    let probe = setups::administrator(&Probe { simulator, authorization: String::new() });
    sleep(Duration::from_secs(30)).await;
    match name {
        "noquorum" | "lab" => probe.simulator.world(|world| world.set_quorate(false)),
        "maintenance" => probe.simulator.world(|world| world.set_maintenance("pve1", true)),
        _ => {}
    }
    probe
}

/// The node of `datapath-9.2`: three storages, and no machine yet.
fn datapath(scenario: &mut Scenario) {
    scenario.machines.clear();
    scenario.storages.retain(|storage| storage.name == "local");
    for name in ["btr", "dir1", "dir2"] {
        let content = ["images", "rootdir", "import", "backup", "iso", "snippets"].map(str::to_owned).to_vec();
        let path = Some(format!("/srv/{name}"));
        scenario.storages.push(StorageSpec { name: name.into(), path, content, ..StorageSpec::default() });
    }
}

/// The two machines as they were when the recordings had gone on for a while.
fn grown(scenario: &mut Scenario) {
    for machine in &mut scenario.machines {
        let mut set = |key: &str, value: &str| machine.config.insert(key.to_owned(), value.to_owned());
        match machine.vmid {
            100 => {
                set("scsi0", "store2:100/vm-100-disk-0.raw,size=3G");
                set("cores", "2");
                machine.config.remove("agent");
            }
            200 => {
                set("virtio0", "store2:200/vm-200-disk-0.qcow2,size=200M");
                set("agent", "1");
            }
            _ => {}
        }
    }
}

/// Does what was done before an exchange.
pub(super) async fn perform(probe: &Probe, step: &Step) {
    match step {
        Step::Pass(seconds) => sleep(Duration::from_secs_f64(*seconds)).await,
        Step::Send { tried, method, path, params } => {
            let params: Vec<_> = params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let read = probe.send(method, path, &params).await;
            if *tried {
                return;
            }
            assert_eq!(read.status, 200, "{step:?}: {read:?}");
            let data = &read.body["data"];
            if data.as_str().is_some_and(|text| text.starts_with("UPID:")) {
                assert_eq!(probe.wait(data).await, "OK", "{step:?}");
            }
        }
        Step::Edit { vmid, key, value } => {
            probe.simulator.world(|world| world.edit_machine(*vmid, key, value.as_deref()));
        }
        Step::Do { what, to } => probe.simulator.world(|world| by_hand(world, what, to)),
    }
}

fn by_hand(world: &mut World, what: &str, to: &str) {
    let vmid = || to.parse::<u32>().unwrap();
    match (what, to) {
        ("on" | "off", "pvedaemon") => world.set_daemon("pve1", what == "on"),
        ("on" | "off", "pmxcfs") => world.set_pmxcfs("pve1", what == "on"),
        ("on" | "off", "quorum") => world.set_quorate(what == "on"),
        ("hold", content) => world.set_storage_content("local", &content.split(',').collect::<Vec<_>>()),
        ("lose", _) => world.lose_volumes(vmid()),
        ("remove", _) => world.remove_machine(vmid()),
        ("start", _) => world.power_on_machine(vmid()),
        ("stop", _) => world.power_off_machine(vmid()),
        _ => panic!("nobody knows how to {what} {to}"),
    }
}

//! The worlds that recordings are replayed in, and what happens to them by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stevedore::clock::TimerClock;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{
    AclSpec, MachineSpec, Release, Scenario, Seconds, StorageSpec, TokenSpec, UserSpec,
};
use stevedore::simulator::world::World;
use tokio::time::sleep;

use super::super::setups;
use super::guest::RecordedGuest;
use super::script::Step;
use crate::simulator::probe::Probe;

/// When the first recording was made, in seconds since 1970.
const BEGINNING: i64 = 1_795_314_953;
/// Callers besides those of the curated exchanges: token, its secret, and the role that it has on a path.
const TOKENS: &[(&str, &str, Option<(&str, &str)>)] = &[
    ("apart", "s11", None),
    ("auditor", "s12", Some(("/vms/100", "PVEAuditor"))),
    ("vmuser", "s13", Some(("/vms/100", "PVEVMUser"))),
    ("expired", "s14", None),
];

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

/// Name of the role that has all privileges but these.
fn role_without(lacks: &str) -> String {
    if lacks.is_empty() { "Recorded".to_owned() } else { format!("Without {lacks}") }
}

/// Gives the token whose rights were changed between the calls all rights but those that the answer says it lacked.
pub(super) fn set_rights(probe: &Probe, lacks: &str) {
    let (to, role) = ("stevedore@pve!min".to_owned(), role_without(lacks));
    probe.simulator.world(|world| {
        world.withdraw("/", &to);
        world.grant(AclSpec { path: "/".into(), to, role, propagate: true });
    });
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

fn accounts(scenario: &mut Scenario, name: &str) {
    let entry = |to: &str, path: &str, role: &str| AclSpec {
        path: path.into(),
        to: to.into(),
        role: role.into(),
        propagate: true,
    };
    for (id, secret, right) in TOKENS {
        let expire = (*id == "expired").then_some(1_700_000_000);
        let token = TokenSpec { id: (*id).into(), secret: (*secret).into(), privsep: true, expire };
        scenario.users[0].tokens.push(token);
        if let Some((path, role)) = right.filter(|_| name == "later") {
            scenario.acls.push(entry(&format!("dev@pve!{id}"), path, role));
        }
    }
    let token = |id: &str| TokenSpec { id: id.into(), secret: "s15".into(), privsep: false, expire: None };
    let min = TokenSpec { privsep: true, ..token("min") };
    let off = scenario.users.iter_mut().find(|user| user.id == "off@pve");
    off.unwrap().tokens.push(token("o"));
    scenario.users.push(UserSpec {
        id: "stevedore@pve".into(),
        tokens: vec![token("full"), min],
        ..UserSpec::default()
    });
    scenario.roles.insert("Recorded".into(), role(name).map(str::to_owned).collect());
    scenario.acls.push(entry("stevedore@pve", "/", "Recorded"));
    if name == "lab" {
        for path in ["/pool/stv", "/storage/btr", "/storage/dir1", "/vms/100", "/vms/110", "/vms/111", "/vms/9001"] {
            scenario.acls.push(entry("weak@pve", path, "PVEAuditor"));
        }
    }
}

/// The role behind `stevedore@pve`, as `/access/permissions` told it (recorded 905).
const RECORDED_ROLE: &str = "Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit \
    Pool.Allocate Pool.Audit SDN.Use Sys.Audit Sys.Incoming VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM \
    VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory VM.Config.Network \
    VM.Config.Options VM.Console VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt \
    VM.GuestAgent.FileWrite VM.GuestAgent.Unrestricted VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback";

/// The role in this world: it was given two more privileges in the end (recorded 905).
fn role(world: &str) -> impl Iterator<Item = &'static str> {
    let early = world == "datapath";
    RECORDED_ROLE.split(' ').filter(move |name| !early || !matches!(*name, "Sys.Incoming" | "VM.Migrate"))
}

/// Value of the `Authorization` header of whom a recording names.
pub(super) fn authorization(caller: &str) -> String {
    let token = |who: &str, secret: &str| format!("PVEAPIToken={who}={secret}");
    if let Some((id, secret, _)) = TOKENS.iter().find(|(id, _, _)| *id == caller) {
        return token(&format!("dev@pve!{id}"), secret);
    }
    match caller {
        "none" => String::new(),
        "malformed API token header" => "PVEAPIToken=garbage".into(),
        "Authorization: Bearer …" => "Bearer abc".into(),
        "API token with a wrong secret" => token("dev@pve!t1", "wrong"),
        "API token id that does not exist" | "removed" => token("dev@pve!nosuch", "s1"),
        "token of a user that does not exist" => token("nobody@pve!t1", "s1"),
        "disabled" => token("off@pve!o", "s15"),
        caller if caller.starts_with("API token of weak@pve") => token("weak@pve!w", "s3"),
        caller if caller.starts_with("API token of root@pam") => token("root@pam!r", "s4"),
        "stevedore@pve!min" => token(caller, "s15"),
        "" | "stevedore@pve!full" => token("stevedore@pve!full", "s15"),
        caller if caller.starts_with("API token of stevedore@pve") => token("stevedore@pve!full", "s15"),
        caller if caller.starts_with("API token of dev@pve") => token("dev@pve!t1", "s1"),
        other => panic!("nobody is called {other:?}"),
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

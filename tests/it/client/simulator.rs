//! The client against the simulated cluster, in the process and in virtual time.

use std::sync::Arc;
use std::time::Duration;

use stevedore::clock::TimerClock;
use stevedore::domain::fault::{Fault, FaultKind};
use stevedore::domain::identity::{Ownership, judge};
use stevedore::guest::channel::Script;
use stevedore::guest::tasks;
use stevedore::hypervisor::Hypervisor;
use stevedore::hypervisor::proxmox::{Credential, Proxmox, ProxmoxSettings};
use stevedore::hypervisor::vm::image::ImageWanted;
use stevedore::hypervisor::vm::{
    CreateOrder, InUse, NetworkWanted, ObstacleKind, Power, Started, TaskState, VmRef, VmWanted,
};
use stevedore::secret::Secret;
use stevedore::simulator::fault::{Effect, Failure, Rule};
use stevedore::simulator::guest_exec::{EchoGuest, SharedGuestExec};
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Release, Scenario};
use tokio::time::sleep;

use super::canned::{any_time, at, making, settings, wanted};

pub(super) struct Lab {
    pub(super) simulator: Simulator,
    pub(super) client: Proxmox,
}

impl Lab {
    pub(super) fn of(release: Release) -> Self {
        Self::with(Scenario::demo_of(release))
    }

    pub(super) fn with(scenario: Scenario) -> Self {
        Self::with_guests(scenario, Arc::new(EchoGuest))
    }

    pub(super) fn with_guests(scenario: Scenario, guest: SharedGuestExec) -> Self {
        let clock = Arc::new(TimerClock::starting_at("2026-11-22T02:00:00Z".parse().unwrap()));
        let simulator = Simulator::with_guests(scenario, clock.clone(), guest);
        let token = Credential::Token { id: DEMO_TOKEN.to_owned(), secret: Secret::new(DEMO_SECRET.to_owned()) };
        let settings = ProxmoxSettings { clock, ..settings(&["https://pve1:8006", "https://pve2:8006"], token) };
        let client = Proxmox::new(settings, Arc::new(simulator.clone())).unwrap();
        Self { simulator, client }
    }

    /// Waits for the end of what was started; its warnings.
    pub(super) async fn done(&self, started: Result<Started, Fault>) -> Vec<String> {
        match self.end(started).await {
            TaskState::Succeeded { warnings } => warnings,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn end(&self, started: Result<Started, Fault>) -> TaskState {
        let Started::Task(task) = started.unwrap() else { return TaskState::Succeeded { warnings: Vec::new() } };
        for _ in 0..600 {
            match self.client.task(&task).await.unwrap() {
                TaskState::Running => sleep(Duration::from_secs(1)).await,
                end => return end,
            }
        }
        panic!("{task} does not end");
    }
}

fn worker(storage: &str) -> VmWanted {
    let mut wanted = wanted();
    wanted.storage = storage.into();
    wanted.image = ImageWanted::Template("debian-worker".into());
    wanted.mark.vm_id = "5000".into();
    let second =
        NetworkWanted { bridge: "vmbr1".to_owned(), vlan: Some(30), mtu: Some(1400), ..wanted.networks[0].clone() };
    wanted.networks.push(second);
    wanted
}

fn order(storage: &str) -> CreateOrder {
    CreateOrder { wanted: worker(storage), at: at("5000"), since: "2026-11-22T02:00:00Z".parse().unwrap() }
}

const ECHO: Script = Script { name: "sample", text: "echo \"$1\"" };

async fn the_main_job(release: Release, storage: &str) {
    let lab = Lab::of(release);
    let client = &lab.client;
    let in_use = InUse {
        storages: [storage.to_owned()].into(),
        bridges: ["vmbr0".to_owned(), "vmbr1".to_owned()].into(),
        ..InUse::default()
    };
    let probe = client.probe().await.unwrap();
    assert_eq!((probe.identity.name.as_str(), probe.quorate, probe.identity.nodes.len()), ("lab", true, 3));
    assert!(!probe.identity.ca_fingerprint.is_empty());
    assert_eq!(client.missing_privileges(&in_use).await.unwrap(), []);

    sleep(Duration::from_secs(15)).await;
    let order = order(storage);
    let wanted = &order.wanted;
    assert_eq!(client.obstacles(wanted).await.unwrap(), []);
    assert!(!client.is_being_made(&making(&order)).await.unwrap());
    let started = client.within(any_time()).create(&order).await;
    assert!(client.is_being_made(&making(&order)).await.unwrap());
    // The worker process writes the first configuration a moment after the answer.
    sleep(Duration::from_millis(200)).await;
    let in_the_making = client.vm(&order.at).await.unwrap();
    assert_eq!(in_the_making.lock.as_deref(), Some("clone"));
    lab.done(started).await;

    let seen = client.vm(&order.at).await.unwrap();
    assert_eq!(judge(&seen.shown, "inst", "uid"), Ownership::Unfinished { operation: "op".to_owned() });
    let differences = client.differences(wanted, &seen);
    assert!(differences.iter().any(|difference| difference.field == "networks[1]"), "{differences:?}");
    lab.done(client.within(any_time()).configure(wanted, &seen).await).await;
    let stale = client.within(any_time()).configure(wanted, &seen).await.unwrap_err();
    assert_eq!(stale.kind, FaultKind::Busy, "{stale}");
    let seen = client.vm(&order.at).await.unwrap();
    lab.done(client.within(any_time()).grow_disk(wanted, &seen).await).await;
    let seen = client.vm(&order.at).await.unwrap();
    assert_eq!(client.differences(wanted, &seen), []);
    assert_eq!(judge(&seen.shown, "inst", "uid"), Ownership::Ours);
    assert_eq!(seen.disk_bytes, Some(32 << 30));
    assert_eq!(client.within(any_time()).configure(wanted, &seen).await.unwrap(), Started::Done);

    assert!(!client.guest_answers(&order.at).await.unwrap());
    lab.done(client.within(any_time()).start(&order.at).await).await;
    match lab.end(client.within(any_time()).start(&order.at).await).await {
        TaskState::Failed { kind, .. } => assert_eq!(kind, FaultKind::AlreadyDone),
        other => panic!("{other:?}"),
    }
    while !client.guest_answers(&order.at).await.unwrap() {
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(client.vm(&order.at).await.unwrap().power, Power::On);
    let addresses = client.guest_addresses(&order.at).await.unwrap();
    assert!(addresses.iter().any(|address| address.mac == seen.macs[0]), "{addresses:?}");
    let output = client.guest(&order.at).run(ECHO, &["wörld".to_owned()], b"", Duration::from_secs(30)).await;
    assert!(output.is_ok(), "{output:?}");

    lab.done(client.within(any_time()).shut_down(&order.at, Duration::from_secs(120)).await).await;
    assert_eq!(client.vm(&order.at).await.unwrap().power, Power::Off);
    lab.done(client.within(any_time()).power_off(&order.at).await).await;
    assert_eq!(lab.done(client.within(any_time()).destroy(&order.at).await).await, Vec::<String>::new());
    assert_eq!(client.vm(&order.at).await.unwrap_err().kind, FaultKind::NotFound);
    assert!(!client.inventory().await.unwrap().vms.contains_key("5000"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_lives_and_ends_on_8_4() {
    the_main_job(Release::V8, "local-lvm").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_lives_and_ends_on_9() {
    the_main_job(Release::V9, "local-lvm").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_on_files_has_a_disk_that_can_make_snapshots() {
    the_main_job(Release::V9, "nfs1").await;
}

#[tokio::test(start_paused = true)]
async fn a_taken_id_is_told_as_such() {
    let lab = Lab::of(Release::V9);
    sleep(Duration::from_secs(15)).await;
    let order = CreateOrder { at: at("101"), ..order("local-lvm") };
    let kind = match lab.client.within(any_time()).create(&order).await {
        Err(fault) => fault.kind,
        started => match lab.end(started).await {
            TaskState::Failed { kind, .. } => kind,
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(kind, FaultKind::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_an_unknown_outcome_and_the_change_is_not_repeated() {
    let lab = Lab::of(Release::V9);
    sleep(Duration::from_secs(15)).await;
    for effect in [Effect::DropAfter, Effect::FailAfter(Failure { status: 596, reason: "Connection timed out".into() })]
    {
        lab.simulator.faults().clear();
        lab.simulator.faults().add(Rule::every("POST", "*/status/start", effect));
        let vm = VmRef { host: "pve2".into(), id: "103".into() };
        let before = lab.simulator.faults().changes().len();
        assert_eq!(lab.client.within(any_time()).start(&vm).await.unwrap_err().kind, FaultKind::UnknownOutcome);
        assert_eq!(lab.simulator.faults().changes().len(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn obstacles_of_the_demo_world() {
    let lab = Lab::of(Release::V9);
    sleep(Duration::from_secs(15)).await;
    let mut wanted = worker("thick");
    wanted.networks[0].bridge = "vmbr9".into();
    wanted.image = ImageWanted::Template("files".into());
    let kinds: Vec<_> =
        lab.client.obstacles(&wanted).await.unwrap().into_iter().map(|obstacle| obstacle.kind).collect();
    assert_eq!(
        kinds,
        [ObstacleKind::StorageSnapshotsUnknown, ObstacleKind::TemplateMissing, ObstacleKind::BridgeMissing]
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_answers_something_else_has_no_attempts_made_up() {
    let lab = Lab::of(Release::V9);
    sleep(Duration::from_secs(60)).await;
    // The default guest only echoes, so the answer is no report of attempts: a fault, not a guest without any.
    let running = VmRef { host: "pve1".into(), id: "101".into() };
    let seen = tasks::look(&*lab.client.guest(&running), Duration::from_secs(30)).await.unwrap_err();
    assert!(seen.message.contains("the script \"task_look\" in the guest printed no whole line"), "{seen}");
}

//! The way of a test through its steps, and what may never be decided whatever the facts.

mod claimed;
mod download;
mod edited;
mod forgotten;
mod handed_over;
mod left_behind;
mod properties;
mod sent_again;
mod unknown;
mod update;

use super::*;
use std::collections::BTreeSet;

use crate::api::reasons::WorkerReason;
use crate::domain::attempt::Sight;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Mark, Ownership};
use crate::domain::observation::{
    Budget, Declared, ImageSight, Inside, Looks, NewId, Observed, Remembered, TestRecord,
};
use crate::domain::operation::{Target, VERSION};
use crate::hypervisor::vm::image::{Checksum, ImageFile, ImageFormat, ImageWanted};
use crate::hypervisor::vm::{Difference, Power, TaskHandle, VmRef, VmWanted};
use jiff::Timestamp;

const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn wanted() -> VmWanted {
    VmWanted {
        host: "pve1".into(),
        storage: "local-lvm".into(),
        image: ImageWanted::Template("debian-worker".into()),
        name: "w1".into(),
        description: String::new(),
        mark: Mark {
            installation: "inst".into(),
            worker_uid: "uid-1".into(),
            worker: "ns/w1".into(),
            operation: String::new(),
            vm_id: String::new(),
        },
        cpus: 6,
        memory_mib: 6144,
        disk_gib: 100,
        networks: Vec::new(),
        dns_servers: Vec::new(),
        search_domains: Vec::new(),
        user: "stevedore".into(),
        authorized_keys: Vec::new(),
    }
}

fn image_file() -> ImageFile {
    ImageFile {
        url: "https://images.example.org/worker.img".into(),
        checksum: Checksum::parse(&format!("sha256:{}", "a".repeat(64))).unwrap(),
        format: ImageFormat::Qcow2,
        storage: "local".into(),
    }
}

fn place() -> VmRef {
    VmRef { host: "pve1".into(), id: "5000".into() }
}

/// A declared worker that wants a test, nothing looked at yet, the hypervisor ready and empty.
pub(super) fn facts() -> Facts {
    Facts {
        declared: Declared {
            wanted: wanted(),
            spec_hash: "h1".into(),
            test_on_change: true,
            test_request: None,
            grace: Duration::from_secs(120),
            enabled: true,
            slots: 4,
            max_age: Duration::ZERO,
            delay: Duration::ZERO,
            updates: None,
            paused: false,
            deleting: false,
            has_finalizer: false,
            abandon: Abandon::No,
        },
        remembered: Remembered::default(),
        observed: Observed {
            hypervisor: HypervisorState::Ready,
            away_for: Duration::ZERO,
            hypervisor_paused: false,
            presence: Presence::Absent { polls: 2 },
            idle_for: Duration::ZERO,
            needed: false,
            undecided: false,
            host_refuses: None,
            dark_for: Duration::ZERO,
            conflict: None,
            step_age: Duration::ZERO,
            quiet_for: Duration::from_secs(600),
            calls: 0,
            hold: Duration::ZERO,
            settling: None,
            checked: false,
            last_call: None,
            fresh_operation_id: "op-1".into(),
            guest_timeout: Duration::from_secs(300),
            call_deadline: Duration::from_secs(35),
        },
        looks: Looks::default(),
        now: at(NOW),
    }
}

fn operation(kind: Kind, step: Step) -> Operation {
    Operation {
        version: VERSION,
        id: "op-1".into(),
        kind,
        step,
        spec_hash: "h1".into(),
        target: Target { host: "pve1".into(), vm_id: "5000".into(), uuid: "u".into() },
        sends: 1,
        task: None,
        checked: false,
        made_as: std::collections::BTreeMap::new(),
        request: None,
        since: at(NOW - 60),
        step_since: at(NOW - 60),
    }
}

fn vm(power: Power) -> LiveVm {
    LiveVm {
        at: place(),
        ownership: Ownership::Ours,
        power,
        lock: None,
        template: false,
        protected: false,
        differences: Vec::new(),
        uuid: "u".into(),
        disk_bytes: None,
    }
}

fn difference(takes: Takes) -> Difference {
    Difference { field: "resources.memory".into(), from: "2048".into(), to: "6144".into(), takes }
}

/// Answers every look from `world` until something else than a look is decided.
fn settle(mut facts: Facts, world: &Looks) -> Decision {
    for _ in 0..20 {
        let decision = plan(&facts);
        match &decision.next {
            Next::Look(Look::Vm(_)) => facts.looks.live.clone_from(&world.live),
            Next::Look(Look::Image) => facts.looks.image.clone_from(&world.image),
            Next::Look(Look::BeingMade) => facts.looks.being_made = world.being_made,
            Next::Look(Look::Obstacles(_)) => facts.looks.obstacles.clone_from(&world.obstacles),
            Next::Look(Look::Strangers) => facts.looks.strangers.clone_from(&world.strangers),
            Next::Look(Look::NewId) => facts.looks.new_id.clone_from(&world.new_id),
            Next::Look(Look::Permit) => facts.looks.permit = world.permit,
            Next::Look(Look::Budget(_)) => facts.looks.budget.clone_from(&world.budget),
            Next::Look(Look::Guest(_)) => facts.looks.guest = world.guest,
            Next::Look(Look::Inside(_)) => facts.looks.inside.clone_from(&world.inside),
            Next::Look(Look::Update(_)) => facts.looks.update.clone_from(&world.update),
            Next::Look(Look::Gone(_)) => facts.looks.gone.clone_from(&world.gone),
            _ => return decision,
        }
    }
    panic!("looks without end: {:?}", plan(&facts).next);
}

/// A world in which everything that can be asked is answered well.
fn well(live: Live) -> Looks {
    Looks {
        live: Some(live),
        being_made: Some(false),
        obstacles: Some(Vec::new()),
        strangers: Some(Vec::new()),
        new_id: Some(NewId::Reserved("5000".into())),
        permit: Some(true),
        budget: Some(Budget::Granted),
        guest: Some(true),
        inside: Some(Inside::Told(Sight { boot_id: "boot".into(), ..Sight::default() })),
        gone: Some(BTreeSet::new()),
        ..Looks::default()
    }
}

fn effect(decision: &Decision) -> Option<Effect> {
    match decision.next {
        Next::Act { effect, .. } => Some(effect),
        _ => None,
    }
}

#[test]
fn a_test_goes_through_its_steps() {
    let mut facts = facts();
    let decision = settle(facts.clone(), &well(Live::NotThere));
    let Next::Act { record, effect: Effect::Create } = decision.next else { panic!("{decision:?}") };
    assert_eq!((record.target.vm_id.as_str(), record.sends, record.step), ("5000", 1, Step::Create));

    facts.remembered.operation = Some(Ok(*record));
    facts.declared.has_finalizer = true;
    let fresh = LiveVm {
        ownership: Ownership::Unfinished { operation: "op-1".into() },
        differences: vec![difference(Takes::Configure), difference(Takes::Grow)],
        ..vm(Power::Off)
    };
    for (live, expected) in [
        (fresh.clone(), Effect::Configure),
        (LiveVm { differences: vec![difference(Takes::Grow)], ..vm(Power::Off) }, Effect::GrowDisk),
        (vm(Power::Off), Effect::Start),
    ] {
        let decision = settle(facts.clone(), &well(Live::Found(live)));
        let Next::Act { record, effect } = decision.next else { panic!("{decision:?}") };
        assert_eq!(effect, expected);
        facts.remembered.operation = Some(Ok(*record));
    }
    let on = well(Live::Found(vm(Power::On)));
    let Next::Check { operation: checking, .. } = settle(facts.clone(), &on).next else { panic!() };
    facts.remembered.last_test = Some(TestRecord {
        passed: true,
        spec_hash: "h1".into(),
        started: checking.since,
        finished: at(NOW),
        operation: checking.id.clone(),
        message: String::new(),
    });
    let Next::Act { record, effect: Effect::ShutDown } = settle(facts.clone(), &on).next else { panic!() };
    facts.remembered.operation = Some(Ok(*record));
    assert!(matches!(settle(facts, &well(Live::Found(vm(Power::Off)))).next, Next::Close(_)));
}

#[test]
fn a_call_that_was_not_sent_is_still_the_one_that_stands_in_the_record() {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    let mut world = well(Live::NotThere);
    world.being_made = Some(false);
    let mut sends = |kind| {
        facts.observed.last_call = Some(Fault::new(kind, "no"));
        let Next::Act { record, effect: Effect::Create } = settle(facts.clone(), &world).next else { panic!() };
        record.sends
    };
    assert_eq!((sends(FaultKind::NotSent), sends(FaultKind::UnknownOutcome)), (1, 2));

    // Another step is another call.
    facts.observed.last_call = Some(Fault::new(FaultKind::NotSent, "no"));
    let Next::Act { record, effect: Effect::Start } = settle(facts, &well(Live::Found(vm(Power::Off)))).next else {
        panic!()
    };
    assert_eq!((record.step, record.sends), (Step::Start, 1));
}

#[test]
fn an_id_that_was_taken_at_the_first_send_is_given_up_and_after_that_it_may_be_ours() {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.observed.last_call = Some(Fault::new(FaultKind::AlreadyExists, "VM 5000 already exists"));
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    let foreign = LiveVm { ownership: Ownership::Foreign, lock: Some("clone".into()), ..vm(Power::Off) };
    let mut world = well(Live::Found(foreign));
    world.new_id = Some(NewId::Reserved("5001".into()));
    let Next::Act { record, effect: Effect::Create } = settle(facts.clone(), &world).next else { panic!() };
    assert_eq!((record.target.vm_id.as_str(), record.sends), ("5001", 1));

    facts.remembered.operation = Some(Ok(Operation { sends: 2, ..operation(Kind::Test, Step::Create) }));
    world.being_made = Some(true);
    assert!(matches!(settle(facts.clone(), &world).next, Next::Wait { .. }));
    world.being_made = Some(false);
    let decision = settle(facts, &world);
    assert_eq!(decision.report.ready.map(|ready| ready.reason), Some(WorkerReason::OrphanLock));
}

#[test]
fn a_vm_that_lost_its_mark_is_not_made_a_second_time() {
    let mut facts = facts();
    let made = Operation { task: Some(TaskHandle("UPID:t".into())), ..operation(Kind::Test, Step::Create) };
    facts.remembered.operation = Some(Ok(made));
    facts.looks.task = Some(TaskState::Succeeded { warnings: Vec::new() });
    let nameless = LiveVm { ownership: Ownership::Foreign, ..vm(Power::Off) };
    let decision = settle(facts, &well(Live::Found(nameless)));
    assert!(matches!(decision.next, Next::Wait { .. }), "{decision:?}");
    let ready = decision.report.ready.unwrap();
    assert_eq!(ready.reason, WorkerReason::IdentityMismatch);
    assert!(ready.message.contains("stevedore.dev/vm-id: 5000"));
}

#[test]
fn a_worker_that_is_abandoned_is_released_without_a_look() {
    let mut facts = facts();
    facts.declared.deleting = true;
    facts.declared.has_finalizer = true;
    facts.declared.abandon = Abandon::Yes;
    facts.observed.hypervisor = HypervisorState::Away(Problem::new(WorkerReason::HypervisorUnreachable, "away"));
    assert_eq!(plan(&facts).next, Next::Release { abandoned: true });
}

#[test]
fn nothing_is_deleted_on_a_guess() {
    let mut facts = facts();
    facts.declared.deleting = true;
    facts.declared.has_finalizer = true;
    facts.declared.abandon = Abandon::Unclear("True".into());
    let decision = plan(&facts);
    assert!(matches!(decision.next, Next::Wait { .. }), "{:?}", decision.next);
    let ready = decision.report.ready.unwrap();
    assert_eq!((ready.status, ready.reason), (Some(false), WorkerReason::AnnotationUnclear));
    assert!(ready.message.contains("stevedore.dev/abandon is \"True\""), "{}", ready.message);
}

#[test]
fn a_manual_worker_rests_without_a_vm_until_it_is_asked() {
    let mut facts = facts();
    facts.declared.test_on_change = false;
    let decision = plan(&facts);
    assert_eq!(decision.next, Next::Rest);
    assert_eq!(
        decision.report.ready.as_ref().map(|ready| (ready.status, ready.reason)),
        Some((Some(true), WorkerReason::Configured))
    );
    facts.declared.test_request = Some("now".into());
    let Next::Act { record, .. } = settle(facts, &well(Live::NotThere)).next else { panic!() };
    assert_eq!(record.request.as_deref(), Some("now"));
}

#[test]
fn a_guest_that_does_not_answer_fails_the_test_and_the_vm_goes_off() {
    let mut facts = facts();
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Start)));
    let mut world = well(Live::Found(vm(Power::On)));
    world.guest = Some(false);
    assert!(matches!(settle(facts.clone(), &world).next, Next::Wait { .. }));
    facts.observed.step_age = Duration::from_secs(301);
    let Next::Conclude { check, message, .. } = settle(facts.clone(), &world).next else { panic!() };
    assert_eq!(check, "guest");
    assert!(message.contains("qemu-guest-agent"));
    facts.remembered.last_test = Some(TestRecord {
        passed: false,
        spec_hash: "h1".into(),
        started: at(NOW - 60),
        finished: at(NOW),
        operation: "op-1".into(),
        message,
    });
    assert_eq!(effect(&settle(facts, &world)), Some(Effect::ShutDown));
}

#[test]
fn an_edit_under_a_running_test_ends_it_without_a_result() {
    let mut facts = facts();
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Start)));
    facts.declared.spec_hash = "h2".into();
    let Next::Act { record, effect: Effect::ShutDown } = settle(facts, &well(Live::Found(vm(Power::On)))).next else {
        panic!()
    };
    assert!(record.checked);
}

#[test]
fn a_deletion_takes_the_open_operation_over() {
    let mut facts = facts();
    facts.declared.deleting = true;
    facts.declared.has_finalizer = true;
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    let unfinished = LiveVm { ownership: Ownership::Unfinished { operation: "op-1".into() }, ..vm(Power::Off) };
    let Next::Act { record, effect: Effect::Destroy } = settle(facts.clone(), &well(Live::Found(unfinished))).next
    else {
        panic!()
    };
    assert_eq!((record.kind, record.id.as_str()), (Kind::Delete, "op-1"));
    facts.looks.task = Some(TaskState::Running);
    assert!(matches!(plan(&facts).next, Next::Wait { .. }));
}

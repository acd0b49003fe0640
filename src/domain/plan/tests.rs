//! Properties of every decision, whatever the facts; and the way of a test through its steps.

use crate::api::reasons::WorkerReason;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Mark, Ownership};
use crate::domain::observation::{Budget, Declared, NewId, Observed, Remembered, TestRecord};
use crate::domain::operation::{Target, VERSION};
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
        template: "debian-worker".into(),
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
            paused: false,
            deleting: false,
            has_finalizer: false,
            abandon: false,
            force_delete: false,
        },
        remembered: Remembered::default(),
        observed: Observed {
            hypervisor: HypervisorState::Ready,
            away_for: Duration::ZERO,
            hypervisor_paused: false,
            presence: Presence::Absent { polls: 2 },
            idle_for: Duration::ZERO,
            conflict: None,
            step_age: Duration::ZERO,
            calls: 0,
            hold: Duration::ZERO,
            last_call: None,
            fresh_operation_id: "op-1".into(),
            live: None,
            task: None,
            being_made: None,
            obstacles: None,
            strangers: None,
            new_id: None,
            permit: None,
            budget: None,
            guest: None,
            guest_timeout: Duration::from_secs(300),
        },
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
    }
}

fn difference(takes: Takes) -> Difference {
    Difference { field: "resources.memory".into(), from: "2048".into(), to: "6144".into(), takes }
}

/// Answers every look from `world` until something else than a look is decided.
fn settle(mut facts: Facts, world: &Observed) -> Decision {
    for _ in 0..20 {
        let decision = plan(&facts);
        match &decision.next {
            Next::Look(Look::Vm(_)) => facts.observed.live.clone_from(&world.live),
            Next::Look(Look::BeingMade) => facts.observed.being_made = world.being_made,
            Next::Look(Look::Obstacles) => facts.observed.obstacles.clone_from(&world.obstacles),
            Next::Look(Look::Strangers) => facts.observed.strangers.clone_from(&world.strangers),
            Next::Look(Look::NewId) => facts.observed.new_id.clone_from(&world.new_id),
            Next::Look(Look::Permit) => facts.observed.permit = world.permit,
            Next::Look(Look::Budget(_)) => facts.observed.budget.clone_from(&world.budget),
            Next::Look(Look::Guest(_)) => facts.observed.guest = world.guest,
            _ => return decision,
        }
    }
    panic!("looks without end: {:?}", plan(&facts).next);
}

/// A world in which everything that can be asked is answered well.
fn well(live: Live) -> Observed {
    Observed {
        live: Some(live),
        being_made: Some(false),
        obstacles: Some(Vec::new()),
        strangers: Some(Vec::new()),
        new_id: Some(NewId::Reserved("5000".into())),
        permit: Some(true),
        budget: Some(Budget::Granted),
        guest: Some(true),
        ..facts().observed
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
    let Next::Check(checking) = settle(facts.clone(), &on).next else { panic!() };
    facts.remembered.last_test = Some(TestRecord {
        passed: true,
        spec_hash: "h1".into(),
        finished: at(NOW),
        operation: checking.id.clone(),
        message: String::new(),
    });
    let Next::Act { record, effect: Effect::ShutDown } = settle(facts.clone(), &on).next else { panic!() };
    facts.remembered.operation = Some(Ok(*record));
    assert!(matches!(settle(facts, &well(Live::Found(vm(Power::Off)))).next, Next::Close(_)));
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
    facts.observed.task = Some(TaskState::Succeeded { warnings: Vec::new() });
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
    facts.declared.abandon = true;
    facts.observed.hypervisor = HypervisorState::Away(Problem::new(WorkerReason::HypervisorUnreachable, "away"));
    assert_eq!(plan(&facts).next, Next::Release { abandoned: true });
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
    facts.observed.task = Some(TaskState::Running);
    assert!(matches!(plan(&facts).next, Next::Wait { .. }));
}

prop_compose! {
    fn any_ownership()(which in 0_u8..5) -> Ownership {
        match which {
            0 | 1 => Ownership::Ours,
            2 => Ownership::Unfinished { operation: "op-1".into() },
            3 => Ownership::Foreign,
            _ => Ownership::Mismatch("copied".into()),
        }
    }
}

prop_compose! {
    fn any_live()(
        there: bool,
        ownership in any_ownership(),
        power in select(vec![Power::On, Power::Off, Power::Unknown]),
        lock in proptest::option::weighted(0.2, select(vec!["clone".to_owned(), "backup".to_owned()])),
        template in proptest::bool::weighted(0.1),
        protected in proptest::bool::weighted(0.2),
        differing in proptest::collection::vec(select(vec![Takes::Configure, Takes::Grow, Takes::Redeploy]), 0..2),
    ) -> Live {
        if !there { return Live::NotThere; }
        Live::Found(LiveVm {
            ownership, lock, template, protected,
            differences: differing.into_iter().map(difference).collect(),
            ..vm(power)
        })
    }
}

prop_compose! {
    fn any_operation()(
        kind in select(vec![Kind::Test, Kind::Apply, Kind::ShutDown, Kind::Delete]),
        step in select(vec![Step::Create, Step::Configure, Step::Start, Step::ShutDown, Step::PowerOff, Step::Destroy]),
        sends in 0_u32..7,
        task: bool,
        checked: bool,
        hash in select(vec!["h1", "h2"]),
    ) -> Operation {
        Operation {
            sends, checked, spec_hash: hash.to_owned(),
            task: task.then(|| TaskHandle("UPID:t".into())),
            ..operation(kind, step)
        }
    }
}

prop_compose! {
    fn any_task()(which in 0_u8..6) -> Option<TaskState> {
        match which {
            0 | 1 => None,
            2 => Some(TaskState::Running),
            3 => Some(TaskState::Succeeded { warnings: Vec::new() }),
            4 => Some(TaskState::Lost),
            _ => Some(TaskState::Failed { message: "no space".into(), kind: FaultKind::Other }),
        }
    }
}

prop_compose! {
    fn any_facts()(
        operation in proptest::option::of(any_operation()),
        live in any_live(),
        task in any_task(),
        polls in 0_u32..4,
        presence in 0_u8..4,
        ownership in any_ownership(),
        deleting: bool, has_finalizer: bool, paused in proptest::bool::weighted(0.1),
        away in proptest::bool::weighted(0.1),
        on_change: bool, permit: bool, guest: bool, being_made: bool,
        budget: bool,
        claims in 0_usize..2,
        ages in (0_u64..400, 0_u64..400, 0_u64..3),
        fault in proptest::option::of(select(vec![FaultKind::AlreadyExists, FaultKind::UnknownOutcome, FaultKind::Refused, FaultKind::Busy])),
    ) -> (Facts, Observed) {
        let mut facts = facts();
        facts.remembered.operation = operation.map(Ok);
        facts.remembered.claims = claims;
        facts.declared.deleting = deleting;
        facts.declared.has_finalizer = has_finalizer;
        facts.declared.paused = paused;
        facts.declared.test_on_change = on_change;
        // A task is known only of an operation.
        facts.observed.task = task.filter(|_| facts.remembered.operation.is_some());
        facts.observed.step_age = Duration::from_secs(ages.0);
        facts.observed.idle_for = Duration::from_secs(ages.1);
        facts.observed.hold = Duration::from_secs(ages.2.saturating_sub(1));
        facts.observed.last_call = fault.map(|kind| Fault::new(kind, "failed"));
        facts.observed.presence = match presence {
            0 => Presence::Absent { polls },
            1 => Presence::Unknown("no poll yet".into()),
            2 => Presence::Elsewhere("VM 5009".into()),
            _ => Presence::Present { at: place(), power: Power::On, ownership, uuid: "u".into() },
        };
        if away { facts.observed.hypervisor = HypervisorState::Away(Problem::new(WorkerReason::HypervisorUnreachable, "away")); }
        let mut world = well(live);
        world.permit = Some(permit);
        world.guest = Some(guest);
        world.being_made = Some(being_made);
        world.budget = Some(if budget { Budget::Granted } else { Budget::Held("later".into()) });
        (facts, world)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Looks end, and what may never be done is never decided.
    #[test]
    fn what_is_never_done((facts, world) in any_facts()) {
        let decision = settle(facts.clone(), &world);
        let Next::Act { record, effect } = &decision.next else { return Ok(()); };
        let live = world.live.as_ref().unwrap();
        prop_assert!(!facts.declared.paused, "paused");
        prop_assert_eq!(&facts.observed.hypervisor, &HypervisorState::Ready);
        prop_assert!(facts.observed.hold.is_zero());
        prop_assert!(record.sends >= 1);
        prop_assert!(record.step == effect.step() || matches!(effect, Effect::Configure | Effect::GrowDisk));
        if let Live::Found(vm) = live {
            let ours = vm.ownership == Ownership::Ours
                || vm.ownership == Ownership::Unfinished { operation: record.id.clone() };
            if *effect != Effect::Create {
                prop_assert!(ours, "{:?} on a VM that is not ours", effect);
                prop_assert!(vm.lock.is_none() && !vm.template);
            } else if facts.remembered.operation.is_some() {
                prop_assert!(!ours, "a second VM");
            }
            match effect {
                Effect::Destroy => {
                    prop_assert!(facts.declared.deleting || record.kind == Kind::Delete);
                    prop_assert_eq!(vm.power, Power::Off);
                    prop_assert!(!vm.protected);
                    prop_assert_eq!(&world.budget, &Some(Budget::Granted));
                }
                Effect::Start => {
                    prop_assert_eq!(vm.power, Power::Off);
                    prop_assert!(vm.differences.is_empty());
                    prop_assert!(!facts.declared.deleting);
                }
                Effect::Configure | Effect::GrowDisk => prop_assert_eq!(vm.power, Power::Off),
                Effect::ShutDown | Effect::PowerOff => {
                    prop_assert_eq!(vm.power, Power::On);
                    prop_assert!(facts.remembered.claims == 0 || facts.declared.force_delete || record.kind == Kind::Test);
                }
                Effect::Create => {}
            }
        } else {
            prop_assert_eq!(*effect, Effect::Create, "only making works without a VM");
        }
        if *effect == Effect::Create {
            prop_assert!(!facts.declared.deleting);
            prop_assert_ne!(facts.observed.task.as_ref(), Some(&TaskState::Running));
            if facts.remembered.operation.is_none() {
                let absent = matches!(facts.observed.presence, Presence::Absent { polls } if polls >= 2);
                prop_assert!(absent);
            }
        }
    }

    /// A finalizer is only removed when there is nothing left, or by the owner's word.
    #[test]
    fn a_release_is_proven((facts, world) in any_facts()) {
        if let Next::Release { abandoned: false } = settle(facts.clone(), &world).next {
            let absent = matches!(facts.observed.presence, Presence::Absent { polls } if polls >= 2);
            let elsewhere = matches!(facts.observed.presence, Presence::Elsewhere(_));
            prop_assert!(absent || elsewhere && facts.remembered.operation.is_none());
            if facts.remembered.operation.is_some() {
                prop_assert_eq!(world.live, Some(Live::NotThere));
            }
        }
    }

    /// The same facts give the same decision.
    #[test]
    fn deciding_twice_is_deciding_once((facts, world) in any_facts()) {
        prop_assert_eq!(settle(facts.clone(), &world), settle(facts, &world));
    }
}

#[test]
fn every_effect_is_decided_by_some_facts() {
    // Guards the properties above against facts that never lead to an effect.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..6000 {
        let tree = proptest::strategy::Strategy::new_tree(&any_facts(), &mut runner).unwrap();
        let (facts, world) = proptest::strategy::ValueTree::current(&tree);
        if let Some(effect) = effect(&settle(facts, &world)) {
            seen.insert(format!("{effect:?}"));
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

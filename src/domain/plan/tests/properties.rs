//! Properties of every decision, whatever the facts.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::attempt::{Attempt, AttemptId, AttemptState, Sight};
use crate::domain::claims::{Claim, Held, OpenTask, TaskSight};
use crate::domain::observation::{Inside, LaunchRecord, UpdateLook, UpdatesWanted};
use crate::domain::update::{UpdateEnd, UpdateResult, UpdateSight, UpdateState};

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
        kind in select(vec![Kind::Test, Kind::Launch, Kind::Apply, Kind::ShutDown, Kind::Fence, Kind::Delete]),
        step in select(vec![Step::Download, Step::Create, Step::Configure, Step::Start, Step::Update, Step::Reboot, Step::ShutDown, Step::PowerOff, Step::Destroy]),
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

fn any_claims() -> impl Strategy<Value = Vec<Held>> {
    let task = (any::<bool>(), any::<bool>()).prop_map(|(begun, command)| {
        TaskSight::Open(OpenTask { begun, command, ending: None, retries_left: false, was_lost: false })
    });
    let claim = Claim { task: "s-0".into(), uid: "a".into(), session: "s".into(), attempt: 1 };
    let held = (prop_oneof![Just(TaskSight::Gone), Just(TaskSight::Over), task], proptest::bool::weighted(0.8))
        .prop_map(move |(task, listed)| Held { claim: claim.clone(), listed, task });
    proptest::collection::vec(held, 0..2)
}

fn any_inside() -> impl Strategy<Value = Inside> {
    let attempt = select(vec![
        None,
        Some(AttemptState::Starting),
        Some(AttemptState::Running),
        Some(AttemptState::Lost),
        Some(AttemptState::NoResult),
        Some(AttemptState::Stopped),
    ]);
    let sight = (attempt, any::<bool>(), proptest::bool::weighted(0.1), 0_u64..1200);
    let sight = sight.prop_map(|(state, same, stray, age)| {
        let id = AttemptId { task: "a".into(), attempt: 1 };
        let age = Duration::from_secs(age);
        Inside::Told(Sight {
            boot_id: if same { "boot" } else { "another" }.into(),
            attempts: state.map(|state| Attempt { id, age, state }).into_iter().collect(),
            strays: stray.then(|| "stevedore-task-x".to_owned()).into_iter().collect(),
        })
    });
    prop_oneof![(0_u64..400).prop_map(|age| Inside::Silent(Duration::from_secs(age))), sight]
}

fn any_update() -> impl Strategy<Value = UpdateLook> {
    let end = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(done, reboot_needed, same)| {
        let result = if done { UpdateResult::Done } else { UpdateResult::Failed("no way".into()) };
        let boot_id = if same { "boot" } else { "another" }.to_owned();
        UpdateState::Ended(UpdateEnd {
            result,
            manager: None,
            packages: 1,
            pending: 0,
            reboot_needed,
            boot_id,
            finished_ago: Duration::ZERO,
        })
    });
    let states = prop_oneof![
        2 => Just(UpdateState::NotStarted),
        1 => Just(UpdateState::Running),
        1 => Just(UpdateState::Lost),
        1 => Just(UpdateState::NoResult),
        2 => end,
    ];
    let told = states.prop_map(|state| UpdateLook::Told(UpdateSight { boot_id: "boot".into(), state }));
    prop_oneof![1 => (0_u64..400).prop_map(|age| UpdateLook::Silent(Duration::from_secs(age))), 5 => told]
}

/// What became of the update, if the guest tells.
fn update_in(world: &Looks) -> Option<&UpdateState> {
    match &world.update {
        Some(UpdateLook::Told(sight)) => Some(&sight.state),
        _ => None,
    }
}

/// Whether nothing of ours runs in the guest, or it is dead.
fn is_still(world: &Looks) -> bool {
    match &world.inside {
        Some(Inside::Silent(since)) => *since >= super::work::DEAD,
        Some(Inside::Told(sight)) => sight.active().next().is_none() && sight.strays.is_empty(),
        None => false,
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
        claims in any_claims(),
        inside in any_inside(),
        launched: bool,
        update in any_update(),
        updates: bool, failure_fails: bool, already_checked: bool,
        ages in (0_u64..400, 0_u64..400, 0_u64..3),
        by_url: bool,
        image in select(vec![
            ImageSight::Present, ImageSight::Downloading, ImageSight::Absent, ImageSight::Refused("404".into()),
        ]),
        fault in proptest::option::of(select(vec![FaultKind::AlreadyExists, FaultKind::UnknownOutcome, FaultKind::Refused, FaultKind::Busy])),
    ) -> (Facts, Looks) {
        let mut facts = facts();
        facts.remembered.operation = operation.map(Ok);
        facts.remembered.claims = claims;
        facts.remembered.launch =
            launched.then(|| LaunchRecord { operation: "op-0".into(), boot_id: "boot".into() });
        facts.declared.deleting = deleting;
        facts.declared.has_finalizer = has_finalizer;
        facts.declared.paused = paused;
        facts.declared.updates =
            updates.then(|| UpdatesWanted { failure_fails, timeout: Duration::from_secs(60) });
        facts.observed.checked = already_checked;
        facts.declared.test_on_change = on_change;
        // A task is known only of an operation.
        facts.looks.task = task.filter(|_| facts.remembered.operation.is_some());
        facts.observed.step_age = Duration::from_secs(ages.0);
        facts.observed.idle_for = Duration::from_secs(ages.1);
        facts.observed.hold = Duration::from_secs(ages.2.saturating_sub(1));
        facts.observed.last_call = fault.map(|kind| Fault::new(kind, "failed"));
        facts.observed.presence = match presence {
            0 => Presence::Absent { polls },
            1 => Presence::Unknown(Problem::new(WorkerReason::Waiting, "no poll yet")),
            2 => Presence::Elsewhere { text: "VM 5009".into(), polls },
            _ => Presence::Present { at: place(), power: Power::On, ownership, uuid: "u".into() },
        };
        if away { facts.observed.hypervisor = HypervisorState::Away(Problem::new(WorkerReason::HypervisorUnreachable, "away")); }
        if by_url { facts.declared.wanted.image = ImageWanted::File(image_file()); }
        let mut world = well(live);
        world.image = Some(image);
        world.permit = Some(permit);
        world.guest = Some(guest);
        world.inside = Some(inside);
        world.update = Some(update);
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
        if *effect == Effect::Download {
            prop_assert!(facts.declared.wanted.image.file().is_some());
            let nowhere = matches!(world.image, Some(ImageSight::Absent | ImageSight::Refused(_)));
            prop_assert!(nowhere, "what is there, or on its way, is not downloaded");
            prop_assert!(!facts.declared.deleting);
            prop_assert_ne!(facts.looks.task.as_ref(), Some(&TaskState::Running));
            if facts.remembered.operation.is_none() {
                let absent = matches!(facts.observed.presence, Presence::Absent { polls } if polls >= 2);
                prop_assert!(absent);
            }
            return Ok(());
        }
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
                Effect::Update => {
                    prop_assert_eq!(vm.power, Power::On);
                    prop_assert!(facts.declared.updates.is_some() && !facts.declared.deleting);
                    prop_assert!(matches!(record.kind, Kind::Test | Kind::Launch));
                    prop_assert_eq!(update_in(&world), Some(&UpdateState::NotStarted), "once");
                }
                Effect::Reboot => {
                    prop_assert_eq!(vm.power, Power::On);
                    prop_assert!(!facts.declared.deleting && matches!(record.kind, Kind::Test | Kind::Launch));
                    let asked = matches!(
                        update_in(&world), Some(UpdateState::Ended(end)) if end.reboot_needed && end.boot_id == "boot"
                    );
                    prop_assert!(asked, "only out of the boot that asks for it");
                }
                Effect::ShutDown | Effect::PowerOff => {
                    prop_assert_eq!(vm.power, Power::On);
                    // Nobody cuts the power of what may run, or is asked to shut down: but of what has been powered on just
                    // now, and of a guest that is dead.
                    let first = record.sends == 1 && facts.remembered.operation.as_ref() != Some(&Ok((**record).clone()));
                    let own = facts.remembered.operation.as_ref().and_then(|open| open.as_ref().ok());
                    let fresh = own.is_some_and(|open| {
                        let begun = matches!(open.step, Step::ShutDown | Step::PowerOff) || open.kind == Kind::Fence;
                        open.has_powered_on() || open.sends > 0 && begun
                    });
                    prop_assert!(!first || fresh || is_still(&world));
                    let updates = own.is_some_and(|open| {
                        open.step == Step::Update && !open.checked && matches!(open.kind, Kind::Test | Kind::Launch)
                    });
                    let running = update_in(&world) == Some(&UpdateState::Running);
                    prop_assert!(!updates || !running || facts.declared.deleting, "in the middle of an update");
                }
                Effect::Download | Effect::Create => {}
            }
        } else {
            prop_assert_eq!(*effect, Effect::Create, "only making works without a VM");
        }
        if *effect == Effect::Create {
            let is_kept = facts.declared.wanted.image.file().is_none() || world.image == Some(ImageSight::Present);
            // A call that was sent once is not held up by an image that went since: the host refuses it.
            let began = facts.remembered.operation.as_ref().and_then(|open| open.as_ref().ok());
            prop_assert!(is_kept || began.is_some_and(|open| open.step == Step::Create));
            prop_assert!(!facts.declared.deleting);
            prop_assert_ne!(facts.looks.task.as_ref(), Some(&TaskState::Running));
            let is_first = |open: &Operation| open.step == Step::Download;
            if began.is_none_or(is_first) {
                let absent = matches!(facts.observed.presence, Presence::Absent { polls } if polls >= 2);
                prop_assert!(absent);
            }
        }
    }

    /// A finalizer is only removed when there is nothing left, or by the owner's word.
    #[test]
    fn a_release_is_proven((facts, world) in any_facts()) {
        if let Next::Release { abandoned: false } = settle(facts.clone(), &world).next {
            let polls = match facts.observed.presence {
                Presence::Absent { polls } | Presence::Elsewhere { polls, .. } => polls,
                _ => 0,
            };
            prop_assert!(polls >= 2);
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

/// How many kinds of effect there are.
const EFFECTS: usize = 10;

#[test]
fn every_effect_is_decided_by_some_facts() {
    // Guards the properties above against facts that never lead to an effect.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..200_000 {
        if seen.len() == EFFECTS {
            return;
        }
        let tree = proptest::strategy::Strategy::new_tree(&any_facts(), &mut runner).unwrap();
        let (facts, world) = proptest::strategy::ValueTree::current(&tree);
        if let Some(effect) = effect(&settle(facts, &world)) {
            seen.insert(format!("{effect:?}"));
        }
    }
    panic!("only {seen:?}");
}

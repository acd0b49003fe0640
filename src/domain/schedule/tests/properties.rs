//! Properties of every plan, whatever the world.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::counted::{claims, exceeded, in_order, is_taking, open, sessions, storages, vms};
use super::worlds::{any_world, any_world_and_a_worker};
use super::*;

fn check_limits(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let after = carried_out(world, plan);
    let nothing = Vec::<&str>::new();
    prop_assert_eq!(exceeded(&storages(world), &storages(&after), |_| world.tasks_per_storage), nothing.clone());
    prop_assert_eq!(exceeded(&vms(world), &vms(&after), |_| 1), nothing.clone(), "a VM twice");
    let slots = |name: &str| world.workers.iter().find(|worker| worker.name == name).map_or(0, |worker| worker.slots);
    prop_assert_eq!(exceeded(&claims(world), &claims(&after), slots), nothing.clone());
    let parallelism = |uid: &str| {
        let session = world.sessions.iter().find(|session| session.uid == uid).unwrap();
        session.parallelism.unwrap_or(usize::MAX)
    };
    prop_assert_eq!(exceeded(&sessions(world), &sessions(&after), parallelism), nothing);
    Ok(())
}

/// Whether a task that still waits after a plan was carried out does so for this reason.
fn is_true(world: &World, after: &World, wait: &Waiting) -> bool {
    let tasks = in_order(after);
    let place = tasks.iter().position(|(_, task)| task.uid == wait.task).unwrap();
    let (session, task) = tasks[place];
    let taking: Vec<&Worker> = open(world, session, task).into_iter().filter(|worker| is_taking(worker)).collect();
    match wait.reason {
        TaskReason::Busy => taking.iter().all(|worker| claims(after)[worker.name.as_str()] >= worker.slots),
        TaskReason::Parallelism => {
            let running = sessions(after).get(session.uid.as_str()).copied().unwrap_or(0);
            session.parallelism.is_some_and(|most| running >= most)
        }
        TaskReason::VmBusy => is_vm_wanted(&tasks, place),
        TaskReason::StorageLimit => task.storages.iter().any(|storage| is_short(after, &tasks[..place], storage)),
        TaskReason::NoWorker => world.workers.iter().all(|worker| !session.workers.contains(&worker.name)),
        _ => taking.is_empty(),
    }
}

/// Whether another task has the VM of the one at `place`, or comes before it.
fn is_vm_wanted(tasks: &[(&Session, &Task)], place: usize) -> bool {
    let vm = &tasks[place].1.vm;
    let mut others = tasks.iter().enumerate().filter(|(at, (_, other))| *at != place && other.vm == *vm);
    let wants =
        |(at, (_, other)): (usize, &(&Session, &Task))| at < place || matches!(other.state, TaskState::Holding { .. });
    vm.is_some() && others.any(wants)
}

/// Whether a storage has no slot left, but perhaps one for a task that comes before.
fn is_short(after: &World, before: &[(&Session, &Task)], storage: &String) -> bool {
    let used = storages(after).get(storage.as_str()).copied().unwrap_or(0);
    let waits = |task: &Task| matches!(task.state, TaskState::Waiting { .. });
    let is_held = before.iter().any(|(_, other)| waits(other) && other.storages.contains(storage));
    used + usize::from(is_held) >= after.tasks_per_storage
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_limit_is_exceeded(world in any_world()) {
        check_limits(&world, &decide(&world))?;
    }

    #[test]
    fn every_task_that_waits_is_spoken_of_once_in_its_order(world in any_world()) {
        let plan = decide(&world);
        let waits = |task: &Task| matches!(task.state, TaskState::Waiting { .. });
        let order: Vec<&str> =
            in_order(&world).into_iter().filter(|(_, task)| waits(task)).map(|(_, task)| task.uid.as_str()).collect();
        let assigned: BTreeSet<&str> = plan.assignments.iter().map(|one| one.task.as_str()).collect();
        let (first, second): (Vec<&str>, Vec<&str>) = order.into_iter().partition(|uid| assigned.contains(uid));
        prop_assert_eq!(plan.assignments.iter().map(|one| one.task.as_str()).collect::<Vec<_>>(), first);
        prop_assert_eq!(plan.waiting.iter().map(|one| one.task.as_str()).collect::<Vec<_>>(), second);
    }

    #[test]
    fn a_worker_is_one_that_the_task_can_have(world in any_world()) {
        let tasks = in_order(&world);
        for one in decide(&world).assignments {
            let (session, task) = tasks.iter().find(|(_, task)| task.uid == one.task).unwrap();
            let worker = open(&world, session, task).into_iter().find(|worker| worker.name == one.worker);
            prop_assert!(worker.is_some_and(is_taking), "{:?}", one);
            prop_assert_eq!(one.local, task.host.is_some() && worker.unwrap().host == task.host);
        }
    }

    /// Nobody who comes later gets what somebody waits for.
    #[test]
    fn nobody_is_overtaken(world in any_world()) {
        let plan = decide(&world);
        let after = carried_out(&world, &plan);
        let (storages, tasks) = (storages(&after), in_order(&world));
        let got: BTreeMap<&str, &str> = plan.pairs().into_iter().collect();
        for (place, (session, task)) in tasks.iter().enumerate() {
            let Some(wait) = plan.waiting.iter().find(|wait| wait.task == task.uid) else { continue };
            let open = open(&world, session, task);
            if open.is_empty() || wait.reason == TaskReason::Parallelism { continue }
            let is_limited = matches!(wait.reason, TaskReason::StorageLimit | TaskReason::VmBusy);
            for (_, later) in &tasks[place + 1..] {
                let Some(worker) = got.get(later.uid.as_str()) else { continue };
                prop_assert!(task.vm.is_none() || later.vm != task.vm, "{} took the VM of {}", later.uid, task.uid);
                for shared in later.storages.intersection(&task.storages) {
                    prop_assert!(storages[shared.as_str()] < world.tasks_per_storage, "{} filled {shared}", later.uid);
                }
                let is_wanted = open.iter().any(|open| open.name == *worker);
                prop_assert!(is_limited || !is_wanted, "{} took the slot of {}", later.uid, task.uid);
            }
        }
    }

    /// What is said of a task that waits is so.
    #[test]
    fn a_reason_is_true(world in any_world()) {
        let plan = decide(&world);
        let after = carried_out(&world, &plan);
        for wait in &plan.waiting {
            prop_assert!(is_true(&world, &after, wait), "{:?}", wait);
            prop_assert!(!wait.message.is_empty() && wait.message.chars().count() <= 300);
        }
    }

    #[test]
    fn one_more_worker_never_lowers_the_number((world, more) in any_world_and_a_worker()) {
        let before = decide(&world).assignments.len();
        let workers = world.workers.iter().cloned().chain([more]).collect();
        let after = decide(&World { workers, ..world }).assignments.len();
        prop_assert!(after >= before, "{before} before, {after} with one more");
    }

    #[test]
    fn the_order_of_the_lists_does_not_matter(
        (world, shuffled) in any_world().prop_flat_map(|world| {
            let (workers, sessions) = (world.workers.clone(), world.sessions.clone());
            let shuffled = (Just(workers).prop_shuffle(), Just(sessions).prop_shuffle());
            (Just(world), shuffled)
        })
    ) {
        let (workers, sessions) = shuffled;
        let other = World { sessions, workers, ..world.clone() };
        prop_assert_eq!(decide(&world), decide(&other));
    }

    /// Plan after plan is carried out while nothing ends: there is an end, and every plan keeps the limits.
    #[test]
    fn deciding_again_comes_to_rest(mut world in any_world()) {
        let tasks = in_order(&world).len();
        for _ in 0..=tasks {
            let plan = decide(&world);
            check_limits(&world, &plan)?;
            if plan.assignments.is_empty() {
                return Ok(());
            }
            world = carried_out(&world, &plan);
        }
        prop_assert!(false, "{tasks} tasks are assigned again and again");
    }

    /// Workers are tested again only if they failed, and if somebody who could have them has none.
    #[test]
    fn a_test_is_repeated_for_somebody(world in any_world()) {
        let (plan, tasks) = (decide(&world), in_order(&world));
        for name in &plan.retest {
            let worker = world.workers.iter().find(|worker| worker.name == *name).unwrap();
            let has_failed = matches!(&worker.availability, Availability::Not(why) if why.reason == TaskReason::TestFailed);
            prop_assert!(has_failed);
            let mut healthy = world.clone();
            healthy.workers = vec![Worker { availability: Availability::Running, slots: 9, ..worker.clone() }];
            let could = |wait: &Waiting| {
                let (session, task) = tasks.iter().find(|(_, task)| task.uid == wait.task).unwrap();
                !open(&healthy, session, task).is_empty()
            };
            prop_assert!(plan.waiting.iter().any(could));
        }
    }
}

#[test]
fn worlds_are_nasty_enough() {
    // Guards the properties above against worlds in which nothing happens.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut reasons, mut assigned, mut retested, mut messages) = (BTreeSet::new(), 0, 0, Vec::new());
    for _ in 0..4000 {
        let tree = any_world().new_tree(&mut runner).unwrap();
        let plan = decide(&proptest::strategy::ValueTree::current(&tree));
        assigned += plan.assignments.len();
        retested += plan.retest.len();
        reasons.extend(plan.waiting.iter().map(|wait| wait.reason));
        messages.extend(plan.waiting.into_iter().map(|wait| wait.message));
    }
    assert_eq!(reasons, UNFIT.iter().chain(WAITS).copied().collect());
    let count = |text: &str| messages.iter().filter(|message| message.contains(text)).count();
    let (held, avoided) = (count("held back"), count("earlier attempts failed"));
    let counts = format!("{assigned} assigned, {retested} retested, {held} held back, {avoided} avoided");
    assert!(assigned > 2000 && retested > 200 && held > 500 && avoided > 30, "{counts}");
}

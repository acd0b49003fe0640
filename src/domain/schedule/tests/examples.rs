//! Who gets which worker.

use super::*;

fn many(prefix: &str, count: usize, storages: &[&str]) -> Vec<Task> {
    (1..=count).map(|number| task(&format!("{prefix}{number}"), storages)).collect()
}

/// What a task is told whose storage has as many tasks as it may have.
fn full(storage: &str, most: usize) -> String {
    format!("{most} tasks work on storage {storage}, and limits.tasksPerStorage of the Hypervisor is {most}")
}

#[test]
fn ten_at_once_over_two_storages_of_four_are_eight() {
    let tasks = many("a", 5, &["A"]).into_iter().chain(many("b", 5, &["B"])).collect();
    let workers = ["w1", "w2", "w3"].map(|name| worker(name, "h1", 4)).to_vec();
    let plan = decide(&world(workers, vec![backup("s", 0, &["w1", "w2", "w3"], tasks).at_most(10)]));
    let assigned: Vec<&str> = plan.pairs().into_iter().map(|(task, _)| task).collect();
    assert_eq!(assigned, ["a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"]);
    assert_eq!(plan.says("a5"), (TaskReason::StorageLimit, full("A", 4).as_str()));
    assert_eq!(plan.says("b5"), (TaskReason::StorageLimit, full("B", 4).as_str()));
}

/// The worker that one task of a VM on `h1` gets from these.
fn chosen(workers: Vec<Worker>) -> Option<(String, bool)> {
    let names: Vec<String> = workers.iter().map(|worker| worker.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = decide(&world(workers, vec![backup("s", 0, &names, vec![task("t", &[])])]));
    plan.assignments.first().map(|one| (one.worker.clone(), one.local))
}

#[test]
fn near_comes_before_soon_and_soon_before_idle() {
    // From the best to the worst; each is taken while those before it are full.
    let ladder = [
        worker("running", "h1", 2),
        worker("launching", "h1", 2).is(Availability::Launching),
        worker("off", "h1", 2).is(Availability::Off),
        worker("far-running", "h2", 2),
        worker("far-launching", "h2", 2).is(Availability::Launching),
        worker("far-off", "h2", 2).is(Availability::Off),
    ];
    for best in 0..ladder.len() {
        let full = ladder.iter().take(best).map(|worker| worker.clone().with_claims(2));
        let workers: Vec<Worker> = full.chain(ladder.iter().skip(best).cloned()).rev().collect();
        assert_eq!(chosen(workers), Some((ladder[best].name.clone(), best < 3)));
    }
    assert_eq!(chosen(ladder.map(|worker| worker.with_claims(2)).to_vec()), None);
}

#[test]
fn of_equals_the_least_loaded_is_taken() {
    let of = |one: (usize, usize), other: (usize, usize)| {
        let workers = [("w2", one), ("w1", other)];
        let workers = workers.map(|(name, (claims, slots))| worker(name, "h1", slots).with_claims(claims));
        chosen(workers.to_vec()).unwrap().0
    };
    assert_eq!(of((1, 4), (1, 2)), "w2", "a quarter is less than a half");
    assert_eq!(of((1, 2), (2, 4)), "w2", "equal parts: fewer claims");
    assert_eq!(of((1, 4), (1, 4)), "w1", "all equal: by name");
    assert_eq!(of((0, 2), (0, 8)), "w1", "nothing is no part of anything");
}

#[test]
fn one_worker_fills_up_before_a_second_is_launched() {
    let workers = ["w1", "w2"].map(|name| worker(name, "h1", 2).is(Availability::Off)).to_vec();
    let tasks = many("t", 3, &[]);
    let plan = decide(&world(workers, vec![backup("s", 0, &["w1", "w2"], tasks)]));
    assert_eq!(plan.pairs(), [("t1", "w1"), ("t2", "w1"), ("t3", "w2")]);
}

#[test]
fn a_vm_on_another_host_takes_the_worker_there() {
    let workers = vec![worker("w1", "h1", 1), worker("w2", "h2", 1)];
    let tasks = vec![task("t1", &[]).on("h2"), task("t2", &[]).on("h2"), task("t3", &[]).on("h2")];
    let plan = decide(&world(workers, vec![backup("s", 0, &["w1", "w2"], tasks)]));
    let local: Vec<bool> = plan.assignments.iter().map(|one| one.local).collect();
    assert_eq!((plan.pairs(), local), (vec![("t1", "w2"), ("t2", "w1")], vec![true, false]));
    assert_eq!(plan.says("t3"), (TaskReason::Busy, "all 2 workers are full (w1 1/1, w2 1/1)"));
}

#[test]
fn a_vm_whose_host_is_not_known_is_far_from_all() {
    let workers = vec![worker("w1", "h1", 4).is(Availability::Off), Worker { host: None, ..worker("w2", "", 4) }];
    let plan = decide(&world(workers, vec![backup("s", 0, &["w1", "w2"], vec![task("t", &[]).nowhere()])]));
    assert_eq!((plan.pairs(), plan.assignments[0].local), (vec![("t", "w2")], false));
}

#[test]
fn a_required_host_is_waited_for() {
    let workers = vec![worker("w1", "h1", 1), worker("w2", "h2", 4)];
    let tasks = vec![task("t1", &[]), task("t2", &[])];
    let plan = decide(&world(workers, vec![backup("s", 0, &["w1", "w2"], tasks).requires_host()]));
    assert_eq!(plan.pairs(), [("t1", "w1")]);
    assert_eq!(plan.says("t2"), (TaskReason::Busy, "w1 is full (1/1)"));
}

#[test]
fn a_restore_overtakes() {
    let workers = vec![worker("w1", "h1", 1)];
    let sessions = vec![
        backup("early", 0, &["w1"], vec![task("b1", &[])]),
        backup("erp", 9, &["w1"], vec![task("r1", &[]).of_vm("new")]).restores(),
    ];
    assert_eq!(decide(&world(workers, sessions)).pairs(), [("r1", "w1")]);
}

#[test]
fn a_restore_holds_back_backups_on_its_storage() {
    let workers = vec![worker("w1", "h1", 1).with_claims(1), worker("w2", "h2", 4)];
    let sessions = vec![
        backup("nightly", 0, &["w2"], many("b", 4, &["ceph"])),
        backup("erp", 9, &["w1"], vec![task("r1", &["ceph"])]).restores(),
    ];
    let plan = decide(&world(workers, sessions));
    assert_eq!(plan.pairs(), [("b1", "w2"), ("b2", "w2"), ("b3", "w2")]);
    let text = "3 tasks work on storage ceph, limits.tasksPerStorage of the Hypervisor is 4, and the last slot is held back for \
                restore erp";
    assert_eq!(plan.says("b4"), (TaskReason::StorageLimit, text));
}

#[test]
fn the_earlier_of_two_sessions_gets_the_vm() {
    let sessions = vec![
        backup("b", 5, &["w1"], vec![task("late", &[]).of_vm("100")]),
        backup("z", 3, &["w1"], vec![task("early", &[]).of_vm("100")]),
        backup("a", 5, &["w1"], vec![task("tie", &[]).of_vm("101"), task("twice", &[]).of_vm("101")]),
    ];
    let plan = decide(&world(vec![worker("w1", "h1", 9)], sessions));
    assert_eq!(plan.pairs(), [("early", "w1"), ("tie", "w1")]);
    assert_eq!(plan.says("late"), (TaskReason::VmBusy, "the same VM is processed by backup z"));
    assert_eq!(plan.says("twice"), (TaskReason::VmBusy, "the same VM is processed by task tie of the same session"));
}

#[test]
fn a_vm_is_kept_for_the_earlier_one_that_waits() {
    let sessions = vec![
        backup("first", 0, &["w1"], vec![task("t1", &[]).of_vm("100")]),
        backup("second", 1, &["w2"], vec![task("t2", &[]).of_vm("100")]),
    ];
    let workers = vec![worker("w1", "h1", 1).with_claims(1), worker("w2", "h1", 1)];
    let plan = decide(&world(workers.clone(), sessions.clone()));
    assert_eq!(plan.says("t2"), (TaskReason::VmBusy, "the same VM is held back for backup first"));
    // But not for one that no worker could take.
    let workers = vec![workers[0].clone().isnt(TaskReason::Disabled, ""), workers[1].clone()];
    assert_eq!(decide(&world(workers, sessions)).pairs(), [("t2", "w2")]);
}

#[test]
fn tasks_without_a_vm_do_not_exclude_each_other() {
    let new = |uid: &str| Task { vm: None, ..task(uid, &["ceph"]) };
    let sessions = vec![backup("s", 0, &["w1"], vec![new("t1"), new("t2")]).restores()];
    assert_eq!(decide(&world(vec![worker("w1", "h1", 4)], sessions)).assignments.len(), 2);
}

#[test]
fn what_runs_counts() {
    let sessions = vec![
        backup("s", 0, &["w1"], vec![task("t1", &["A"]).holds("w1"), task("t2", &[]), task("t3", &[])]).at_most(2),
        // Its worker is gone from the world, its storage is in use all the same.
        backup("r", 1, &["w1"], vec![task("t4", &["A"]).holds("w0"), task("t5", &["A"])]),
    ];
    let plan = decide(&World { tasks_per_storage: 2, ..world(vec![worker("w1", "h1", 3)], sessions) });
    assert_eq!(plan.pairs(), [("t2", "w1")]);
    let parallelism = "2 of the session's tasks run already, and its parallelism is 2";
    assert_eq!(plan.says("t3"), (TaskReason::Parallelism, parallelism));
    assert_eq!(plan.says("t5"), (TaskReason::StorageLimit, full("A", 2).as_str()));
}

#[test]
fn another_worker_is_tried_where_one_failed() {
    let with = |workers: Vec<Worker>| {
        decide(&world(workers, vec![backup("s", 0, &["w1", "w2"], vec![task("t", &[]).avoids(&["w1"])])]))
    };
    let near = worker("w1", "h1", 4);
    let far = worker("w2", "h2", 1).is(Availability::Off);
    assert_eq!(with(vec![near.clone(), far.clone()]).pairs(), [("t", "w2")]);
    let plan = with(vec![near.clone(), far.clone().with_claims(1)]);
    assert_eq!(plan.says("t"), (TaskReason::Busy, "w2 is full (1/1); earlier attempts failed on w1"));
    let plan = with(vec![near.clone(), far.clone().isnt(TaskReason::ShuttingDown, "")]);
    let text = "w2 is shutting down; earlier attempts failed on w1";
    assert_eq!(plan.says("t"), (TaskReason::ShuttingDown, text), "it is soon back");
    // There is no other.
    assert_eq!(with(vec![near.clone(), far.isnt(TaskReason::Disabled, "")]).pairs(), [("t", "w1")]);
    assert_eq!(with(vec![near]).pairs(), [("t", "w1")]);
}

#[test]
fn a_session_has_the_workers_that_it_selects() {
    let workers = vec![worker("w1", "h1", 1), worker("w2", "h1", 1)];
    // A name that is in no world is no worker.
    let sessions = vec![backup("s", 0, &["w0", "w2"], many("t", 2, &[]))];
    let plan = decide(&world(workers, sessions));
    assert_eq!((plan.pairs(), plan.wait("t2").reason), (vec![("t1", "w2")], TaskReason::Busy));
}

#[test]
fn failed_workers_are_tested_again_for_those_who_lack_one() {
    let failed = |name: &str, host: &str| worker(name, host, 4).isnt(TaskReason::TestFailed, "");
    let workers =
        vec![failed("w1", "h1"), failed("w2", "h2"), failed("w3", "h1"), worker("w4", "h1", 1), failed("w5", "h1")];
    let of = |tasks: Vec<Task>| {
        let session = backup("s", 0, &["w1", "w2", "w4", "w5"], tasks).requires_host();
        decide(&world(workers.clone(), vec![session])).retest.into_iter().collect::<Vec<_>>()
    };
    // One is on another host, one is not selected.
    assert_eq!(of(many("t", 2, &[])), ["w1", "w5"]);
    assert_eq!(of(many("t", 1, &[])).len(), 0, "the one that works is enough");
    assert_eq!(of(vec![task("t1", &[]), task("t2", &[]).of_vm("t1")]).len(), 0, "no worker would help the second");
    assert_eq!(of(vec![task("t1", &[]), task("t2", &[]).avoids(&["w1"])]), ["w5"]);
}

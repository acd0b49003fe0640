//! Worlds by chance: small, so that everything gets in everything's way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

pub(super) const STORAGES: [&str; 3] = ["A", "B", "C"];
pub(super) const HOSTS: [&str; 2] = ["h1", "h2"];
const WORKERS: [&str; 4] = ["w0", "w1", "w2", "w3"];
const VMS: [&str; 7] = ["100", "101", "102", "103", "104", "105", "106"];

fn names(
    from: &'static [&'static str],
    size: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = BTreeSet<String>> {
    subsequence(from, size).prop_map(|names| names.into_iter().map(ToOwned::to_owned).collect())
}

fn any_host() -> impl Strategy<Value = Option<String>> {
    proptest::option::weighted(0.9, select(&HOSTS[..]).prop_map(ToOwned::to_owned))
}

fn any_availability() -> impl Strategy<Value = Availability> {
    let unfit = prop_oneof![Just(TaskReason::TestFailed), select(UNFIT)];
    let not = unfit.prop_map(|reason| Availability::Not(Unavailable { reason, message: "so".into() }));
    prop_oneof![
        5 => Just(Availability::Running),
        1 => Just(Availability::Launching),
        2 => Just(Availability::Off),
        2 => not,
    ]
}

prop_compose! {
    fn any_worker(name: &'static str)(
        host in any_host(),
        slots in prop_oneof![1 => Just(0), 9 => 1_usize..5],
        foreign_claims in prop_oneof![3 => Just(0), 1 => 1_usize..3],
        availability in any_availability(),
    ) -> Worker {
        Worker { name: name.into(), host, slots, foreign_claims, availability }
    }
}

/// What waits mostly avoids nobody; what holds a slot may do so on a worker that is in no world.
fn any_state(avoiding: bool) -> impl Strategy<Value = TaskState> {
    let worker = select(vec!["w0", "w1", "w2", "w3", "gone"]);
    let avoid = if avoiding { 2 } else { 0 };
    prop_oneof![
        5 => Just(TaskState::Waiting { avoid: BTreeSet::new() }),
        avoid => names(&WORKERS, 0..=3).prop_map(|avoid| TaskState::Waiting { avoid }),
        1 => worker.prop_map(|worker| TaskState::Holding { worker: worker.into() }),
    ]
}

prop_compose! {
    fn any_task(avoiding: bool)(
        vm in proptest::option::weighted(0.8, select(&VMS[..])),
        host in any_host(),
        storages in names(&STORAGES, 0..=3),
        state in any_state(avoiding),
    ) -> Task {
        Task { uid: String::new(), name: String::new(), vm: vm.map(ToOwned::to_owned), host, storages, state }
    }
}

prop_compose! {
    fn any_session(avoiding: bool)(
        created in 0_i64..3,
        kind in select(vec![Kind::Restore, Kind::Backup]),
        required in proptest::bool::weighted(0.3),
        parallelism in proptest::option::weighted(0.3, 0_usize..4),
        workers in prop_oneof![1 => names(&WORKERS, 0..=1), 4 => names(&WORKERS, 2..=4)],
        tasks in vec(any_task(avoiding), 0..6),
    ) -> Session {
        let placement = if required { Placement::RequireSameHost } else { Placement::PreferSameHost };
        let (uid, namespace, name) = (String::new(), "backup".to_owned(), String::new());
        Session { uid, namespace, name, created: at(created), kind, placement, parallelism, workers, tasks }
    }
}

/// Gives everything a name, against the order of creation.
fn christened(mut sessions: Vec<Session>) -> Vec<Session> {
    let count = sessions.len();
    for (number, session) in sessions.iter_mut().enumerate() {
        session.uid = format!("s{}", count - number);
        session.name = format!("session-{number}");
        for (index, task) in session.tasks.iter_mut().enumerate() {
            task.uid = format!("{}-{index}", session.uid);
            task.name = format!("{}-{index}", session.name);
        }
    }
    sessions
}

fn any_workers() -> impl Strategy<Value = Vec<Worker>> {
    let all: Vec<_> = WORKERS.iter().map(|name| any_worker(name)).collect();
    (all, prop_oneof![1 => Just(0), 9 => 1..=WORKERS.len()])
        .prop_map(|(workers, count)| workers.into_iter().take(count).collect())
}

prop_compose! {
    /// Any world.
    pub(super) fn any_world()(
        workers in any_workers(), sessions in vec(any_session(true), 0..5), tasks_per_storage in prop_oneof![1 => Just(0), 12 => 1_usize..5],
    ) -> World {
        World { sessions: christened(sessions), workers, tasks_per_storage }
    }
}

prop_compose! {
    /// A world in which every session has all workers that there are, wherever they are, and avoids none; and one worker
    /// more.
    pub(super) fn any_world_and_a_worker()(
        workers in any_workers(), sessions in vec(any_session(false), 1..5), tasks_per_storage in prop_oneof![1 => Just(0), 12 => 1_usize..5],
        more in any_worker("w9"),
    ) -> (World, Worker) {
        let mut sessions = christened(sessions);
        for session in &mut sessions {
            session.placement = Placement::PreferSameHost;
            session.workers = WORKERS.iter().chain(&["w9"]).map(|name| (*name).to_owned()).collect();
        }
        (World { sessions, workers, tasks_per_storage }, more)
    }
}

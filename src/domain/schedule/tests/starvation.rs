//! Nobody waits for ever, however many come later.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::worlds::{HOSTS, STORAGES};
use super::*;

/// The most rounds that a task runs.
const LONGEST: usize = 3;

/// A world that goes on: tasks end, and new sessions come that want all that the early ones want.
struct Stream {
    world: World,
    /// Rounds that a task has yet to run.
    left: BTreeMap<String, usize>,
    /// How long the tasks run, in turn.
    durations: Vec<usize>,
    round: i64,
}

impl Stream {
    fn of(world: World, durations: Vec<usize>) -> Self {
        Self { world, left: BTreeMap::new(), durations, round: 0 }
    }

    /// The early tasks that still wait for a worker after this round.
    fn round(&mut self) -> Vec<String> {
        self.end_tasks();
        self.round += 1;
        self.power();
        self.come();
        let plan = decide(&self.world);
        for (number, one) in plan.assignments.iter().enumerate() {
            let duration = self.durations[(usize::try_from(self.round).unwrap() + number) % self.durations.len()];
            self.left.insert(one.task.clone(), duration);
        }
        self.world = carried_out(&self.world, &plan);
        plan.waiting.into_iter().map(|wait| wait.task).filter(|uid| uid.starts_with("early")).collect()
    }

    fn end_tasks(&mut self) {
        for left in self.left.values_mut() {
            *left -= 1;
        }
        let left = &self.left;
        for session in &mut self.world.sessions {
            session.tasks.retain(|task| left.get(&task.uid) != Some(&0));
        }
        self.left.retain(|_, left| *left > 0);
    }

    /// A worker without a task shuts down at once, which takes a round, and one that is off can be launched.
    fn power(&mut self) {
        let busy: BTreeSet<&String> = self
            .world
            .sessions
            .iter()
            .flat_map(|session| &session.tasks)
            .filter_map(|task| match &task.state {
                TaskState::Holding { worker } => Some(worker),
                TaskState::Waiting { .. } => None,
            })
            .collect();
        for worker in &mut self.world.workers {
            worker.availability = match &worker.availability {
                _ if busy.contains(&worker.name) => Availability::Running,
                Availability::Running => {
                    Availability::Not(Unavailable { reason: TaskReason::ShuttingDown, message: String::new() })
                }
                _ => Availability::Off,
            };
        }
    }

    /// A later session wants every storage alone, every VM of the early ones, and every worker.
    fn come(&mut self) {
        let vms: BTreeSet<String> = self.early().filter_map(|task| task.vm.clone()).collect();
        let uid = |what: &str| format!("late-{}-{what}", self.round);
        let mut tasks: Vec<Task> = STORAGES.iter().map(|name| task(&uid(name), &[name])).collect();
        tasks.extend(vms.into_iter().map(|vm| task(&uid(&vm), &[]).of_vm(&vm)));
        tasks.extend(HOSTS.iter().map(|host| task(&uid(host), &[]).on(host)));
        let workers: Vec<&str> = self.world.workers.iter().map(|worker| worker.name.as_str()).collect();
        let session = backup(&format!("late-{:05}", self.round), 100 + self.round, &workers, tasks);
        self.world.sessions.push(session);
        self.forget();
    }

    /// Of what came late and still waits only the last few stay, so that rounds do not take longer and longer.
    fn forget(&mut self) {
        let oldest = at(100 + self.round - 4);
        for session in self.world.sessions.iter_mut().filter(|session| session.created < oldest) {
            let is_early = session.uid.starts_with("early");
            session.tasks.retain(|task| is_early || matches!(task.state, TaskState::Holding { .. }));
        }
        self.world.sessions.retain(|session| !session.tasks.is_empty());
    }

    fn early(&self) -> impl Iterator<Item = &Task> {
        self.world.sessions.iter().filter(|session| session.uid.starts_with("early")).flat_map(|session| &session.tasks)
    }
}

fn one_slot_each() -> Vec<Worker> {
    HOSTS.iter().map(|host| worker(&format!("on-{host}"), host, 1)).collect()
}

/// Two storages with a task each, which never end at the same time.
#[test]
fn who_needs_two_storages_gets_both() {
    let workers = vec![worker("on-h1", "h1", 9)];
    let early = backup("early", 0, &["on-h1"], vec![task("early", &["A", "B"])]);
    let mut stream = Stream::of(World { tasks_per_storage: 1, ..world(workers, Vec::new()) }, vec![2]);
    // The worker had nothing to do before, so it comes back in the second round.
    stream.round();
    stream.round();
    for session in &mut stream.world.sessions {
        session.tasks.retain(|task| !task.storages.contains("B"));
    }
    stream.left.retain(|uid, _| !uid.ends_with('B'));
    stream.world.sessions.push(early);
    let waited = (0..10).take_while(|_| !stream.round().is_empty()).count();
    assert_eq!(waited, 1, "A is in use for one round more, and B is kept meanwhile");
}

#[test]
fn a_worker_that_shuts_down_is_waited_for() {
    let workers = vec![worker("w1", "h1", 1).isnt(TaskReason::ShuttingDown, ""), worker("w2", "h2", 4)];
    let early = backup("early", 0, &["w1"], vec![task("t1", &["A"]).of_vm("100")]);
    let late = backup("late", 1, &["w2"], vec![task("t2", &["A"]), task("t3", &[]).of_vm("100")]);
    let world = World { tasks_per_storage: 1, ..world(workers, vec![early, late]) };
    let plan = decide(&world);
    assert_eq!(plan.says("t1"), (TaskReason::ShuttingDown, "w1 is shutting down"));
    assert_eq!((plan.wait("t2").reason, plan.wait("t3").reason), (TaskReason::StorageLimit, TaskReason::VmBusy));
    // What does not pass by itself is not waited for.
    let mut world = world;
    world.workers[0] = worker("w1", "h1", 1).isnt(TaskReason::Draining, "");
    assert_eq!(decide(&world).pairs(), [("t2", "w2"), ("t3", "w2")]);
}

#[test]
fn a_session_that_wants_no_more_at_once_keeps_nothing() {
    let tasks = vec![task("t1", &["A"]).holds("w1"), task("t2", &["A"]).of_vm("100")];
    let late = vec![task("t3", &["A"]), task("t4", &[]).of_vm("100")];
    let sessions = vec![backup("early", 0, &["w1"], tasks).at_most(1), backup("late", 1, &["w1"], late)];
    let plan = decide(&World { tasks_per_storage: 2, ..world(vec![worker("w1", "h1", 9)], sessions) });
    assert_eq!(plan.pairs(), [("t3", "w1"), ("t4", "w1")]);
}

#[test]
fn one_slot_of_a_storage_is_held_back_for_all_that_wait() {
    let workers = vec![worker("w1", "h1", 1).with_claims(1), worker("w2", "h2", 9)];
    let tasks = |prefix: &str| (0..5).map(|number| task(&format!("{prefix}{number}"), &["A"])).collect();
    let sessions = vec![
        backup("late", 2, &["w2"], tasks("l")),
        backup("early", 0, &["w1"], tasks("e")),
        backup("next", 1, &["w1"], tasks("n")),
    ];
    let plan = decide(&world(workers, sessions));
    assert_eq!(plan.pairs(), [("l0", "w2"), ("l1", "w2"), ("l2", "w2")]);
    let text = "3 tasks work on storage A, limits.tasksPerStorage of the Hypervisor is 4, and the last slot is held back for \
                backup early";
    assert_eq!(plan.says("l3"), (TaskReason::StorageLimit, text));
}

prop_compose! {
    fn any_early(number: usize)(
        storages in subsequence(&STORAGES[..], 1..=3),
        vm in proptest::option::weighted(0.7, select(vec!["100", "101"])),
        host in select(&HOSTS[..]),
    ) -> Task {
        Task { vm: vm.map(ToOwned::to_owned), ..task(&format!("early-{number}"), &storages).on(host) }
    }
}

/// Early tasks in two sessions.
fn any_sessions() -> impl Strategy<Value = Vec<Session>> {
    let tasks: Vec<_> = (0..4).map(any_early).collect();
    let manner = (any::<bool>(), proptest::option::of(1_usize..3));
    (tasks, 0_usize..=4, vec(manner, 2)).prop_map(|(mut first, cut, manners)| {
        let second = first.split_off(cut);
        let sessions = [first, second].into_iter().zip(manners).enumerate();
        let session = |(number, (tasks, (required, parallelism)))| {
            let session = backup(&format!("early-{number}"), 0, &["on-h1", "on-h2"], tasks);
            let placement = if required { Placement::RequireSameHost } else { Placement::PreferSameHost };
            Session { placement, parallelism, ..session }
        };
        sessions.map(session).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_early_ones_all_get_a_worker(
        early in any_sessions(), tasks_per_storage in 1_usize..3, durations in vec(1..=LONGEST, 1..9),
    ) {
        let mut stream = Stream::of(World { tasks_per_storage, ..world(one_slot_each(), Vec::new()) }, durations);
        for _ in 0..LONGEST {
            stream.round();
        }
        stream.world.sessions.extend(early);
        // The first of them waits for what runs on its storages and then for a slot; the worker may shut down meanwhile.
        let bound = 4 * (2 * LONGEST + 2);
        let mut waiting = vec![String::new()];
        for _ in 0..bound {
            waiting = stream.round();
        }
        prop_assert_eq!(waiting, Vec::<String>::new());
    }
}

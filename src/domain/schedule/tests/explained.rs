//! What a person is told who asks about a task or a session.

use proptest::prelude::*;

use super::counted::in_order;
use super::worlds::any_world;
use super::*;

fn lab() -> World {
    let workers = vec![
        worker("w1", "h1", 2).with_claims(1),
        worker("w2", "h2", 4).is(Availability::Off),
        worker("w3", "h1", 4).isnt(TaskReason::TestFailed, "guest answers: no answer in 5 min"),
        worker("w4", "h1", 4),
        worker("w5", "h1", 1).with_claims(1),
        worker("w6", "h1", 1).isnt(TaskReason::Disabled, ""),
    ];
    let tasks = vec![
        task("n-0", &["A"]).holds("w2"),
        task("n-1", &["A"]).avoids(&["w5"]),
        task("n-2", &["A", "B"]).of_vm("n-0"),
        task("n-3", &["B"]).on("h2"),
    ];
    let nightly = backup("n", 0, &["w1", "w2", "w3", "w5", "w6"], tasks).at_most(2);
    let weekly = backup("w", 1, &["w2", "w4"], vec![task("w-0", &[]).requires(&["A"])]).requires_host();
    World { tasks_per_storage: 2, ..world(workers, vec![weekly, nightly]) }
}

impl Task {
    fn requires(self, storages: &[&str]) -> Self {
        Self { storages: storages.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }
}

fn lines(world: &World, task: &str) -> String {
    explain(world, task).unwrap().to_string()
}

#[test]
fn a_task_that_gets_a_worker_shows_what_the_others_were() {
    let text = "\
n-1 gets worker w1, on the VM's host
  worker w1: has a free slot (1/2 taken), launched, on the VM's host
  worker w2: has a free slot (1/4 taken), being launched, not on the VM's host
  worker w3: failed its test: guest answers: no answer in 5 min
  worker w4: is not selected by the session
  worker w5: an earlier attempt failed on it, and another worker can take the task
  worker w6: is disabled";
    assert_eq!(lines(&lab(), "n-1"), text);
    assert!(lines(&lab(), "w-0").starts_with("w-0 waits (StorageLimit): 2 tasks work on storage A, and"));
    let far = World { workers: vec![worker("w2", "h2", 4)], ..lab() };
    assert!(lines(&far, "n-1").starts_with("n-1 gets worker w2, on another host than the VM\n"));
}

#[test]
fn a_task_that_waits_shows_all_that_holds_it_back() {
    let text = "\
n-2 waits (Parallelism): 2 of the session's tasks run already, and its parallelism is 2
  limit: 2 of the session's tasks run already, and its parallelism is 2
  limit: the same VM is processed by task n-0 of the same session
  limit: 2 tasks work on storage A, and limits.tasksPerStorage of the Hypervisor is 2
  worker w1: is full (2/2)";
    assert!(lines(&lab(), "n-2").starts_with(text), "{}", lines(&lab(), "n-2"));
    let mut required = lab();
    required.workers.push(Worker { host: None, ..worker("w7", "", 1) });
    required.sessions[0].workers.insert("w7".into());
    let shown = lines(&required, "w-0");
    assert!(shown.contains("worker w2: is on h2, not on the VM's host, as is required\n"), "{shown}");
    assert!(shown.ends_with("worker w7: is on no known host; one on the VM's host is required"), "{shown}");
}

#[test]
fn a_session_is_explained_in_its_order() {
    let world = lab();
    let explained = explain_session(&world, "n");
    let tasks: Vec<&str> = explained.iter().map(|one| one.task.as_str()).collect();
    assert_eq!(tasks, ["n-0", "n-1", "n-2", "n-3"]);
    assert_eq!(explained[0].to_string(), "n-0 has worker w2");
    for one in &explained {
        assert_eq!(Some(one), explain(&world, &one.task).as_ref());
    }
}

#[test]
fn what_is_not_there_is_not_explained() {
    assert_eq!(explain(&lab(), "x"), None);
    assert_eq!(explain_session(&lab(), "x"), Vec::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_explanation_says_what_is_decided(world in any_world()) {
        let plan = decide(&world);
        for (session, task) in in_order(&world) {
            let explained = explain(&world, &task.uid).unwrap();
            prop_assert!(explain_session(&world, &session.uid).contains(&explained));
            let takes = |worker: &(String, Seen)| matches!(worker.1, Seen::Takes { .. });
            let seen = |name: &str| explained.workers.iter().any(|one| one.0 == name && takes(one));
            match &explained.outcome {
                Outcome::Holds { worker } => prop_assert_eq!(&task.state, &TaskState::Holding { worker: worker.clone() }),
                Outcome::Assigned { worker, local } => {
                    let (task, session) = (task.uid.clone(), session.uid.clone());
                    let assignment = Assignment { task, session, worker: worker.clone(), local: *local };
                    prop_assert!(plan.assignments.contains(&assignment));
                    prop_assert!(seen(worker) && explained.limits.is_empty());
                }
                Outcome::Waits { reason, message } => {
                    let wait = plan.wait(&task.uid);
                    prop_assert_eq!((wait.reason, &wait.message), (*reason, message));
                    prop_assert!(!explained.limits.is_empty() || !explained.workers.iter().any(takes));
                    prop_assert_eq!(explained.workers.len(), world.workers.len());
                }
            }
        }
    }
}

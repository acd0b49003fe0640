//! What a person is told of a task that waits.

use super::*;

/// What one task of a VM on `h1` is told, given these workers.
fn told(workers: Vec<Worker>) -> (TaskReason, String) {
    told_of(|session| session, workers)
}

fn told_of(session: impl Fn(Session) -> Session, workers: Vec<Worker>) -> (TaskReason, String) {
    let names: Vec<String> = workers.iter().map(|worker| worker.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = decide(&world(workers, vec![session(backup("s", 0, &names, vec![task("t", &[])]))]));
    let wait = plan.wait("t");
    (wait.reason, wait.message.clone())
}

fn full(name: &str) -> Worker {
    worker(name, "h1", 4).with_claims(4)
}

fn says(reason: TaskReason, message: &str) -> (TaskReason, String) {
    (reason, message.to_owned())
}

#[test]
fn full_workers_are_counted_and_the_others_named() {
    let disabled = worker("w3", "h1", 4).isnt(TaskReason::Disabled, "spec.enabled is false");
    let text = "2 of 3 workers are full (w1 4/4, w2 4/4); w3 is disabled";
    assert_eq!(told(vec![full("w1"), full("w2"), disabled]), says(TaskReason::Busy, text));
    assert_eq!(told(vec![full("w1")]), says(TaskReason::Busy, "w1 is full (4/4)"));
    let none = Worker { slots: 0, ..worker("w1", "h1", 0) };
    assert_eq!(told(vec![none]), says(TaskReason::Busy, "w1 is full (0/0)"));
    let many = (0..40).map(|number| full(&format!("w{number:02}"))).collect();
    let text = "all 40 workers are full (w00 4/4, w01 4/4, w02 4/4 and 37 more)";
    assert_eq!(told(many), says(TaskReason::Busy, text));
}

#[test]
fn one_reason_of_all_workers_is_the_reason() {
    for unfit in UNFIT {
        let (reason, message) = told(vec![worker("w1", "h1", 4).isnt(*unfit, "for a cause")]);
        assert_eq!(reason, *unfit);
        assert!(message.starts_with("w1 ") && message.ends_with(": for a cause"), "{message}");
        let two = ["w1", "w2"].map(|name| worker(name, "h1", 4).isnt(*unfit, "")).to_vec();
        let (reason, message) = told(two);
        assert_eq!(reason.as_str(), format!("{unfit:?}"));
        assert!(message.starts_with("all 2 workers ") && message.ends_with(" (w1, w2)"), "{message}");
    }
}

#[test]
fn several_reasons_are_told_one_by_one() {
    let workers = vec![
        worker("w1", "h1", 4).isnt(TaskReason::TestFailed, "guest answers: no"),
        worker("w2", "h1", 4).isnt(TaskReason::Disabled, ""),
        worker("w3", "h1", 4).isnt(TaskReason::Disabled, ""),
    ];
    let text = "2 of 3 workers are disabled (w2, w3); w1 failed its test: guest answers: no";
    assert_eq!(told(workers), says(TaskReason::Unavailable, text));
}

#[test]
fn a_session_without_workers_is_told_so() {
    let text = "the session selects none of the Hypervisor's Workers: declare one, or look at its workerSelector and at \
                their labels";
    assert_eq!(told(Vec::new()), says(TaskReason::NoWorker, text));
}

#[test]
fn a_host_without_workers_is_named() {
    let far = |name: &str| worker(name, "h2", 4);
    let text = "the one worker that the session selects is not on h1, where the VM is";
    assert_eq!(told_of(Session::requires_host, vec![far("w1")]), says(TaskReason::NoWorkerOnHost, text));
    let text = "none of the 2 workers that the session selects is on h1, where the VM is";
    let workers = vec![far("w1"), Worker { host: None, ..far("w2") }];
    assert_eq!(told_of(Session::requires_host, workers), says(TaskReason::NoWorkerOnHost, text));
    let text = "all 2 workers on h1 are full (w1 4/4, w2 4/4)";
    let workers = vec![full("w1"), full("w2"), far("w3")];
    assert_eq!(told_of(Session::requires_host, workers), says(TaskReason::Busy, text));
    let text = "the host of the VM is not known, and the session requires a worker on it";
    let lost = |session: Session| Session { tasks: vec![task("t", &[]).nowhere()], ..session.requires_host() };
    let workers = vec![worker("w1", "h1", 4), Worker { host: None, ..far("w2") }];
    assert_eq!(told_of(lost, workers), says(TaskReason::NoWorkerOnHost, text));
}

#[test]
fn want_of_a_worker_is_told_before_limits() {
    // What a person can do comes first: no limit matters while the only worker is disabled.
    let held = backup("other", 0, &["w2"], vec![task("x", &["A"]).of_vm("100").holds("w2")]);
    let waits = backup("s", 1, &["w1"], vec![task("t", &["A"]).of_vm("100")]).at_most(0);
    let workers = |first: Worker| vec![first, worker("w2", "h1", 4)];
    let reason = |first: Worker| {
        let world = World { tasks_per_storage: 1, ..world(workers(first), vec![held.clone(), waits.clone()]) };
        decide(&world).wait("t").reason
    };
    assert_eq!(reason(worker("w1", "h1", 4).isnt(TaskReason::Disabled, "")), TaskReason::Disabled);
    assert_eq!(reason(full("w1")), TaskReason::Parallelism);
}

#[test]
fn a_message_has_an_end() {
    let long = "ü".repeat(250);
    let name = |number: usize| format!("{}{number}", "w".repeat(250));
    let workers = (0..5).map(|number| worker(&name(number), "h1", 4).isnt(TaskReason::Stalled, &long)).collect();
    let (reason, message) = told(workers);
    assert_eq!((reason, message.chars().count()), (TaskReason::Stalled, 300));
    assert!(message.ends_with('…'), "{message}");
}

#[test]
fn sessions_of_other_namespaces_are_not_named() {
    let holds = || vec![task("x", &["A"]).of_vm("100").holds("theirs/w1")];
    let told = |theirs: Session, waits: Task| {
        let own = backup("s", 1, &["backup/w1"], vec![waits]);
        let workers = vec![worker("backup/w1", "h1", 4), worker("theirs/w1", "h1", 4)];
        decide(&World { tasks_per_storage: 2, ..world(workers, vec![theirs, own]) }).wait("t").message.clone()
    };
    let secret = |tasks| backup("secret", 0, &["theirs/w1"], tasks).of_namespace("theirs");
    let text = told(secret(holds()), task("t", &[]).of_vm("100"));
    assert_eq!(text, "the same VM is processed by a backup of another namespace");
    let waits = vec![task("x", &[]).of_vm("7").holds("theirs/w1"), task("y", &["A"]).of_vm("7")];
    let text = told(secret(waits), task("t", &["A"]).of_vm("7"));
    assert_eq!(text, "the same VM is processed by a backup of another namespace");
    let near = told(backup("near", 0, &["backup/w1"], holds()), task("t", &[]).of_vm("100"));
    assert_eq!(near, "the same VM is processed by backup near", "those of the own namespace are");
}

#[test]
fn workers_are_called_as_in_their_namespace_and_storages_as_on_their_host() {
    // A namespace that is called like a host.
    let far = worker("pve1/w1", "h1", 4).isnt(TaskReason::Disabled, "");
    let session = |tasks| backup("s", 0, &["pve1/w1"], tasks).of_namespace("pve1");
    let plan = decide(&world(vec![far], vec![session(vec![task("t", &[])])]));
    assert_eq!(plan.says("t"), (TaskReason::Disabled, "w1 is disabled"));
    let tasks = vec![task("x", &["pve1/local"]).holds("pve1/w1"), task("t", &["pve1/local"])];
    let full = World { tasks_per_storage: 1, ..world(vec![worker("pve1/w1", "h1", 4)], vec![session(tasks)]) };
    assert_eq!(
        decide(&full).says("t"),
        (
            TaskReason::StorageLimit,
            "1 task works on storage pve1/local, and limits.tasksPerStorage of the Hypervisor is 1"
        )
    );
}

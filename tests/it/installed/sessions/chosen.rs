//! Which workers are not chosen, and what the tasks that wait for them say.

use serde_json::json;

use super::super::looks;
use super::super::stage::{NAMESPACE, worker};
use super::lot::{Lot, lease, runs, said};

/// Workers that take no task, each in a group of its own; `small` takes one.
async fn declare_others(lot: &Lot) {
    let names = ["disabled", "paused", "failing", "small"];
    let manifests = names.map(|name| worker(name, "pve2", if name == "failing" { "OnChange" } else { "Manual" }));
    let mut manifests = manifests.concat();
    let checks = "checks: {connect: [{name: repository, host: unreachable.example.org, port: 9000}]}\n  test:";
    manifests = manifests.replace("test: {policy: OnChange}", &format!("{checks} {{policy: OnChange}}"));
    lot.stage.apply(&manifests).await;
    for name in names {
        lot.label(&[name], &format!("group={name}")).await;
    }
    lot.patch("worker/disabled", &json!({"spec": {"enabled": false}})).await;
    lot.patch("worker/paused", &json!({"spec": {"paused": true}})).await;
    lot.patch("worker/small", &json!({"spec": {"maxConcurrentTasks": 1}})).await;
    let wait = ["wait", "--for=condition=Tested=False", "worker/failing", "--timeout=120s"];
    lot.stage.kubectl(&[&["-n", NAMESPACE], &wait[..]].concat()).await;
}

/// A task of each session that waits, why, and what its message names.
const WAIT: [(&str, &str, &str); 8] = [
    ("of-busy-0", "Busy", "small is full (1/1)"),
    ("of-disabled-0", "Disabled", "disabled is disabled: spec.enabled is false"),
    ("of-failing-0", "TestFailed", "failing failed its test: check connect/repository"),
    ("of-nobody-0", "NoWorker", "workerSelector"),
    ("of-paused-0", "Paused", "paused is paused: spec.paused is true"),
    ("of-same-vm-0", "VmBusy", "the same VM is processed by backup first"),
    ("of-two-1", "Parallelism", "parallelism"),
    ("required-0", "NoWorkerOnHost", "pve3"),
];

pub(super) async fn tasks_wait_for_workers_that_may_take_them(lot: &Lot) {
    declare_others(lot).await;
    // worker-3 is the one on c1's host.
    lot.stage.kubectl(&["-n", NAMESPACE, "label", "worker", "worker-3", "--overwrite", "group=near"]).await;
    lot.stage.apply(&lease("first", "small", &["b1"], "")).await;
    lot.until("the first has the small worker", |tasks| runs(tasks, "first-0")).await;
    let sessions = [
        lease("fallen-back", "all", &["c1"], ""),
        lease("of-busy", "small", &["b2"], ""),
        lease("of-disabled", "disabled", &["b3"], ""),
        lease("of-failing", "failing", &["b3"], ""),
        lease("of-nobody", "nobody", &["b3"], ""),
        lease("of-paused", "paused", &["b3"], ""),
        lease("of-same-vm", "all", &["b1"], ""),
        lease("of-two", "all", &["a1", "a2"], "parallelism: 1"),
        lease("required", "all", &["c1"], "placement: RequireSameHost"),
    ];
    lot.stage.apply(&sessions.concat()).await;
    lot.until("each waits for its own reason, and two run", |tasks| {
        let wait =
            WAIT.iter().all(|(task, reason, _)| said(tasks, task) == ("Pending".to_owned(), (*reason).to_owned()));
        wait && runs(tasks, "fallen-back-0") && runs(tasks, "of-two-0")
    })
    .await;
    let tasks = lot.tasks().await;
    for (task, _, names) in WAIT {
        let message = tasks[task].message.clone().unwrap();
        assert!(message.contains(names), "{task}: {message}");
        assert!(tasks[task].worker.is_none(), "{task}");
    }
    let fallen = &tasks["fallen-back-0"];
    assert_eq!((fallen.local, fallen.vm_host.as_deref()), (Some(false), Some("pve3")), "{fallen:?}");
    looks::check(&lot.stage, &looks::WAITING).await;

    // What was waited for comes about: a worker near, one that is enabled, and the VM.
    lot.stage.kubectl(&["-n", NAMESPACE, "label", "worker", "worker-3", "--overwrite", "group=all"]).await;
    lot.patch("worker/disabled", &json!({"spec": {"enabled": true}})).await;
    lot.report("fallen-back-0").await;
    lot.report("first-0").await;
    lot.until("they have their workers", |tasks| {
        ["of-same-vm-0", "of-busy-0", "required-0", "of-disabled-0"].iter().all(|task| runs(tasks, task))
    })
    .await;
    let tasks = lot.tasks().await;
    assert_eq!((tasks["required-0"].worker.as_deref(), tasks["required-0"].local), (Some("worker-3"), Some(true)));
    assert_eq!(tasks["of-disabled-0"].worker.as_deref(), Some("disabled"));
    lot.stage.kubectl(&["-n", NAMESPACE, "delete", "workersessions", "--all", "--timeout=120s"]).await;
}

pub(super) async fn a_restore_overtakes_a_backup_that_waits(lot: &Lot) {
    lot.stage.apply(&lease("early", "small", &["b1"], "")).await;
    lot.until("it has the only slot", |tasks| runs(tasks, "early-0")).await;
    lot.stage.apply(&lease("waits", "small", &["b2"], "")).await;
    lot.until("it waits", |tasks| said(tasks, "waits-0").1 == "Busy").await;
    lot.stage.apply(&lease("urgent", "small", &["b3"], "type: Restore")).await;
    lot.until("the restore waits, too", |tasks| said(tasks, "urgent-0").1 == "Busy").await;
    lot.report("early-0").await;
    lot.until("the restore goes first", |tasks| runs(tasks, "urgent-0")).await;
    assert_eq!(said(&lot.tasks().await, "waits-0"), ("Pending".to_owned(), "Busy".to_owned()));
    lot.report("urgent-0").await;
    lot.until("then the backup", |tasks| runs(tasks, "waits-0")).await;
    // Cancelling gives the worker back, and says so.
    lot.patch("workersession/waits", &json!({"spec": {"state": "Cancelled"}})).await;
    lot.phase("waits", "Cancelled").await;
    assert_eq!(said(&lot.tasks().await, "waits-0"), ("Cancelled".to_owned(), "SessionCancelled".to_owned()));
}

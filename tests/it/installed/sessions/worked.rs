//! The worked example of the documentation, and commands from their start to their end.

use serde_json::json;

use super::super::looks;
use super::super::stage::NAMESPACE;
use super::lot::{Lot, STORAGES, lease, runs, said};

/// Parallelism 10, five VMs on each of two storages, and four tasks for each storage: eight run and two wait.
pub(super) async fn ten_vms_on_two_storages(lot: &Lot) {
    let vms = ["a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3", "b4", "b5"];
    lot.stage.apply(&lease("nightly", "all", &vms, "parallelism: 10")).await;
    lot.until("eight run and two wait", |tasks| {
        let running = (0..10).filter(|number| runs(tasks, &format!("nightly-{number}"))).count();
        let wait = |task| said(tasks, task).1 == "StorageLimit";
        running == 8 && wait("nightly-4") && wait("nightly-9")
    })
    .await;
    let tasks = lot.tasks().await;
    for (number, (worker, storage)) in [("worker-1", STORAGES[0]), ("worker-2", STORAGES[1])].into_iter().enumerate() {
        for task in (0..4).map(|place| format!("nightly-{}", number * 5 + place)) {
            let status = &tasks[&task];
            let placed = (status.worker.as_deref(), status.local, status.attempt, status.storages.clone());
            assert_eq!(placed, (Some(worker), Some(true), Some(1), vec![storage.to_owned()]), "{task}");
            assert!(status.address.is_some(), "{task}");
        }
        let waits = tasks[&format!("nightly-{}", number * 5 + 4)].message.clone().unwrap();
        assert!(waits.contains(storage) && waits.contains("tasksPerStorage"), "{waits}");
    }
    let wait = ["wait", "--for=condition=WorkersAvailable", "workersession/nightly", "--timeout=60s"];
    lot.stage.kubectl(&[&["-n", NAMESPACE], &wait[..]].concat()).await;
    let eight = "--for=jsonpath={.status.tasks.running}=8";
    lot.stage.kubectl(&["-n", NAMESPACE, "wait", eight, "workersession/nightly", "--timeout=60s"]).await;
    looks::check(&lot.stage, &looks::SESSIONS).await;

    // Each storage has a slot again, and its own task gets it.
    lot.report("nightly-0").await;
    lot.until("the slot goes on", |tasks| runs(tasks, "nightly-4")).await;
    assert_eq!(said(&lot.tasks().await, "nightly-9"), ("Pending".to_owned(), "StorageLimit".to_owned()));
    for task in 1..=8 {
        lot.report(&format!("nightly-{task}")).await;
    }
    lot.until("the last one runs", |tasks| runs(tasks, "nightly-9")).await;
    lot.report("nightly-9").await;
    lot.phase("nightly", "Succeeded").await;
    lot.rest().await;
    lot.stage.kubectl(&["-n", NAMESPACE, "delete", "workersession", "nightly", "--timeout=60s"]).await;
    assert!(lot.tasks().await.is_empty(), "tasks go with their session");
}

/// Two commands, one of which fails.
pub(super) async fn commands_run_to_their_ends(lot: &Lot) {
    let run = json!({"command": ["sh", "-c", "echo \"saving $STEVEDORE_VM_NAME\"; printenv WELL"],
                     "env": [{"name": "WELL", "value": "yes"}]});
    let well = lease("well", "all", &["a1", "b1"], &format!("run: {run}"));
    let run = json!({"command": ["sh", "-c", "echo 'repository is locked'; exit 11"]});
    let badly = lease("badly", "all", &["a2"], &format!("run: {run}"));
    lot.stage.apply(&(well + &badly)).await;
    lot.phase("well", "Succeeded").await;
    lot.phase("badly", "Failed").await;
    let tasks = lot.tasks().await;
    assert_eq!(tasks["well-0"].output.as_deref(), Some("saving a1\nyes\n"));
    assert_eq!((tasks["badly-0"].exit_code, said(&tasks, "badly-0").1.as_str()), (Some(11), "CommandFailed"));
    assert_eq!(lot.session("badly").await.status.unwrap().failed, ["badly-0"]);
    looks::check(&lot.stage, &looks::ENDED).await;
    lot.stage.kubectl(&["-n", NAMESPACE, "delete", "workersession", "well", "badly", "--timeout=60s"]).await;
}

//! At rest nothing is written and the hypervisor is asked a fixed number of questions, however many workers there are.

use std::time::Duration;

use super::stage::{Stage, quick, worker};

/// How long the rest is watched: several polls.
const WATCHED: Duration = Duration::from_secs(60);

/// Requests to the hypervisor and writes to Kubernetes while nothing happens, for each path.
async fn rest(stage: &Stage) -> (Vec<String>, usize) {
    stage.pve.faults().forget();
    let before = stage.changes().len();
    tokio::time::sleep(WATCHED).await;
    let calls = stage.pve.faults().log().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    (calls, stage.changes().len() - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_and_five_hundred_workers_cost_the_same() {
    let stage = Stage::set(quick()).await;
    let _operator = stage.operator(0).await;
    stage.apply_hypervisor("{parallelLaunches: 8}").await;
    let hosts = ["pve1", "pve2", "pve3"];
    let with_vms: String = (0..6).map(|n| worker(&format!("w{n}"), hosts[n % 3], "OnChange")).collect();
    let rest_of_fifty: String = (6..50).map(|n| worker(&format!("w{n}"), hosts[n % 3], "Manual")).collect();
    stage.apply(&(with_vms + &rest_of_fifty)).await;
    let settled = |count: usize| {
        move |workers: &[stevedore::api::Worker]| {
            workers.len() == count
                && workers.iter().all(|worker| {
                    worker.status.as_ref().is_some_and(|status| {
                        status.operation.is_none() && matches!(status.phase.as_deref(), Some("Configured" | "ShutDown"))
                    })
                })
                && workers.iter().filter(|worker| super::stage::is_tested(worker)).count() == 6
        }
    };
    stage.until("fifty settled workers", settled(50)).await;
    // The busy polls run out.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let fifty = rest(&stage).await;
    let more: String = (50..500).map(|n| worker(&format!("w{n}"), hosts[n % 3], "Manual")).collect();
    stage.apply(&more).await;
    stage.until("five hundred settled workers", settled(500)).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let five_hundred = rest(&stage).await;
    for (count, (calls, writes)) in [(50, &fifty), (500, &five_hundred)] {
        println!(
            "{count} workers, {} s: {} requests {:?}, {writes} writes",
            WATCHED.as_secs(),
            calls.len(),
            calls.iter().collect::<std::collections::BTreeSet<_>>()
        );
        assert_eq!(*writes, 0, "{count} workers at rest");
        let resources = calls.iter().filter(|call| call.ends_with("/cluster/resources")).count();
        let quorum = calls.iter().filter(|call| call.ends_with("/cluster/ha/status/current")).count();
        assert!((5..=8).contains(&resources), "{resources} polls in {} s", WATCHED.as_secs());
        assert!(resources.abs_diff(quorum) <= 1);
        assert_eq!(calls.len(), resources + quorum, "two requests for each poll and no more: {calls:?}");
    }
    stage.plane.stop().await;
}

//! Two replicas: one works, the other takes over when the first is killed, and never two at a time.

use std::time::Duration;

use super::stage::{Stage, all_tested, quick, worker};

/// Who holds the Lease.
async fn holder(stage: &Stage) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    let output =
        stage.plane.kubectl(&["-n", super::stage::SYSTEM, "get", "lease", "stevedore", "-o", path]).await.unwrap();
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over_and_there_are_never_two_writers() {
    let stage = Stage::set(quick()).await;
    let strangers = stage.strangers();
    let mut first = stage.operator(0).await;
    first.until_ready(|status, _| status == 200).await.unwrap();
    while !holder(&stage).await.starts_with("stevedore-0") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let second = stage.operator(1).await;
    second.until_ready(|status, body| status == 200 && body.contains("stevedore-0")).await.unwrap();
    stage.apply_hypervisor("{parallelLaunches: 4}").await;
    let hosts = ["pve1", "pve2", "pve3"];
    let manifests: String = (0..6).map(|n| worker(&format!("w{n}"), hosts[n % 3], "OnChange")).collect();
    stage.apply(&manifests).await;
    stage
        .until("work in progress", |workers| {
            workers.iter().any(|worker| worker.status.as_ref().is_some_and(|status| status.operation.is_some()))
        })
        .await;
    // A record alone is no call yet.
    while !first.process.log().unwrap().contains("changing call") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    first.process.kill9();
    let log_before = first.process.log().unwrap();
    let calls_before = stage.pve.faults().changes().len();
    assert!(!second.process.log().unwrap().contains("changing call"), "the standby changed nothing");
    stage.until("all tested by the second", |workers| all_tested(workers, 6)).await;
    assert!(holder(&stage).await.starts_with("stevedore-1"));
    assert!(log_before.contains("changing call"));
    assert!(second.process.log().unwrap().contains("changing call"));
    assert!(stage.pve.faults().changes().len() > calls_before);
    assert_eq!(stage.ours().len(), 6, "one VM for each worker: {:?}", stage.ours());
    assert_eq!(stage.strangers(), strangers);
    stage.plane.stop().await;
}

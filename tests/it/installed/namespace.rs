//! `kubectl delete namespace` ends, with everything in it, also when the hypervisor is gone.

use std::time::Duration;

use super::stage::{NAMESPACE, Stage, all_tested, quick, worker};

async fn with_two_workers(stage: &Stage) {
    stage.apply_hypervisor("{deletionsPerHour: 100}").await;
    stage
        .apply(
            &(worker("w1", "pve1", "OnChange") + &worker("w2", "pve2", "OnChange") + &worker("w3", "pve3", "Manual")),
        )
        .await;
    stage
        .until("two workers with a VM", |workers| {
            workers.len() == 3 && workers.iter().filter(|worker| super::stage::is_tested(worker)).count() == 2
        })
        .await;
    assert_eq!(stage.ours().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_its_vms() {
    let stage = Stage::set(quick()).await;
    let strangers = stage.strangers();
    let _operator = stage.operator(0).await;
    with_two_workers(&stage).await;
    stage.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=180s"]).await;
    assert!(stage.ours().is_empty(), "{:?}", stage.ours());
    assert_eq!(stage.strangers(), strangers);
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_without_its_hypervisor_once_it_is_abandoned() {
    let stage = Stage::set(quick()).await;
    let operator = stage.operator(0).await;
    with_two_workers(&stage).await;
    stage.pve.world(|world| {
        for node in ["pve1", "pve2", "pve3"] {
            world.power_cut(node);
        }
    });
    stage.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(stage.workers().await.len() >= 2, "without a word nobody lets go of a VM");
    let abandon = "stevedore.dev/abandon=true";
    stage.kubectl(&["-n", NAMESPACE, "annotate", "workers", "--all", abandon]).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(180);
    while stage.plane.kubectl(&["get", "namespace", NAMESPACE]).await.unwrap().code == Some(0) {
        assert!(tokio::time::Instant::now() < end, "{:?} {:?}", stage.workers().await, stage.hypervisor().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(stage.ours().len(), 2, "what was abandoned is left behind");
    let log = operator.process.log().unwrap();
    assert!(log.contains("abandoned by annotation") && log.contains("VM 500"), "{log}");
    stage.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_namespace_are_all_tested() {
    let stage = Stage::set(quick()).await;
    let _operator = stage.operator(0).await;
    stage.apply_hypervisor("{parallelLaunches: 2}").await;
    let hosts = ["pve1", "pve2", "pve3"];
    let manifests: String = (0..9).map(|n| worker(&format!("w{n}"), hosts[n % 3], "OnChange")).collect();
    stage.apply(&manifests).await;
    stage.until("nine tested workers", |workers| all_tested(workers, 9)).await;
    assert_eq!(stage.ours().len(), 9);
    stage.plane.stop().await;
}

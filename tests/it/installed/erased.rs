//! A person erases what the operator wrote down, in mid-clone: the record of the work in progress, or the whole status;
//! and in two of four cases the operator is killed at that moment, too.

use stevedore::api::Worker;
use stevedore::simulator::scenario::{Scenario, Seconds, Timings};

use super::stage::{NAMESPACE, Stage, all_tested, leads, named, quick, worker};

const OPERATION: &str = r#"[{"op": "remove", "path": "/status/operation"}]"#;
const STATUS: &str = r#"[{"op": "remove", "path": "/status"}]"#;

/// A world in which there is time to do something while a VM is cloned.
fn slow_to_clone() -> Scenario {
    let quick = quick();
    Scenario { timings: Timings { full_clone: Seconds(4.0), ..quick.timings.clone() }, ..quick }
}

/// Waits until the VM that the worker's record speaks of is being cloned.
async fn in_mid_clone(stage: &Stage, name: &str) {
    let is_cloned = |worker: &Worker| {
        let record = worker.status.as_ref().and_then(|status| status.operation.as_ref());
        let id = record.and_then(|record| record["target"]["vmId"].as_str()).and_then(|id| id.parse().ok());
        id.is_some_and(|id| stage.pve.world(|world| world.option(id, "lock").is_some()))
    };
    stage.until("a VM that is being cloned", |workers| named(workers, name).is_some_and(is_cloned)).await;
}

async fn erase(stage: &Stage, name: &str, patch: &str) {
    let args = ["-n", NAMESPACE, "patch", "worker", name, "--subresource=status", "--type=json", "--patch", patch];
    stage.kubectl(&args).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_in_mid_clone_makes_no_second_vm() {
    let stage = Stage::set(slow_to_clone()).await;
    let strangers = stage.strangers();
    let mut operator = stage.operator(0).await;
    operator.until_ready(leads).await.unwrap();
    stage.apply_hypervisor("{parallelLaunches: 4, deletionsPerHour: 100}").await;
    for (name, host, patch, is_killed) in [
        ("w0", "pve1", OPERATION, false),
        ("w1", "pve2", STATUS, false),
        ("w2", "pve3", OPERATION, true),
        ("w3", "pve1", STATUS, true),
    ] {
        stage.apply(&worker(name, host, "OnChange")).await;
        in_mid_clone(&stage, name).await;
        erase(&stage, name, patch).await;
        if is_killed {
            operator.process.kill9();
            operator = stage.operator(0).await;
            operator.until_ready(leads).await.unwrap();
        }
    }
    stage.until("four tested workers", |workers| all_tested(workers, 4)).await;
    let names: Vec<String> = stage.ours().into_values().collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let clones = stage.pve.faults().changes().into_iter().filter(|call| call.path.ends_with("/clone")).count();
    assert_eq!(clones, 4, "not one clone more was asked for");
    assert_eq!(stage.strangers(), strangers);

    stage.kubectl(&["-n", NAMESPACE, "delete", "worker", "--all", "--timeout=120s"]).await;
    assert!(stage.ours().is_empty(), "{:?}", stage.ours());
    let orphans = stage.hypervisor().await.unwrap().status.unwrap().orphans;
    assert!(orphans.is_empty(), "{orphans:?}");
    assert_eq!(stage.strangers(), strangers);
    stage.plane.stop().await;
}

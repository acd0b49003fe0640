//! `kubectl delete namespace` ends, with everything in it, also when the hypervisor is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use stevedore::controlplane::Replica;

use super::stage::{NAMESPACE, Stage, all_tested, is_tested, quick, worker};

const HOSTS: [&str; 3] = ["pve1", "pve2", "pve3"];
const ABANDON: &str = "stevedore.dev/abandon=true";

/// The workers' VMs by the workers' names.
fn vms(stage: &Stage) -> BTreeMap<String, u32> {
    stage.ours().into_iter().map(|(id, name)| (name, id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_its_vms() {
    let stage = Stage::set(quick()).await;
    let strangers = stage.strangers();
    let _operator = stage.operator(0).await;
    stage.apply_hypervisor("{parallelLaunches: 2, deletionsPerHour: 100}").await;
    let manifests: String = (0..9).map(|n| worker(&format!("w{n}"), HOSTS[n % 3], "OnChange")).collect();
    stage.apply(&manifests).await;
    stage.until("nine tested workers", |workers| all_tested(workers, 9)).await;
    assert_eq!(stage.ours().len(), 9);
    stage.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=180s"]).await;
    assert!(stage.ours().is_empty(), "{:?}", stage.ours());
    assert_eq!(stage.strangers(), strangers);
    stage.plane.stop().await;
}

/// The event that says of a worker that its VM is left behind.
async fn warning(stage: &Stage, worker: &str) -> String {
    loop {
        let list = stage.kubectl(&["-n", NAMESPACE, "get", "events.events.k8s.io", "--output=json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let event = list["items"].as_array().unwrap().iter().find(|event| {
            event["reason"] == "Abandoned" && event["type"] == "Warning" && event["regarding"]["name"] == worker
        });
        if let Some(event) = event {
            return event["note"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many objects the operator counted as abandoned.
async fn counted(operator: &Replica) -> u64 {
    let (_, metrics) = operator.get("/metrics").await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("stevedore_abandoned_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_without_its_hypervisor_once_it_is_abandoned() {
    let stage = Stage::set(quick()).await;
    let operator = stage.operator(0).await;
    stage.apply_hypervisor("{deletionsPerHour: 100}").await;
    let manifests: String = (0..3).map(|n| worker(&format!("w{n}"), HOSTS[n], "OnChange")).collect();
    stage.apply(&(manifests + &worker("without-vm", "pve1", "Manual"))).await;
    let three = |workers: &[_]| workers.len() == 4 && workers.iter().filter(|worker| is_tested(worker)).count() == 3;
    stage.until("three workers with a VM", three).await;
    let vms = vms(&stage);
    assert_eq!(vms.len(), 3);
    stage.pve.world(|world| HOSTS.map(|node| world.power_cut(node)));

    // The namespace still takes events.
    stage.kubectl(&["-n", NAMESPACE, "delete", "worker", "w0", "--wait=false"]).await;
    stage.kubectl(&["-n", NAMESPACE, "annotate", "worker", "w0", ABANDON]).await;
    let note = warning(&stage, "w0").await;
    assert!(note.contains(&format!("VM {}", vms["w0"])), "{note}");

    stage.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(stage.workers().await.len() >= 2, "without a word nobody lets go of a VM");
    stage.kubectl(&["-n", NAMESPACE, "annotate", "workers", "--all", ABANDON]).await;
    stage.kubectl(&["wait", "--for=delete", "namespace", NAMESPACE, "--timeout=180s"]).await;
    assert_eq!(stage.ours().len(), 3, "what was abandoned is left behind");

    let log = operator.process.log().unwrap();
    for (name, id) in vms {
        let (worker, vm) = (format!("{NAMESPACE}/{name}"), format!("VM {id} "));
        let is_said = |line: &str| ["abandoned by annotation", &worker, &vm].iter().all(|word| line.contains(word));
        assert!(log.lines().any(is_said), "{worker} left {vm} behind:\n{log}");
    }
    assert_eq!(counted(&operator).await, 3);
    stage.plane.stop().await;
}

//! A Worker and a Hypervisor that were made under an earlier chart's definitions, and that the present ones would refuse:
//! after `helm upgrade` the operator works on with them, people annotate and delete them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use stevedore::api::crdgen;
use stevedore::controlplane::Output;
use stevedore::simulator::declared::Cluster;
use tempfile::TempDir;

use super::stage::{NAMESPACE, SYSTEM, Stage, is_tested, named, quick, worker};
use crate::support::crds::without_rules;

/// The chart as it would have been before the definitions had any rule.
fn earlier_chart(present: &Path) -> TempDir {
    let chart = tempfile::tempdir().unwrap();
    copy(present, chart.path());
    for crd in crdgen::all() {
        let path = chart.path().join("files/crds").join(crdgen::file_name(&crd));
        assert!(path.exists(), "{}", path.display());
        std::fs::write(path, crdgen::to_yaml(&without_rules(crd)).unwrap()).unwrap();
    }
    chart
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&source, &target);
        } else {
            std::fs::copy(source, target).unwrap();
        }
    }
}

/// A Worker with a name that no VM may have and a network in capital letters: the operator can do with it what it does
/// with any other.
fn loud_worker(name: &str) -> String {
    worker(name, "pve1", "OnChange").replace("name: lan", "name: LAN")
}

/// One that says neither where its VM is to be nor of what.
fn empty_worker() -> String {
    format!(
        "apiVersion: stevedore.dev/v1alpha1\nkind: Worker\nmetadata: {{name: empty, namespace: {NAMESPACE}}}\n\
         spec:\n  hypervisorRef: {{name: pve}}\n  image: {{}}\n  networks: [{{name: lan, bridge: vmbr0}}]\n---\n"
    )
}

/// A Hypervisor that is polled less often when there is something to see.
fn slow_hypervisor(stage: &Stage) -> String {
    let cluster = Cluster {
        namespace: NAMESPACE,
        name: "pve",
        endpoints: &[stage.server.addr],
        ca_pem: &stage.server.ca_pem,
        vm_ids: (5000, 5999),
        limits: "{deletionsPerHour: 100}",
        poll: "{idle: 5s, busy: 6s}",
    };
    cluster.manifests()
}

async fn dry_run(stage: &Stage, manifest: &str) -> Output {
    stage.plane.kubectl_with_input(&["apply", "--dry-run=server", "-f", "-"], manifest).await.unwrap()
}

/// Waits until the API server goes by the present definitions: it refuses what it took before.
async fn until_refused(stage: &Stage, manifest: &str, rule: &str) {
    for _ in 0..600 {
        let output = dry_run(stage, manifest).await;
        if output.code != Some(0) {
            assert!(output.stderr.contains(rule), "{output:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never refused: {manifest}");
}

/// Whether the operator wrote this object's status after `since`.
fn is_written(stage: &Stage, resource: &str, name: &str, since: Timestamp) -> bool {
    stage.changes().iter().any(|event| {
        (event.resource.as_str(), event.subresource.as_str(), event.name.as_str()) == (resource, "status", name)
            && event.received > since
            && event.code == Some(200)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_an_earlier_chart_are_worked_on_and_deleted_after_the_upgrade() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/stevedore");
    let earlier = earlier_chart(&chart);
    let stage = Stage::with(quick(), earlier.path(), "lease.duration=4s,lease.renewInterval=1s").await;
    let _operator = stage.operator(0).await;
    stage.kubectl(&["create", "namespace", NAMESPACE]).await;
    stage.apply(&(slow_hypervisor(&stage) + &loud_worker("old.worker") + &empty_worker())).await;
    stage.until("a tested worker", |workers| named(workers, "old.worker").is_some_and(is_tested)).await;

    let chart = chart.display().to_string();
    let upgrade = ["upgrade", "stevedore", &chart, "--namespace", SYSTEM, "--reuse-values"];
    stage.plane.helm(&upgrade).await.unwrap().success().unwrap();
    until_refused(&stage, &loud_worker("new.worker"), "set spec.vmName").await;
    until_refused(&stage, &empty_worker().replace("empty", "emptier"), "the block proxmox is missing").await;
    until_refused(&stage, &slow_hypervisor(&stage).replace("name: pve,", "name: pve2,"), "busy must not").await;

    let upgraded = Timestamp::now();
    let request = "stevedore.dev/test-requested-at=after-the-upgrade";
    stage.kubectl(&["-n", NAMESPACE, "annotate", "worker", "--all", request]).await;
    let other_limit = r#"{"spec": {"limits": {"deletionsPerHour": 99}}}"#;
    stage.kubectl(&["-n", NAMESPACE, "patch", "hypervisor", "pve", "--type=merge", "--patch", other_limit]).await;
    let is_asked = |worker: &stevedore::api::Worker| {
        let status = worker.status.as_ref();
        status.and_then(|status| status.last_handled_test_request.as_deref()) == Some("after-the-upgrade")
    };
    stage
        .until("the test that was asked for", |workers| {
            named(workers, "old.worker").is_some_and(|worker| is_tested(worker) && is_asked(worker))
        })
        .await;
    assert!(is_written(&stage, "workers", "old.worker", upgraded));
    while !is_written(&stage, "hypervisors", "pve", upgraded) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    stage.kubectl(&["-n", NAMESPACE, "delete", "workers", "--all", "--timeout=120s"]).await;
    assert!(stage.ours().is_empty(), "{:?}", stage.ours());
    stage.kubectl(&["-n", NAMESPACE, "delete", "hypervisor", "pve", "--timeout=120s"]).await;
    let refused: Vec<_> = stage.changes().into_iter().filter(|event| event.code == Some(422)).collect();
    assert_eq!(refused, [], "no rule stood in the operator's way");
    stage.plane.stop().await;
}

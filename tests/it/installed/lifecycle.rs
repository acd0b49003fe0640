//! `kubectl apply -f examples/proxmox/`, as a newcomer does it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::ResourceExt;
use stevedore::simulator::scenario::DEMO_SECRET;

use super::stage::{NAMESPACE, Stage, named, quick};

/// The examples, with the endpoint of the simulated cluster.
fn examples(endpoint: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/proxmox");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let text = texts.join("\n---\n");
    assert!(text.contains("127.0.0.1:8006") && text.contains(DEMO_SECRET), "the examples fit the simulated cluster");
    text.replace("127.0.0.1:8006", endpoint).replace("idle: 30s", "idle: 10s")
}

/// The examples whose VM is made at once, and passes its test.
const DEPLOYED: [&str; 4] = ["worker-1", "worker-2", "worker-3", "worker-by-url"];

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_come_to_where_they_should() {
    let stage = Stage::set(quick()).await;
    let strangers = stage.strangers();
    let operator = stage.operator(0).await;
    operator.until_ready(|status, _| status == 200).await.unwrap();
    stage.apply(&examples(&stage.server.addr.to_string())).await;

    let phases: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let seen = Arc::clone(&phases);
    stage
        .until("every OnChange worker is tested and off", move |workers| {
            for worker in workers {
                let phase = worker.status.as_ref().and_then(|status| status.phase.clone());
                let mut phases = seen.lock().unwrap();
                let list = phases.entry(worker.name_any()).or_default();
                if let Some(phase) = phase.filter(|phase| list.last() != Some(phase)) {
                    list.push(phase);
                }
            }
            let result = |name: &str| {
                let status = named(workers, name)?.status.clone()?;
                (status.operation.is_none() && status.phase.as_deref() == Some("ShutDown"))
                    .then_some(status.last_test?.result)
            };
            DEPLOYED.iter().all(|name| result(name).as_deref() == Some("Passed"))
                && result("worker-failing").as_deref() == Some("Failed")
                && seen.lock().unwrap().get("worker-on-demand").is_some_and(|phases| !phases.is_empty())
        })
        .await;
    let phases = phases.lock().unwrap().clone();
    println!("phases seen: {phases:?}");
    for name in DEPLOYED {
        assert_eq!(phases[name].last().map(String::as_str), Some("ShutDown"));
        assert!(phases[name].contains(&"Testing".to_owned()), "{name}: {:?}", phases[name]);
    }
    assert_eq!(phases["worker-on-demand"], ["Configured"], "a Manual worker has no VM until it is asked for");
    assert_eq!(stage.ours().len(), 5);
    let images = stage.pve.world(|world| world.volumes("pve1", "local", "import"));
    assert!(images.iter().any(|name| name.starts_with("import/stevedore-3e6b1d2c")), "{images:?}");

    for name in ["worker-1", "worker-on-demand"] {
        let wanted = format!("worker/{name}");
        stage.kubectl(&["-n", NAMESPACE, "wait", "--for=condition=Ready", &wanted, "--timeout=60s"]).await;
    }
    let message = "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
    let text = stage.kubectl(&["-n", NAMESPACE, "get", "worker", "worker-failing", "-o", message]).await;
    assert!(text.contains("unreachable.example.org:9000"), "{text}");

    super::looks::check(&stage, &super::looks::EXAMPLES).await;

    let request = "stevedore.dev/test-requested-at=first";
    stage.kubectl(&["-n", NAMESPACE, "annotate", "worker", "worker-on-demand", request]).await;
    stage
        .until("the asked-for test", |workers| named(workers, "worker-on-demand").is_some_and(super::stage::is_tested))
        .await;
    assert_eq!(stage.strangers(), strangers);
    assert_eq!(stage.running(), Vec::<u32>::new());
    assert_eq!(stage.forbidden(), [], "the chart grants what the operator needs");

    let per_worker: Vec<_> = stage.changes().into_iter().filter(|event| event.name == "worker-1").collect();
    println!("writes for worker-1: {}", per_worker.len());
    // Ten, one for the update, and one that says that the Hypervisor, made at the same moment, has not been reached yet.
    assert!(per_worker.len() <= 12, "{per_worker:#?}");

    stage.kubectl(&["-n", NAMESPACE, "delete", "worker", "--all", "--timeout=120s"]).await;
    assert!(stage.ours().is_empty(), "{:?}", stage.ours());
    let mut operator = operator;
    operator.process.terminate();
    let ended = tokio::time::timeout(Duration::from_secs(60), operator.process.wait()).await.unwrap();
    assert!(ended.success(), "an orderly end: {ended}");
    stage.plane.stop().await;
}

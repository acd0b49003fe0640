//! The chart on a real control plane: installed, upgraded, uninstalled, installed again; and what its Deployment says, run.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use stevedore::controlplane::{ControlPlane, OperatorProcess, Options, deployment};

use super::{folder, render};

const NAMESPACE: &str = "stevedore-system";

async fn ok(plane: &ControlPlane, args: &[&str]) -> String {
    plane.kubectl(args).await.unwrap().success().unwrap()
}

async fn helm(plane: &ControlPlane, args: &[&str]) -> String {
    let chart = folder();
    let mut args = args.to_vec();
    if args[0] != "uninstall" {
        args.extend([chart.to_str().unwrap(), "--set-json", render::IMAGE]);
    }
    args.push("--namespace=stevedore-system");
    plane.helm(&args).await.unwrap().success().unwrap()
}

/// A control plane of its own: the definitions belong to the release, and tests beside this one have theirs.
async fn start() -> (ControlPlane, Client) {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let client = plane.client().await.unwrap();
    ok(&plane, &["create", "namespace", NAMESPACE]).await;
    // Pods that are not of the strictest kind are refused there.
    ok(&plane, &["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]).await;
    (plane, client)
}

async fn may(plane: &ControlPlane, verb: &str, resource: &str, namespace: &str) -> bool {
    let user = format!("--as=system:serviceaccount:{NAMESPACE}:stevedore");
    let namespace = format!("--namespace={namespace}");
    let output = plane.kubectl(&["auth", "can-i", verb, resource, &user, &namespace]).await.unwrap();
    match output.stdout.trim() {
        "yes" => true,
        "no" => false,
        _ => panic!("{output:?}"),
    }
}

/// Would the API server take the Pod that the Deployment makes?
async fn pod_is_accepted(client: &Client) {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let template = deployments.get("stevedore").await.unwrap().spec.unwrap().template;
    let mut pod = Pod { metadata: template.metadata.unwrap(), spec: template.spec, ..Pod::default() };
    pod.metadata.name = Some("stevedore-0".to_owned());
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Api::<Pod>::namespaced(client.clone(), NAMESPACE).create(&params, &pod).await.unwrap();
}

#[tokio::test]
async fn it_is_installed_upgraded_uninstalled_and_installed_again() {
    let (plane, client) = start().await;
    let notes = helm(&plane, &["install", "stevedore"]).await;
    assert!(notes.contains("rollout status deployment/stevedore"), "{notes}");
    let definitions = [
        "crd/workers.stevedore.dev",
        "crd/hypervisors.stevedore.dev",
        "crd/workersessions.stevedore.dev",
        "crd/workertasks.stevedore.dev",
    ];
    ok(&plane, &[&["wait", "--for=condition=Established", "--timeout=60s"], &definitions[..]].concat()).await;
    pod_is_accepted(&client).await;

    assert!(may(&plane, "patch", "workers.stevedore.dev/status", "default").await);
    assert!(may(&plane, "patch", "workertasks.stevedore.dev/status", "default").await);
    assert!(may(&plane, "create", "workertasks.stevedore.dev", "default").await);
    assert!(may(&plane, "delete", "workersessions.stevedore.dev", "default").await);
    assert!(may(&plane, "delete", "workertasks.stevedore.dev", "default").await);
    assert!(may(&plane, "get", "secrets", "default").await);
    assert!(may(&plane, "create", "leases.coordination.k8s.io", NAMESPACE).await);
    for (verb, resource) in [
        ("list", "secrets"),
        ("watch", "secrets"),
        ("update", "workers.stevedore.dev"),
        ("create", "leases.coordination.k8s.io"),
        ("delete", "workers.stevedore.dev"),
        ("update", "workertasks.stevedore.dev"),
        ("create", "workersessions.stevedore.dev"),
        ("create", "pods"),
    ] {
        assert!(!may(&plane, verb, resource, "default").await, "the operator may {verb} {resource}");
    }

    deployment::mark_available(&client, NAMESPACE, "stevedore").await.unwrap();
    ok(&plane, &["rollout", "status", "deployment/stevedore", "--namespace", NAMESPACE, "--timeout=60s"]).await;
    for sets in render::TOGGLES {
        let sets: Vec<_> = sets.iter().flat_map(|set| ["--set-json", set]).collect();
        helm(&plane, &[&["upgrade", "stevedore", "--reset-values"], &sets[..]].concat()).await;
    }
    helm(&plane, &["uninstall", "stevedore"]).await;
    let left =
        ok(&plane, &["get", "deployments,roles,serviceaccounts", "--namespace", NAMESPACE, "--output=name"]).await;
    assert_eq!(left.trim(), "serviceaccount/default");
    ok(&plane, &[&["get"], &definitions[..]].concat()).await;
    helm(&plane, &["install", "stevedore"]).await;
    plane.stop().await;
}

/// A program that shows how it was started: as whom it reaches the API server, then it waits for its end.
const STAND_IN: &str = r#"echo "pod $POD_NAME in $POD_NAMESPACE"; echo "secret $SECRET"; cat "$FOLDER/file"
"$0" auth whoami --output=jsonpath='{"user "}{.status.userInfo.username}{"\n"}'
"$0" get namespaces 2>&1
trap 'echo ending; exit 7' TERM
echo waiting
while :; do sleep 0.1; done"#;

fn stand_in_deployment(kubectl: &Path) -> serde_json::Value {
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let container = json!({
        "name": "operator", "image": "none", "command": ["/bin/sh"], "args": ["-c", STAND_IN, kubectl],
        "env": [
            { "name": "POD_NAME", "valueFrom": field("metadata.name") },
            { "name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace") },
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "key" } } },
            { "name": "FOLDER", "value": "/etc/folder" },
        ],
        "volumeMounts": [{ "name": "map", "mountPath": "/etc/folder" }],
    });
    let labels = json!({ "app": "stand-in" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "stand-in" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": {
                "serviceAccountName": "runner",
                "containers": [container],
                "volumes": [{ "name": "map", "configMap": { "name": "map" } }],
            }},
        },
    })
}

async fn until_log_has(process: &OperatorProcess, text: &str) -> String {
    let wait = async {
        loop {
            let log = process.log().unwrap();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("`{text}` is not in the log"))
}

#[tokio::test]
async fn a_process_is_what_the_deployment_says() {
    let plane = crate::support::cluster::shared().await;
    let (client, namespace) = crate::support::cluster::client_and_namespace("process").await;
    let in_namespace = format!("--namespace={namespace}");
    for args in [
        ["create", "serviceaccount", "runner"].as_slice(),
        &["create", "secret", "generic", "secret", "--from-literal=key=hidden"],
        &["create", "configmap", "map", "--from-literal=file=mounted\n"],
    ] {
        ok(plane, &[args, &[&in_namespace]].concat()).await;
    }
    let manifest = stand_in_deployment(&plane.binaries().kubectl).to_string();
    let applied = plane.kubectl_with_input(&["apply", "--filename=-", &in_namespace], &manifest).await.unwrap();
    applied.success().unwrap();

    let spec = deployment::read(&client, &namespace, "stand-in", 1).await.unwrap();
    let mut process = OperatorProcess::start(plane, Path::new("/bin/sh"), &spec).await.unwrap();
    let log = until_log_has(&process, "waiting").await;
    let lines: Vec<_> = log.lines().collect();
    let user = format!("user system:serviceaccount:{namespace}:runner");
    assert_eq!(lines[..4], [&format!("pod stand-in-1 in {namespace}"), "secret hidden", "mounted", &user]);
    assert!(lines[4].contains("cannot list resource \"namespaces\""), "{log}");

    process.terminate();
    assert_eq!(process.wait().await.code(), Some(7));
    let mut second = OperatorProcess::start(plane, Path::new("/bin/sh"), &spec).await.unwrap();
    until_log_has(&second, "waiting").await;
    assert!(second.ended().is_none());
    second.kill9();
    assert_eq!(second.ended().unwrap().code(), None);
    assert!(!second.log().unwrap().contains("ending"));
}

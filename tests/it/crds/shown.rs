//! What people see of our kinds without any tool of ours: columns, field selectors, and an operation kept as written.

use serde_json::{Value, json};

use super::cases;
use super::server::{Patch, Server};
use crate::support::{cluster, crds};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// Column names and the cells of the first row, as `kubectl get -o wide` gets them.
async fn columns(server: &Server, manifest: &Value) -> Vec<(String, Value)> {
    let request = http::Request::builder().uri(server.collection(manifest)).header("accept", TABLE);
    let text = server.client.request_text(request.body(Vec::new()).unwrap()).await.unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let names = table["columnDefinitions"].as_array().unwrap().iter();
    let names = names.map(|column| column["name"].as_str().unwrap().to_owned());
    let cells = table["rows"][0]["cells"].as_array().unwrap().iter().cloned();
    names.zip(cells).filter(|(name, _)| name != "Age" && name != "Tested").collect()
}

fn ready(message: &str) -> Value {
    json!([{
        "type": "Ready",
        "status": "True",
        "reason": "Deployed",
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }])
}

#[tokio::test]
async fn the_columns_say_how_a_worker_is() {
    let (client, namespace) = cluster::client_and_namespace("shown").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let manifest = cases::base("Worker");
    let object = server.create(&manifest, false).await.verdict().unwrap();
    let status = json!({"status": {
        "phase": "ShutDown",
        "conditions": ready("all is well"),
        "tasks": "2/4",
        "vm": {"id": "5000", "host": "pve1", "addresses": ["10.0.0.5", "10.0.1.5"]},
        "resources": {"cpus": 6, "memory": "6Gi", "disk": "100Gi"},
        "lastTest": {"result": "Passed", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:00Z"},
    }});
    server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
    let shown = serde_json::to_value(columns(&server, &manifest).await).unwrap();
    let wanted = json!([
        ["Name", "w1"],
        ["Status", "ShutDown"],
        ["Ready", "True"],
        ["Host", "pve1"],
        ["VM", "5000"],
        ["Address", "10.0.0.5"],
        ["Tasks", "2/4"],
        ["CPU", 6],
        ["Memory", "6Gi"],
        ["Message", "all is well"],
    ]);
    assert_eq!(shown, wanted);

    let selectors = [
        "spec.hypervisorRef.name=pve",
        "spec.hypervisorRef.name=other",
        "status.phase=ShutDown",
        "status.phase=Testing",
    ];
    assert_eq!(found(&server, &manifest, &selectors).await, [1, 0, 1, 0]);
}

/// How many objects of the manifest's kind each field selector finds.
async fn found(server: &Server, manifest: &Value, selectors: &[&str]) -> Vec<usize> {
    let mut counts = Vec::new();
    for selector in selectors {
        let path = format!("{}?fieldSelector={}", server.collection(manifest), selector.replace('=', "%3D"));
        let list = server.send("GET", &path, "application/json", &Value::Null).await.verdict().unwrap();
        counts.push(list["items"].as_array().unwrap().len());
    }
    counts
}

#[tokio::test]
async fn the_columns_say_how_a_hypervisor_is() {
    let (client, namespace) = cluster::client_and_namespace("shown").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let manifest = cases::base("Hypervisor");
    let object = server.create(&manifest, false).await.verdict().unwrap();
    let status = json!({"status": {
        "conditions": ready("connected"),
        "version": "9.2.3",
        "hostsOnline": "2/3",
        "workers": 4,
    }});
    server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
    let shown = serde_json::to_value(columns(&server, &manifest).await).unwrap();
    let wanted = json!([
        ["Name", "pve"],
        ["Provider", "Proxmox"],
        ["Version", "9.2.3"],
        ["Hosts", "2/3"],
        ["Workers", 4],
        ["Ready", "True"],
        ["Message", "connected"],
    ]);
    assert_eq!(shown, wanted);
}

#[tokio::test]
async fn the_columns_say_how_a_session_is() {
    let (client, namespace) = cluster::client_and_namespace("shown").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let manifest = cases::base("WorkerSession");
    let object = server.create(&manifest, false).await.verdict().unwrap();
    let status = json!({"status": {
        "phase": "Running",
        "conditions": ready("7 tasks are to be done"),
        "tasks": {"total": 10, "pending": 4, "starting": 1, "running": 2, "succeeded": 3, "failed": 0, "cancelled": 0},
        "done": "3/10",
        "workers": ["w1", "w2"],
        "workersInUse": 2,
    }});
    server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
    let shown = serde_json::to_value(columns(&server, &manifest).await).unwrap();
    let wanted = json!([
        ["Name", "nightly"],
        ["Type", "Backup"],
        ["Status", "Running"],
        ["Tasks", "3/10"],
        ["Workers", 2],
        ["Message", "7 tasks are to be done"],
    ]);
    assert_eq!(shown, wanted);
    let selectors = ["spec.hypervisorRef.name=pve", "spec.hypervisorRef.name=other"];
    assert_eq!(found(&server, &manifest, &selectors).await, [1, 0]);
}

#[tokio::test]
async fn the_columns_say_how_a_task_is() {
    let (client, namespace) = cluster::client_and_namespace("shown").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let manifest = cases::base("WorkerTask");
    let object = server.create(&manifest, false).await.verdict().unwrap();
    let status = json!({"status": {
        "phase": "Running",
        "reason": "Running",
        "message": "runs since a minute",
        "worker": "w1",
        "local": true,
        "attempt": 2,
    }});
    server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
    let wanted = |vm: &str| {
        json!([
            ["Name", "nightly-0"],
            ["Session", "nightly"],
            ["VM", vm],
            ["Status", "Running"],
            ["Worker", "w1"],
            ["Local", true],
            ["Attempt", 2],
            ["Reason", "Running"],
            ["Message", "runs since a minute"],
        ])
    };
    let shown = serde_json::to_value(columns(&server, &manifest).await).unwrap();
    assert_eq!(shown, wanted("db"), "the name is shown where both are known");
    let selectors = ["spec.sessionRef.name=nightly", "spec.sessionRef.name=x", "status.worker=w1", "status.worker=w2"];
    assert_eq!(found(&server, &manifest, &selectors).await, [1, 0, 1, 0]);

    server.delete(&object).await.verdict().unwrap();
    let mut unnamed = manifest;
    unnamed["spec"]["virtualMachine"] = json!({"id": "101"});
    let object = server.create(&unnamed, false).await.verdict().unwrap();
    server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
    let shown = serde_json::to_value(columns(&server, &unnamed).await).unwrap();
    assert_eq!(shown, wanted("101"), "the id stands in for a name that is not known");
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let (client, namespace) = cluster::client_and_namespace("defaults").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let worker = server.create(&cases::base("Worker"), true).await.verdict().unwrap();
    let mut wanted = cases::base("Worker")["spec"].clone();
    let defaults = json!({
        "enabled": true,
        "paused": false,
        "maxConcurrentTasks": 4,
        "networks": [{"name": "lan", "bridge": "vmbr0", "ipv4": {"method": "DHCP"}, "ipv6": {"method": "None"}}],
        "access": {"user": "stevedore"},
        "test": {"policy": "Manual", "maxAge": "0s"},
        "updates": {"policy": "OnLaunch", "onFailure": "Warn", "timeout": "30m"},
        "shutdown": {"gracePeriod": "2m", "delay": "0s"},
    });
    json_patch::merge(&mut wanted, &defaults);
    assert_eq!(worker["spec"], wanted);

    // A null stands for "not given", as in a Helm chart with an empty value.
    let mut manifest = cases::base("Hypervisor");
    manifest["spec"]["poll"] = json!({"idle": null});
    manifest["spec"]["limits"] = Value::Null;
    let hypervisor = server.create(&manifest, true).await.verdict().unwrap();
    assert_eq!(hypervisor["spec"]["poll"], json!({"idle": "30s", "busy": "2s"}));
    assert_eq!(hypervisor["spec"]["limits"], json!({"parallelOperations": 8, "deletionsPerHour": 10}));
    assert_eq!(hypervisor["spec"]["tls"], json!({"insecureSkipVerify": false}));

    let mut manifest = cases::base("WorkerSession");
    manifest["spec"]["run"] = json!({"command": ["true"]});
    let session = server.create(&manifest, true).await.verdict().unwrap();
    let defaults = json!({"spec": {
        "placement": "PreferSameHost",
        "run": {"user": "root", "timeout": "12h", "retries": 0},
        "state": "Active",
        "startDeadline": "1h",
        "activeDeadline": "24h",
        "ttlAfterFinished": "168h",
    }});
    json_patch::merge(&mut manifest, &defaults);
    assert_eq!(session["spec"], manifest["spec"]);
}

#[tokio::test]
async fn an_operation_is_kept_as_it_was_written() {
    let (client, namespace) = cluster::client_and_namespace("operation").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let object = server.create(&cases::base("Worker"), false).await.verdict().unwrap();
    let operation = json!({"id": "op-1", "target": {"host": null, "vmId": "5000"}, "sends": 9_007_199_254_740_993_i64});
    let patch = json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/status", "value": {}},
        {"op": "add", "path": "/status/operation", "value": operation},
    ]);
    let written = server.patch(&object, "/status", Patch::Json, &patch).await.verdict().unwrap();
    assert_eq!(written["status"]["operation"], operation);
    let again = server.patch(&object, "/status", Patch::Json, &patch).await;
    assert_eq!(again.code, 409, "a write from an old view must not go through: {:?}", again.body);
}

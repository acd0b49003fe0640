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
        ["CPU", 6],
        ["Memory", "6Gi"],
        ["Message", "all is well"],
    ]);
    assert_eq!(shown, wanted);

    for (selector, found) in [
        ("spec.hypervisorRef.name=pve", 1),
        ("spec.hypervisorRef.name=other", 0),
        ("status.phase=ShutDown", 1),
        ("status.phase=Testing", 0),
    ] {
        let path = format!("{}?fieldSelector={}", server.collection(&manifest), selector.replace('=', "%3D"));
        let list = server.send("GET", &path, "application/json", &Value::Null).await.verdict().unwrap();
        assert_eq!(list["items"].as_array().unwrap().len(), found, "{selector}");
    }
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
async fn defaults_are_filled_in() {
    let (client, namespace) = cluster::client_and_namespace("defaults").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let worker = server.create(&cases::base("Worker"), true).await.verdict().unwrap();
    let mut wanted = cases::base("Worker")["spec"].clone();
    let defaults = json!({
        "paused": false,
        "maxConcurrentTasks": 4,
        "networks": [{"name": "lan", "bridge": "vmbr0", "ipv4": {"method": "DHCP"}, "ipv6": {"method": "None"}}],
        "access": {"user": "stevedore"},
        "test": {"policy": "Manual"},
        "shutdown": {"gracePeriod": "2m"},
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

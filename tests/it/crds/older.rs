//! An object that was made under an earlier CRD, and that a rule of the present one would refuse, can still be written
//! to by the operator and deleted by people.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use stevedore::api::crdgen;

use super::cases;
use super::server::{Patch, Server};
use crate::support::{cluster, crds};

const GROUP: &str = "older.stevedore.test";

/// The CRD of this kind, under a group of its own so that other tests do not see it change.
fn present(kind: &str) -> CustomResourceDefinition {
    let mut crd = crdgen::all().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    crd.metadata.name = Some(format!("{}.{GROUP}", crd.spec.names.plural));
    GROUP.clone_into(&mut crd.spec.group);
    crd
}

/// A manifest that breaks rules at the root, at the spec and below.
fn refused_today(kind: &str) -> Value {
    let mut manifest = cases::base(kind);
    let broken = match kind {
        "Worker" => json!({
            "metadata": {"name": "a-name.that-is-longer-than-a-vm-may-be-called-at-all"},
            "spec": {
                "proxmox": null,
                "image": {"template": null},
                "resources": {"memory": "1.5Gi"},
                "networks": [{"name": "LAN"}, {"name": "LAN"}],
                "shutdown": {"gracePeriod": "9d"},
            },
        }),
        "WorkerSession" => json!({
            "metadata": {"name": "a.name.with.dots"},
            "spec": {
                "virtualMachines": [{}, {"host": "pve1"}],
                "run": {"command": [""]},
                "state": "Completed",
                "activeDeadline": "9d",
            },
        }),
        "WorkerTask" => json!({
            "metadata": {"name": "a.name.with.dots"},
            "spec": {"mode": "Command", "virtualMachine": {"id": "none"}, "result": {"outcome": "Failed"}},
        }),
        _ => json!({
            "metadata": {"name": "a.name.with.dots"},
            "spec": {"proxmox": null, "endpoints": ["http://pve1"], "poll": {"busy": "5m", "idle": "1s"}},
        }),
    };
    json_patch::merge(&mut manifest, &broken);
    manifest["apiVersion"] = json!(format!("{GROUP}/v1alpha1"));
    manifest["metadata"]["finalizers"] = json!(["stevedore.dev/kept"]);
    manifest
}

#[tokio::test]
async fn objects_of_an_earlier_crd_stay_writable_and_can_be_deleted() {
    let (client, namespace) = cluster::client_and_namespace("older").await;
    let server = Server { client, namespace };
    for kind in ["Worker", "Hypervisor", "WorkerSession", "WorkerTask"] {
        let manifest = refused_today(kind);
        crds::install(&server.client, &crds::without_rules(present(kind))).await;
        let object = server.create(&manifest, false).await.verdict().unwrap();
        crds::install(&server.client, &present(kind)).await;
        wait_until_refused(&server, &manifest).await;

        let status = json!({"status": {"observedGeneration": 1}});
        server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
        let vm = json!([{"op": "replace", "path": "/status/observedGeneration", "value": 2}]);
        server.patch(&object, "/status", Patch::Json, &vm).await.verdict().unwrap();
        let annotation = json!({"metadata": {"annotations": {"stevedore.dev/abandon": "true"}}});
        server.patch(&object, "", Patch::Merge, &annotation).await.verdict().unwrap();

        if kind == "Worker" {
            // What cannot be changed cannot be set afterwards either.
            let block = json!({"spec": {"proxmox": cases::base(kind)["spec"]["proxmox"]}});
            let refusal = server.patch(&object, "", Patch::Merge, &block).await.verdict().unwrap_err();
            assert!(refusal.contains("the provider block cannot be changed"), "{refusal}");
        }

        server.delete(&object).await.verdict().unwrap();
        let finalizers = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
        server.patch(&object, "", Patch::Json, &finalizers).await.verdict().unwrap();
        assert_eq!(server.get(&object).await.code, 404, "{kind} is still there");
    }
}

/// The API server takes a moment to go by a changed CRD.
async fn wait_until_refused(server: &Server, manifest: &Value) {
    let mut manifest = manifest.clone();
    manifest["metadata"]["name"] = json!("x.y");
    for _ in 0..600 {
        if server.create(&manifest, true).await.code == 422 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the API server does not go by the changed CRD after a minute");
}

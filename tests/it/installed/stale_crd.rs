//! An API server with an older CRD: the operator says so, is not ready, and changes nothing.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::stage::{Stage, is_tested, named, quick, worker};

/// The path of the field that the older CRD does not have.
const FIELD: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/operation";

#[tokio::test(flavor = "multi_thread")]
async fn an_older_crd_stops_everything_until_it_is_upgraded() {
    let stage = Stage::set(quick()).await;
    let client = stage.plane.client().await.unwrap();
    let crds = Api::<CustomResourceDefinition>::all(client);
    let name = "workers.stevedore.dev";
    let current = serde_json::to_value(crds.get(name).await.unwrap()).unwrap();
    let field = current.pointer(FIELD).cloned().unwrap();
    let remove = serde_json::from_value(json!([{"op": "remove", "path": FIELD}])).unwrap();
    crds.patch(name, &PatchParams::default(), &Patch::Json::<()>(remove)).await.unwrap();

    let operator = stage.operator(0).await;
    stage.apply_hypervisor("{}").await;
    stage.apply(&worker("w1", "pve1", "OnChange")).await;
    operator
        .until_ready(|status, body| status == 503 && body.contains(name) && body.contains("operation"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.changes(), [], "nothing is written");
    assert_eq!(stage.pve.faults().log().len(), 0, "nobody is asked");

    let add = serde_json::from_value(json!([{"op": "add", "path": FIELD, "value": field}])).unwrap();
    crds.patch(name, &PatchParams::default(), &Patch::Json::<()>(add)).await.unwrap();
    operator.until_ready(|status, _| status == 200).await.unwrap();
    stage.until("the worker is tested", |workers| named(workers, "w1").is_some_and(is_tested)).await;
    stage.plane.stop().await;
}

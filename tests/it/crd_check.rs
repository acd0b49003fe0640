//! The installed custom resource definitions are compared with our own, as a real API server gives them back.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use stevedore::api::crdgen;
use stevedore::runtime::crd_check;

use crate::kube_conformance::probe_definition;
use crate::support::cluster;

async fn install(client: &Client, definition: &CustomResourceDefinition) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("test").force();
    definitions.patch(&definition.name_any(), &params, &Patch::Apply(definition)).await.unwrap();
    await_condition(definitions, &definition.name_any(), is_crd_established()).await.unwrap();
}

#[tokio::test]
async fn what_a_real_api_server_gives_back_is_enough() {
    let (client, _) = cluster::client_and_namespace("crds").await;
    let ours = crdgen::all();
    for definition in &ours {
        install(&client, definition).await;
    }
    assert_eq!(crd_check::check(&client, &ours).await.unwrap(), []);
}

#[tokio::test]
async fn an_older_definition_is_found_out() {
    let (client, _) = cluster::client_and_namespace("crds").await;
    let mut named = serde_json::to_value(probe_definition()).unwrap();
    named["metadata"]["name"] = json!("samples.older.stevedore.dev");
    named["spec"]["group"] = json!("older.stevedore.dev");
    named["spec"]["names"] =
        json!({"plural": "samples", "singular": "sample", "kind": "Sample", "listKind": "SampleList"});
    let installed: CustomResourceDefinition = serde_json::from_value(named.clone()).unwrap();
    let mut absent = installed.clone();
    absent.metadata.name = Some("others.older.stevedore.dev".into());
    install(&client, &installed).await;
    let status = &mut named["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    status["properties"]["later"] = json!({"type": "string"});
    let wanted = [serde_json::from_value(named).unwrap(), absent];
    let problems = crd_check::check(&client, &wanted).await.unwrap();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["samples.older.stevedore.dev: status.later is missing", "others.older.stevedore.dev is not installed"]
    );
}

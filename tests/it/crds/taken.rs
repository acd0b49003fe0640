//! The API server takes the CRDs without a warning and without changing them.

use serde_json::Value;
use stevedore::api::crdgen;

use super::server::Server;
use crate::support::cluster;

#[tokio::test]
async fn the_api_server_takes_the_committed_files_as_they_are() {
    let (client, namespace) = cluster::client_and_namespace("taken").await;
    let server = Server { client, namespace };
    for crd in crdgen::all() {
        // Under a group of its own, because other tests have ours installed already.
        let yaml = crdgen::to_yaml(&crd).unwrap().replace("stevedore.dev", "taken.stevedore.test");
        let written: Value = serde_yaml::from_str(&yaml).unwrap();
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict";
        let answer = server.send("POST", path, "application/json", &written).await;
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
        let read = answer.verdict().unwrap();
        assert_eq!(read["spec"]["versions"], written["spec"]["versions"], "the API server changed the schema");
    }
}

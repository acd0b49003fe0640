//! Every manifest and every edit of the table gets its verdict.

use serde_json::{Value, json};
use stevedore::api::crdgen;
use stevedore::controlplane::{ControlPlane, Options};

use super::cases::{self, Case};
use super::largest_sessions::{COMMAND_SIZE, with_command_of};
use super::server::{Patch, Server};
use crate::support::{cluster, crds};

#[tokio::test]
async fn manifests_and_edits_get_the_verdicts_that_are_meant() {
    let (client, namespace) = cluster::client_and_namespace("verdicts").await;
    crds::installed(&client).await;
    check(&Server { client, namespace }).await;
}

/// The oldest Kubernetes that we support has an older library of CEL functions and an older price list for them.
#[tokio::test]
async fn the_oldest_supported_version_gives_the_same_verdicts() {
    let options = Options { emulated_version: Some("1.34".to_owned()), controllers: false, audit: false };
    let plane = ControlPlane::start(options).await.unwrap();
    let client = plane.client().await.unwrap();
    for crd in crdgen::all() {
        crds::install(&client, &crd).await;
    }
    check(&Server { client, namespace: "default".to_owned() }).await;
    plane.stop().await;
}

/// There is one provider yet, so that nobody can try to change it.
const OUT_OF_REACH: &str = "provider cannot be changed; create another Hypervisor";

async fn check(server: &Server) {
    let mut wrong = Vec::new();
    let mut refusals = String::new();
    let mut judge = |case: &Case, verdict: Result<Value, String>| {
        wrong.extend(case.judge(&verdict));
        refusals.push_str(&verdict.err().unwrap_or_default());
    };
    for (case, manifest) in cases::manifests() {
        judge(&case, server.create(&manifest, true).await.verdict());
    }
    for (case, before) in cases::edits() {
        let object = server.create(&before, false).await.verdict().unwrap();
        if let Some(status) = &case.status {
            let status = json!({"status": status});
            server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
        }
        let edit = json!({"spec": case.spec});
        judge(&case, server.patch(&object, "", Patch::Merge, &edit).await.verdict());
    }
    // No table would be read any more with this in it.
    refusals.push_str(&server.create(&with_command_of(COMMAND_SIZE + 1), true).await.verdict().unwrap_err());
    assert!(wrong.is_empty(), "{} verdicts are not those meant:\n{}", wrong.len(), wrong.join("\n"));

    let unseen: Vec<String> =
        messages().into_iter().filter(|message| message != OUT_OF_REACH && !refusals.contains(message)).collect();
    assert!(unseen.is_empty(), "no case of the table breaks the rules that say\n{}", unseen.join("\n"));
}

/// What the rules of all CRDs say when they are broken.
fn messages() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        if let Some(rules) = value["x-kubernetes-validations"].as_array() {
            found.extend(rules.iter().map(|rule| rule["message"].as_str().unwrap().to_owned()));
        }
        for below in value.as_object().into_iter().flat_map(|fields| fields.values()) {
            collect(below, found);
        }
    }
    let mut found = Vec::new();
    for crd in crdgen::all() {
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        collect(&serde_json::to_value(schema).unwrap(), &mut found);
    }
    found
}

//! A Worker that a later CRD let in, on a real API server: what the operator says of it is accepted, also when the CRD is
//! this version's again, and nobody else is held up.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::stage::{NAMESPACE, Stage, all_tested, quick, worker};

/// The path of the list of policies.
const POLICIES: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/test/properties/policy/enum";

impl Stage {
    /// Installs the CRD of Workers with these policies.
    async fn install_policies(&self, policies: &[&str]) {
        let crds = Api::<CustomResourceDefinition>::all(self.plane.client().await.unwrap());
        let patch = serde_json::from_value(json!([{"op": "replace", "path": POLICIES, "value": policies}])).unwrap();
        let patch = Patch::Json::<()>(patch);
        crds.patch("workers.stevedore.dev", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Sets a policy, once the API server has taken the new schema up.
    async fn edit_policy(&self, name: &str, policy: &str) {
        let patch = format!("{{\"spec\": {{\"test\": {{\"policy\": {policy:?}}}}}}}");
        let args = ["-n", NAMESPACE, "patch", "worker", name, "--type=merge", "-p", &patch];
        for _ in 0..200 {
            if self.plane.kubectl(&args).await.unwrap().success().is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        panic!("the API server never took {policy} for {name}");
    }

    async fn wait(&self, name: &str, condition: &str) {
        let (object, until) = (format!("worker/{name}"), format!("--for=condition={condition}"));
        self.kubectl(&["-n", NAMESPACE, "wait", &object, &until, "--timeout=120s"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_a_later_version_is_left_alone_and_said_to_be() {
    let stage = Stage::set(quick()).await;
    let mut operator = stage.operator(0).await;
    stage.apply_hypervisor("{}").await;
    stage.apply(&worker("w1", "pve1", "OnChange")).await;
    stage.until("the worker is tested", |workers| all_tested(workers, 1)).await;
    operator.process.kill9();
    stage.install_policies(&["Manual", "OnChange", "Nightly"]).await;
    stage.edit_policy("w1", "Nightly").await;
    stage.install_policies(&["Manual", "OnChange"]).await;
    let _operator = stage.operator(0).await;
    stage.wait("w1", "Stalled").await;
    let told = stage.kubectl(&["-n", NAMESPACE, "get", "worker", "w1", "-o", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let ready = told["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Unreadable")), "{told:#}");
    assert_eq!(told["status"]["lastTest"]["result"], "Passed", "{told:#}");
    stage.apply(&worker("w2", "pve2", "OnChange")).await;
    stage.wait("w2", "Tested").await;
    assert_eq!(stage.ours().len(), 2);
    stage.edit_policy("w1", "OnChange").await;
    stage.wait("w1", "Ready").await;
    stage.until("both are tested", |workers| all_tested(workers, 2)).await;
    stage.plane.stop().await;
}

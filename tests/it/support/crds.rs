//! Our CRDs in the control plane that tests share.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use stevedore::api::crdgen;
use tokio::sync::OnceCell;
use tokio::time::timeout;

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// Installs our CRDs once, and waits until the API server serves them.
pub(crate) async fn installed(client: &Client) {
    INSTALLED
        .get_or_init(|| async {
            for crd in crdgen::all() {
                install(client, &crd).await;
            }
        })
        .await;
}

/// Installs one CRD, or replaces what is installed under its name, and waits until it is served.
pub(crate) async fn install(client: &Client, crd: &CustomResourceDefinition) {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let name = crd.name_any();
    crds.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(crd)).await.unwrap();
    let served = await_condition(crds, &name, is_crd_established());
    timeout(Duration::from_secs(60), served).await.expect("the CRD is served within a minute").unwrap();
}

/// A CRD as it would have been before it had any rule.
pub(crate) fn without_rules(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        remove_rules(version.schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap());
    }
    crd
}

fn remove_rules(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_validations = None;
    schema.properties.iter_mut().flat_map(|all| all.values_mut()).for_each(remove_rules);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        remove_rules(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        remove_rules(values);
    }
}

//! One Kubernetes control plane for all tests of this binary.
//!
//! It is started by the first test that asks for it. Nobody stops it: when this process ends, in whatever way, its
//! watchdog does. A client belongs to the runtime of the test that made it, so each test makes its own.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use stevedore::controlplane::{ControlPlane, Options};
use tokio::sync::OnceCell;

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

/// The control plane that tests share: with controllers and an audit log.
pub(crate) async fn shared() -> &'static ControlPlane {
    let start = || ControlPlane::start(Options { audit: true, ..Options::default() });
    match SHARED.get_or_try_init(start).await {
        Ok(plane) => plane,
        Err(error) => panic!("no control plane to test against: {error}"),
    }
}

/// The administrator's client for the current test, and a new namespace for it whose name begins with `purpose`.
pub(crate) async fn client_and_namespace(purpose: &str) -> (Client, String) {
    let client = shared().await.client().await.unwrap();
    let metadata = ObjectMeta { generate_name: Some(format!("{purpose}-")), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let made = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    (client, made.metadata.name.unwrap())
}

//! How a simulated cluster and the workers on it are declared in Kubernetes, and when such a worker has come to rest.

use std::net::SocketAddr;

use super::scenario::{DEMO_SECRET, DEMO_TOKEN};
use crate::api::Worker;

/// A simulated cluster that is served, as a `Hypervisor` declares it.
#[derive(Debug, Clone)]
pub struct Cluster<'a> {
    /// The namespace of all its objects.
    pub namespace: &'a str,
    /// The name of the Hypervisor and of its Secret; that of the `ConfigMap` with the authority is made from it.
    pub name: &'a str,
    /// Where the simulated cluster is served; one of them is enough for the operator, and one for the guests.
    pub endpoints: &'a [SocketAddr],
    /// The certificate of its authority, as PEM.
    pub ca_pem: &'a str,
    /// The VM ids for workers, both ends included.
    pub vm_ids: (u32, u32),
    /// `spec.limits` as YAML in braces.
    pub limits: &'a str,
    /// `spec.poll` as YAML in braces.
    pub poll: &'a str,
}

impl Cluster<'_> {
    /// The Secret with the credential, the `ConfigMap` with the authority, and the Hypervisor, as YAML documents that
    /// end with `---`.
    pub fn manifests(&self) -> String {
        let Self { namespace, name, endpoints, ca_pem, vm_ids: (min, max), limits, poll } = self;
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("https://{endpoint}")).collect();
        let ca = ca_pem.lines().collect::<Vec<_>>().join("\n    ");
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             stringData: {{tokenId: {DEMO_TOKEN:?}, tokenSecret: {DEMO_SECRET:?}}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-ca, namespace: {namespace}}}\n\
             data:\n  ca.crt: |\n    {ca}\n---\n\
             apiVersion: stevedore.dev/v1alpha1\nkind: Hypervisor\n\
             metadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n  provider: Proxmox\n  endpoints: {endpoints:?}\n  credentialsSecretRef: {{name: {name}}}\n\
             \x20 tls: {{caRef: {{kind: ConfigMap, name: {name}-ca}}}}\n\
             \x20 proxmox: {{vmIdRange: {{min: {min}, max: {max}}}}}\n\
             \x20 limits: {limits}\n  poll: {poll}\n---\n"
        )
    }

    /// A Worker on this cluster, which has a node `host` and what the demo world has, as a YAML document that ends
    /// with `---`.
    pub fn worker(&self, name: &str, host: &str, policy: &str) -> String {
        worker(self.namespace, self.name, name, host, policy)
    }
}

/// The same, of a cluster that is known by its Hypervisor's name alone.
pub fn worker(namespace: &str, hypervisor: &str, name: &str, host: &str, policy: &str) -> String {
    format!(
        "apiVersion: stevedore.dev/v1alpha1\nkind: Worker\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n\
         \x20 hypervisorRef: {{name: {hypervisor}}}\n  proxmox: {{host: {host}, storage: local-lvm}}\n\
         \x20 image: {{template: debian-worker}}\n  networks: [{{name: lan, bridge: vmbr0}}]\n\
         \x20 test: {{policy: {policy}}}\n---\n"
    )
}

/// Whether a worker's last test passed, nothing is under way, and its VM is off.
pub fn is_tested(worker: &Worker) -> bool {
    worker.status.as_ref().is_some_and(|status| {
        status.phase.as_deref() == Some("ShutDown")
            && status.operation.is_none()
            && status.last_test.as_ref().is_some_and(|test| test.result == "Passed")
    })
}

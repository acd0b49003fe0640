//! Who answers.

use super::call::Call;
use super::connection::Connection;
use super::inventory::{ha_status, is_quorate};
use super::lenient::elements;
use super::routes::{CERTIFICATES, CLUSTER_STATUS, VERSION};
use super::wire::{Certificate, ClusterStatus, Version};
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::vm::{ClusterIdentity, Probe};

/// The file that the cluster's own CA lies in; its key is unique per installation (recorded 914).
const ROOT_CA: &str = "pve-root-ca.pem";

/// Four requests, one after the other, so that a wrong credential costs one refusal (each takes 3 s) and not four.
pub(super) async fn probe(connection: &Connection) -> Result<Probe, Fault> {
    let version = version(connection).await?;
    let status: Vec<ClusterStatus> = elements(connection.value(&Call::new(&CLUSTER_STATUS, &[])).await?);
    let mut identity = identity(&status)?;
    let local = status.iter().find(|entry| entry.local == Some(true)).and_then(|entry| entry.name.as_deref());
    if let Some(node) = local {
        let certificates = connection.value(&Call::new(&CERTIFICATES, &[node])).await?;
        identity.ca_fingerprint = root_ca(elements(certificates));
    }
    let quorate = is_quorate(&ha_status(connection).await?);
    let certificate_ends = connection.peer().and_then(|certificate| certificate.ends);
    Ok(Probe { product: "Proxmox VE".to_owned(), version, identity, quorate, certificate_ends })
}

/// Such as `8.4.21`. The cheapest call that needs a login.
pub(super) async fn version(connection: &Connection) -> Result<String, Fault> {
    let call = Call::new(&VERSION, &[]);
    let answer: Version = connection.call(call.clone()).await?;
    answer.version.ok_or_else(|| {
        call.fault(FaultKind::Other, "the answer has no version; does the endpoint name a Proxmox VE API?")
    })
}

/// The number before the first dot; 0 if there is none.
pub(super) fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn identity(status: &[ClusterStatus]) -> Result<ClusterIdentity, Fault> {
    let of_kind = |kind: &'static str| status.iter().filter(move |entry| entry.kind.as_deref() == Some(kind));
    let mut nodes: Vec<String> = of_kind("node").filter_map(|entry| entry.name.clone()).collect();
    nodes.sort_unstable();
    let cluster = of_kind("cluster").find_map(|entry| entry.name.clone());
    let name = cluster.or_else(|| nodes.first().cloned()).ok_or_else(|| {
        Call::new(&CLUSTER_STATUS, &[]).fault(FaultKind::Other, "the answer names neither a cluster nor a node")
    })?;
    Ok(ClusterIdentity { name, nodes, ca_fingerprint: String::new() })
}

fn root_ca(certificates: Vec<Certificate>) -> String {
    let root = certificates.into_iter().find(|entry| entry.filename.as_deref() == Some(ROOT_CA));
    root.and_then(|entry| entry.fingerprint).unwrap_or_default().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!((major("8.4.21"), major("9.2"), major(""), major("x")), (8, 9, 0, 0));
    }
}

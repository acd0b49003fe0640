//! One poll: two requests, whatever the number of VMs.

use std::collections::BTreeSet;

use futures::try_join;

use super::call::Call;
use super::connection::Connection;
use super::lenient::elements;
use super::routes::{HA_STATUS, RESOURCES};
use super::wire::{HaStatus, Resource};
use crate::domain::fault::Fault;
use crate::hypervisor::inventory::{HostSummary, Inventory, StorageSummary, VmSummary};
use crate::hypervisor::vm::Power;

/// Asks for everything.
pub(super) async fn inventory(connection: &Connection) -> Result<Inventory, Fault> {
    let (resources, ha) = try_join!(resources(connection), ha_status(connection))?;
    Ok(sorted(resources, &ha))
}

/// `GET /cluster/resources`, all types. Filtered silently by what the credential may see.
pub(super) async fn resources(connection: &Connection) -> Result<Vec<Resource>, Fault> {
    Ok(elements(connection.value(&Call::new(&RESOURCES, &[])).await?))
}

/// `GET /cluster/ha/status/current`. Needs Sys.Audit on `/`.
pub(super) async fn ha_status(connection: &Connection) -> Result<Vec<HaStatus>, Fault> {
    Ok(elements(connection.value(&Call::new(&HA_STATUS, &[])).await?))
}

/// Whether the cluster is quorate. Only the entry of type `quorum` tells: `/cluster/status` of a node that lost its
/// cluster reads like that of a lone node (recorded 157, 702, 840, 900).
pub(super) fn is_quorate(ha: &[HaStatus]) -> bool {
    ha.iter().any(|entry| entry.kind.as_deref() == Some("quorum") && entry.quorate == Some(true))
}

fn sorted(resources: Vec<Resource>, ha: &[HaStatus]) -> Inventory {
    let mut inventory = Inventory { quorate: is_quorate(ha), ..Inventory::default() };
    for resource in resources {
        match (resource.kind.as_deref(), resource.node.clone()) {
            (Some("qemu"), Some(node)) => {
                if let Some(id) = resource.vmid.clone() {
                    inventory.vms.insert(id, vm(node, resource));
                }
            }
            (Some("node"), Some(node)) => {
                inventory.hosts.insert(node, host(&resource));
            }
            (Some("storage"), Some(node)) => {
                if let Some(name) = resource.storage.clone() {
                    inventory.storages.insert((node, name), storage(&resource));
                }
            }
            _ => {}
        }
    }
    inventory
}

fn vm(host: String, resource: Resource) -> VmSummary {
    // Absent means "not known yet", never "stopped" or "no template".
    let power = match resource.status.as_deref() {
        None | Some("unknown" | "") => Power::Unknown,
        Some("stopped") => Power::Off,
        Some(_) => Power::On,
    };
    VmSummary {
        host,
        name: resource.name,
        power,
        tags: tags(resource.tags.as_deref().unwrap_or_default()).into_iter().collect(),
        lock: resource.lock.filter(|lock| !lock.is_empty()),
        template: resource.template,
    }
}

fn host(resource: &Resource) -> HostSummary {
    HostSummary {
        online: resource.status.as_deref() == Some("online"),
        maintenance: resource.hastate.as_deref() == Some("maintenance"),
        cpus: resource.maxcpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(0),
        memory: resource.maxmem.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
    }
}

fn storage(resource: &Resource) -> StorageSummary {
    let content = resource.content.as_deref().unwrap_or_default();
    StorageSummary {
        kind: resource.plugintype.clone().unwrap_or_default(),
        content: content.split(',').map(str::trim).filter(|c| !c.is_empty()).map(ToOwned::to_owned).collect(),
        shared: resource.shared == Some(true),
        available: resource.status.as_deref() == Some("available"),
    }
}

/// A tag list: separated by `;`, `,` or blanks; case does not matter. A cleared list reads as one blank.
pub(super) fn tags(text: &str) -> BTreeSet<String> {
    let separators = |c: char| c == ';' || c == ',' || c.is_whitespace();
    text.split(separators).filter(|tag| !tag.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_are_a_set_whatever_their_spelling() {
        assert_eq!(tags("B;a, A  c"), BTreeSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        assert!(tags(" ").is_empty());
    }

    #[test]
    fn what_is_not_known_stays_unknown() {
        // Recorded 732 (a cluster with an offline node) and 911 (maintenance), shortened; types changed as they occur.
        let resources = elements(json!([
            {"id": "qemu/100", "type": "qemu", "vmid": "100", "node": "pve1", "status": "stopped", "template": 0,
             "name": "alpha", "tags": "stevedore;X"},
            {"id": "qemu/300", "type": "qemu", "vmid": 300, "node": "pve2", "status": "unknown", "lock": "clone"},
            {"id": "node/pve2", "type": "node", "node": "pve2", "status": "offline"},
            {"id": "node/pve1", "type": "node", "node": "pve1", "status": "online", "maxcpu": 2, "maxmem": 25_276_510_208_u64,
             "hastate": "maintenance", "cpu": 0.0144},
            {"id": "storage/pve1/store2", "type": "storage", "storage": "store2", "node": "pve1", "shared": 0,
             "content": "images,rootdir", "status": "available", "plugintype": "dir"},
            {"id": "sdn/pve1/localnetwork", "type": "sdn", "sdn": "localnetwork", "node": "pve1", "status": "ok"},
            {"id": "lxc/101", "type": "lxc", "vmid": 101, "node": "pve1", "status": "running"},
        ]));
        let ha: Vec<HaStatus> = elements(json!([{"type": "quorum", "id": "quorum", "quorate": "1", "status": "OK"}]));
        let inventory = sorted(resources, &ha);
        assert!(inventory.quorate);
        assert_eq!(inventory.vms.len(), 2);
        assert_eq!(inventory.vms["100"].power, Power::Off);
        assert_eq!(inventory.vms["100"].tags, ["stevedore", "x"]);
        let unknown = &inventory.vms["300"];
        assert_eq!((unknown.power, unknown.template, unknown.name.as_deref()), (Power::Unknown, None, None));
        assert_eq!(unknown.lock.as_deref(), Some("clone"));
        assert!(!inventory.hosts["pve2"].online);
        assert!(inventory.hosts["pve1"].online && inventory.hosts["pve1"].maintenance);
        assert_eq!(inventory.storages[&("pve1".into(), "store2".into())].content, ["images", "rootdir"]);
    }

    #[test]
    fn no_quorum_entry_is_no_quorum() {
        assert!(!is_quorate(&[]));
        let lost: Vec<HaStatus> = elements(json!([
            {"quorate": 0, "type": "quorum", "status": "No quorum on node 'pve1'!"}, {"type": "fencing"}
        ]));
        assert!(!is_quorate(&lost));
    }
}

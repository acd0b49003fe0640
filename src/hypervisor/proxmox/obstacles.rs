//! What stands in the way of making a VM. Four requests at most; changes nothing.

use super::call::Call;
use super::connection::Connection;
use super::images;
use super::inventory::resources;
use super::lenient::elements;
use super::params::Params;
use super::probe::{major, version};
use super::routes::{NETWORKS, STORAGES};
use super::storages::snapshots;
use super::wire::{Network, Resource, Storage};
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::vm::image::ImageWanted;
use crate::hypervisor::vm::{Obstacle, ObstacleKind, VmWanted};

/// Looks for all obstacles that can be seen.
pub(super) async fn obstacles(connection: &Connection, wanted: &VmWanted) -> Result<Vec<Obstacle>, Fault> {
    let resources = resources(connection).await?;
    if let Some(obstacle) = host(&resources, wanted) {
        // Nothing can be asked of it.
        return Ok(vec![obstacle]);
    }
    let mut found: Vec<Obstacle> = too_small(&resources, wanted).into_iter().collect();
    let storages: Vec<Storage> = elements(connection.value(&Call::new(&STORAGES, &[&wanted.host])).await?);
    let major = major(&version(connection).await?);
    found.extend(storage(&storages, wanted, major));
    match &wanted.image {
        ImageWanted::File(image) => found.extend(images::obstacle(&storages, &wanted.host, image)),
        ImageWanted::Template(name) => match template(&resources, &wanted.host, name) {
            Ok(_) => {}
            Err(NoTemplate::Obstacle(obstacle)) => found.push(obstacle),
            Err(NoTemplate::NotKnownYet(fault)) => return Err(fault),
        },
    }
    let params = Params::default().with("type", "any_bridge");
    let bridges: Vec<Network> = elements(connection.value(&Call::new(&NETWORKS, &[&wanted.host]).with(params)).await?);
    found.extend(missing_bridges(&bridges, wanted));
    Ok(found)
}

fn obstacle(kind: ObstacleKind, message: String) -> Obstacle {
    Obstacle { kind, message }
}

fn host(resources: &[Resource], wanted: &VmWanted) -> Option<Obstacle> {
    let hosts = || resources.iter().filter(|resource| resource.kind.as_deref() == Some("node"));
    let host = &wanted.host;
    let Some(entry) = hosts().find(|entry| entry.node.as_deref() == Some(host)) else {
        let mut known: Vec<&str> = hosts().filter_map(|entry| entry.node.as_deref()).collect();
        known.sort_unstable();
        let text = format!("the cluster has no host {host:?}; its hosts are: {}", known.join(", "));
        return Some(obstacle(ObstacleKind::HostMissing, text));
    };
    let online = entry.status.as_deref() == Some("online");
    let text =
        || format!("the host {host} is {}; wait until it is back", entry.status.as_deref().unwrap_or("not known"));
    (!online).then(|| obstacle(ObstacleKind::HostOffline, text()))
}

/// A VM that is larger than its host is made without a word, and never starts (recorded 821, 823).
fn too_small(resources: &[Resource], wanted: &VmWanted) -> Option<Obstacle> {
    let is_host = |one: &&Resource| one.kind.as_deref() == Some("node") && one.node.as_ref() == Some(&wanted.host);
    let host = resources.iter().find(is_host)?;
    let (cpus, memory) = (i64::from(wanted.cpus), i64::try_from(wanted.memory_mib).unwrap_or(i64::MAX));
    let lacks_cpus = host.maxcpu.filter(|has| *has > 0 && cpus > *has);
    let lacks_memory = host.maxmem.map(|bytes| bytes >> 20).filter(|has| *has > 0 && memory > *has);
    let text = match (lacks_cpus, lacks_memory) {
        (Some(has), _) => format!("{cpus} CPUs, and the host {} has {has}", wanted.host),
        (None, Some(has)) => format!("{memory} MiB of memory, and the host {} has {has} MiB", wanted.host),
        (None, None) => return None,
    };
    let advice = "ask for less in resources, or for fewer maxConcurrentTasks, or choose a larger host";
    Some(obstacle(ObstacleKind::HostTooSmall, format!("the VM is to have {text}: it would never start; {advice}")))
}

fn storage(storages: &[Storage], wanted: &VmWanted, major: u32) -> Option<Obstacle> {
    let (name, host) = (&wanted.storage, &wanted.host);
    let missing = |why: String| Some(obstacle(ObstacleKind::StorageMissing, why));
    let Some(storage) = storages.iter().find(|storage| storage.name.as_ref() == Some(name)) else {
        let known: Vec<&str> = storages.iter().filter_map(|storage| storage.name.as_deref()).collect();
        return missing(format!(
            "the host {host} has no storage {name:?} that this credential can see (Datastore.Audit on /storage/{name}); \
             it sees: {}",
            known.join(", ")
        ));
    };
    if storage.enabled == Some(false) || storage.active == Some(false) {
        return missing(format!("the storage {name} on {host} is disabled or not active; activate it there"));
    }
    let content = storage.content.as_deref().unwrap_or_default();
    if !content.split(',').any(|kind| kind.trim() == "images") {
        return missing(format!(
            "the storage {name} takes no VM disks (its content: {content}); add the content type \"Disk image\" or choose another"
        ));
    }
    let kind = storage.kind.as_deref().unwrap_or_default();
    snapshots(kind, major).obstacle().map(|problem| {
        let can = if problem == ObstacleKind::StorageSnapshotsUnknown { "is not known to" } else { "cannot" };
        let text = format!(
            "the storage {name} is of type {kind}, which {can} make snapshots; choose one of lvmthin, zfspool, rbd, btrfs, \
             or a file storage (dir, nfs, cifs)"
        );
        obstacle(problem, text)
    })
}

/// Why a template was not found.
#[derive(Debug)]
pub(super) enum NoTemplate {
    /// There is none, or several.
    Obstacle(Obstacle),
    /// The host has not said of all its VMs which are templates: for some seconds after a VM was made, or the host
    /// came up, their names and kinds are not in the list.
    NotKnownYet(Fault),
}

impl NoTemplate {
    /// The fault of a call that needs the template.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Obstacle(obstacle) => Fault::new(FaultKind::Refused, obstacle.message),
            Self::NotKnownYet(fault) => fault,
        }
    }
}

/// The id of the template on `host` that has this id or name.
pub(super) fn template<'a>(resources: &'a [Resource], host: &str, name: &str) -> Result<&'a str, NoTemplate> {
    let of_host =
        || resources.iter().filter(|vm| vm.kind.as_deref() == Some("qemu") && vm.node.as_deref() == Some(host));
    let templates = of_host().filter(|vm| vm.template == Some(true));
    let (mut by_id, mut by_name) = (Vec::new(), Vec::new());
    for vm in templates {
        let Some(id) = vm.vmid.as_deref() else { continue };
        if id == name {
            by_id.push(id);
        } else if vm.name.as_deref() == Some(name) {
            by_name.push(id);
        }
    }
    let found = if by_id.is_empty() { by_name } else { by_id };
    match found.as_slice() {
        [id] => Ok(id),
        [] if of_host().any(|vm| vm.template.is_none()) => Err(NoTemplate::NotKnownYet(Fault::new(
            FaultKind::Busy,
            format!("the host {host} has not said yet which of its VMs is the template {name:?}"),
        ))),
        [] => Err(NoTemplate::Obstacle(obstacle(
            ObstacleKind::TemplateMissing,
            format!(
                "the host {host} has no template {name:?}, by name or id; a template must be on the worker's own host"
            ),
        ))),
        several => Err(NoTemplate::Obstacle(obstacle(
            ObstacleKind::TemplateAmbiguous,
            format!(
                "the host {host} has several templates named {name:?} ({}); name one by its id",
                several.join(", ")
            ),
        ))),
    }
}

fn missing_bridges(bridges: &[Network], wanted: &VmWanted) -> Vec<Obstacle> {
    let known: Vec<&str> = bridges.iter().filter_map(|bridge| bridge.iface.as_deref()).collect();
    let missing = wanted.networks.iter().filter(|network| !known.contains(&network.bridge.as_str()));
    let describe = |bridge: &str| {
        format!(
            "the host {} has no bridge {bridge:?} that this credential can see: without SDN.Use or SDN.Audit on \
             /sdn/zones/localnetwork/{bridge} a bridge is left out; it sees: {}",
            wanted.host,
            known.join(", ")
        )
    };
    missing.map(|network| obstacle(ObstacleKind::BridgeMissing, describe(&network.bridge))).collect()
}

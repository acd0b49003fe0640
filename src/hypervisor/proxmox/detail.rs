//! One VM as it is now.

use std::collections::{BTreeMap, BTreeSet};

use super::call::Call;
use super::connection::Connection;
use super::inventory::tags;
use super::lenient::{scalars, truth};
use super::params::Params;
use super::property::{NetCard, Properties, bytes_of};
use super::routes::{CONFIG, NEXT_ID, STATUS};
use super::wire::VmStatus;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Shown, TAG};
use crate::hypervisor::vm::{Power, VmDetail, VmRef};

/// Network cards that a VM can have (schema: `net[n]`, 0–31).
pub(super) const CARDS: usize = 32;

/// Two requests. The configuration has pending values merged in.
pub(super) async fn vm(connection: &Connection, at: &VmRef) -> Result<VmDetail, Fault> {
    let segments = [at.host.as_str(), at.id.as_str()];
    let call = Call::new(&CONFIG, &segments);
    let config = match connection.value(&call).await {
        Err(fault) if may_hide_absence(&fault) && is_free(connection, &at.id).await => {
            return Err(call.fault(FaultKind::NotFound, "no guest of this id is in the cluster"));
        }
        answer => scalars(&answer?),
    };
    let status: VmStatus = connection.call(Call::new(&STATUS, &segments)).await?;
    let power = match status.status.as_deref() {
        Some("stopped") => Power::Off,
        Some("running") => Power::On,
        _ => Power::Unknown,
    };
    Ok(detail(at, config, power, status.lock))
}

/// The storages that a VM's disks are on.
pub(super) async fn storages_of(connection: &Connection, at: &VmRef) -> Result<BTreeSet<String>, Fault> {
    let call = Call::new(&CONFIG, &[at.host.as_str(), at.id.as_str()]);
    Ok(storages(&scalars(&connection.value(&call).await?)))
}

/// The storages of all disks, those for firmware variables and for a TPM included. A disk that is passed through from the
/// host by its path is on none.
fn storages(config: &BTreeMap<String, String>) -> BTreeSet<String> {
    let small = |key: &str| {
        let is_small = key == "efidisk0" || key == "tpmstate0";
        is_small.then(|| Properties::parse(&config[key], "file"))
    };
    let disks = config.keys().filter_map(|key| disk(config, key).or_else(|| small(key)));
    disks.filter_map(|disk| Some(disk.get("file")?.split_once(':')?.0.to_owned())).collect()
}

/// Whether a refusal says nothing of whether the VM exists: rights are checked first, also those on a VM that does not
/// exist (recorded 022, 023), and a pool gives none on a VM that went; a node that left the cluster is refused.
fn may_hide_absence(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Forbidden { .. } | FaultKind::Refused)
}

/// Whether no guest in the whole cluster has this id. That may be asked without any right (recorded 029, 739).
async fn is_free(connection: &Connection, id: &str) -> bool {
    let params = Params::default().with("vmid", id);
    connection.value(&Call::new(&NEXT_ID, &[]).with(params)).await.is_ok()
}

fn detail(at: &VmRef, mut config: BTreeMap<String, String>, power: Power, lock: Option<String>) -> VmDetail {
    let digest = config.remove("digest").unwrap_or_default();
    let is_set = |key: &str| config.get(key).and_then(|value| truth(value)) == Some(true);
    VmDetail {
        at: at.clone(),
        name: config.get("name").cloned().unwrap_or_default(),
        shown: shown(at, &config),
        power,
        lock: config.get("lock").cloned().or(lock).filter(|lock| !lock.is_empty()),
        template: is_set("template"),
        protected: is_set("protection"),
        disk_bytes: boot_disk(&config).and_then(|(_, disk)| disk.get("size").and_then(bytes_of)),
        macs: (0..CARDS).filter_map(|n| mac(&config, n)).collect(),
        digest,
        config,
    }
}

fn shown(at: &VmRef, config: &BTreeMap<String, String>) -> Shown {
    let smbios = config.get("smbios1").map(|text| Properties::parse(text, ""));
    Shown {
        vm_id: at.id.clone(),
        tagged: config.get("tags").is_some_and(|text| tags(text).contains(TAG)),
        description: config.get("description").cloned().unwrap_or_default(),
        uuid: smbios.as_ref().and_then(|smbios| smbios.get("uuid")).map(str::to_lowercase),
    }
}

fn mac(config: &BTreeMap<String, String>, n: usize) -> Option<String> {
    NetCard::parse(config.get(&format!("net{n}"))?).mac.map(|mac| mac.to_uppercase())
}

/// The disk that the VM boots from, with its key: the first one in the boot order; without an order the first there is.
pub(super) fn boot_disk(config: &BTreeMap<String, String>) -> Option<(String, Properties)> {
    let boot = Properties::parse(config.get("boot").map_or("", String::as_str), "legacy");
    let order = boot.get("order").unwrap_or_default().split(';').map(ToOwned::to_owned);
    let legacy = config.get("bootdisk").cloned();
    let any = ["scsi", "virtio", "sata", "ide"].iter().flat_map(|bus| (0..31).map(move |n| format!("{bus}{n}")));
    order.chain(legacy).chain(any).find_map(|key| Some((key.clone(), disk(config, &key)?)))
}

/// The disk at `key`; not a CD drive, which the cloud-init drive is, too.
fn disk(config: &BTreeMap<String, String>, key: &str) -> Option<Properties> {
    let bus = key.trim_end_matches(|c: char| c.is_ascii_digit());
    if bus == key || !["scsi", "virtio", "sata", "ide"].contains(&bus) {
        return None;
    }
    let disk = Properties::parse(config.get(key)?, "file");
    (disk.get("media") != Some("cdrom") && disk.get("file").is_some_and(|file| file != "none")).then_some(disk)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at() -> VmRef {
        VmRef { host: "pve1".into(), id: "200".into() }
    }

    #[test]
    fn a_recorded_configuration_is_read() {
        // Recorded 235 and 532, put together; `memory` comes as a text, `cores` as a number.
        let config = scalars(&json!({
            "smbios1": "uuid=437FF7B6-9e7a-4f36-9dce-5c16252b5fc0", "net0": "virtio=bc:24:11:88:ae:09,bridge=vmbr0",
            "net1": "e1000=BC:24:11:88:AE:10,bridge=vmbr1", "boot": "order=ide2;virtio0;net0", "memory": "256",
            "virtio0": "store2:200/vm-200-disk-0.qcow2,size=96M", "ide2": "store2:200/vm-200-cloudinit.qcow2,media=cdrom",
            "name": "tiny", "digest": "c47b", "cores": 1, "agent": "enabled=1", "protection": 1, "tags": "x;stevedore",
            "lock": "backup"
        }));
        let seen = detail(&at(), config, Power::Off, None);
        assert_eq!(seen.shown.uuid.as_deref(), Some("437ff7b6-9e7a-4f36-9dce-5c16252b5fc0"));
        assert_eq!(seen.macs, ["BC:24:11:88:AE:09", "BC:24:11:88:AE:10"]);
        assert_eq!((seen.disk_bytes, seen.digest.as_str()), (Some(96 << 20), "c47b"));
        assert!(seen.protected && !seen.template && seen.shown.tagged);
        assert_eq!(seen.lock.as_deref(), Some("backup"));
        assert_eq!(seen.config["cores"], "1");
        assert!(!seen.config.contains_key("digest"));
    }

    #[test]
    fn the_storages_are_those_of_all_disks_and_of_no_cd() {
        let config = scalars(&json!({
            "scsi0": "a:vm-1-disk-0,size=2G", "virtio3": "b:1/vm-1-disk-1.qcow2", "efidisk0": "c:vm-1-disk-2,efitype=4m",
            "ide2": "d:iso/x.iso,media=cdrom", "scsi1": "/dev/disk/by-id/x", "sata0": "none", "unused0": "e:vm-1-disk-9"
        }));
        assert_eq!(Vec::from_iter(storages(&config)), ["a", "b", "c"]);
    }

    #[test]
    fn a_vm_that_is_being_made_shows_next_to_nothing() {
        let config = scalars(&json!({"lock": "clone", "description": " qmclone temporary file", "digest": "ab"}));
        let seen = detail(&at(), config, Power::Off, Some("clone".into()));
        assert_eq!((seen.name.as_str(), seen.disk_bytes, seen.shown.uuid), ("", None, None));
        assert_eq!(seen.lock.as_deref(), Some("clone"));
    }

    #[test]
    fn without_a_boot_order_the_first_disk_counts() {
        let config = scalars(&json!({"scsi1": "a:vm-1-disk-1,size=2G", "ide0": "none,media=cdrom", "scsihw": "x"}));
        assert_eq!(boot_disk(&config).map(|(key, _)| key).as_deref(), Some("scsi1"));
        assert_eq!(boot_disk(&BTreeMap::new()), None);
    }
}

//! The world that trying and testing starts with: a cluster of three nodes with a template on each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::{
    AclSpec, BridgeSpec, DownloadSpec, MachineSpec, NetworkSpec, NodeSpec, QemuSpec, Release, Scenario, StorageKind,
    StorageSpec, TokenSpec, UserSpec,
};
use crate::simulator::guest_exec::UnitState;

/// The token that the demo world knows.
pub const DEMO_TOKEN: &str = "stevedore@pve!operator";
/// Its secret. It opens nothing but a simulated world.
pub const DEMO_SECRET: &str = "00000000-0000-0000-0000-000000000000";

/// The URL of a worker image that the demo world serves.
pub const DEMO_IMAGE: &str = "https://images.example.org/debian-12-worker.qcow2";
/// Its checksum.
const DEMO_IMAGE_SHA256: &str = "3e6b1d2c5f8a9047b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8";

/// Privileges that an operator needs on both releases.
const COMMON_PRIVILEGES: &str = "VM.Allocate VM.Clone VM.Audit VM.PowerMgmt VM.Migrate VM.Config.CPU VM.Config.Memory \
     VM.Config.Disk VM.Config.CDROM VM.Config.Network VM.Config.HWType VM.Config.Options VM.Config.Cloudinit \
     Datastore.AllocateSpace Datastore.Audit Datastore.AllocateTemplate SDN.Use Sys.Audit Sys.AccessNetwork Pool.Audit";

impl Scenario {
    /// Cluster `lab`: nodes `pve1` to `pve3`, four storages, two bridges, a `debian-worker` template on each node
    /// (VMIDs 9001 to 9003), some foreign machines, the token [`DEMO_TOKEN`],
    /// and `backup-agent.service` in every guest.
    pub fn default_demo() -> Self {
        Self::demo_of(Release::V9)
    }

    /// The demo world with machines that QEMU runs. `image` is what `local:import/worker.qcow2` and the templates
    /// hold; without one they are not there. Nothing else was there before.
    pub fn with_real_guests(release: Release, image: Option<&Path>) -> Self {
        let mut world = Self { qemu: Some(QemuSpec::default()), units: BTreeMap::new(), ..Self::demo_of(release) };
        world.machines.retain(|machine| image.is_some() && machine.config.contains_key("template"));
        for storage in &mut world.storages {
            storage.volumes.clear();
            let Some(image) = image else { continue };
            match storage.name.as_str() {
                "local" => drop(storage.files.insert("import/worker.qcow2".into(), image.to_owned())),
                "local-lvm" => {
                    let bases = (9001..=9003).map(|vmid| (format!("base-{vmid}-disk-0"), image.to_owned()));
                    storage.files.extend(bases);
                }
                _ => {}
            }
        }
        world
    }

    /// The demo world in the given release.
    pub fn demo_of(release: Release) -> Self {
        let agent = match release {
            Release::V8 => "VM.Monitor",
            Release::V9 => "VM.GuestAgent.Audit VM.GuestAgent.Unrestricted",
        };
        let privileges = format!("{COMMON_PRIVILEGES} {agent}");
        Self {
            release,
            cluster: Some("lab".into()),
            nodes: (1..=3).map(node).collect(),
            storages: storages(),
            bridges: bridges(),
            machines: machines(),
            users: vec![operator_account()],
            roles: BTreeMap::from([("Stevedore".into(), privileges.split_whitespace().map(String::from).collect())]),
            acls: ["stevedore@pve", DEMO_TOKEN].map(operator_right).to_vec(),
            downloads: downloads(),
            network: network(),
            units: BTreeMap::from([("backup-agent.service".into(), UnitState::Active)]),
            ..Self::default()
        }
    }
}

fn node(number: u8) -> NodeSpec {
    NodeSpec {
        name: format!("pve{number}"),
        address: Some(IpAddr::from([10, 77, 0, 10 + number])),
        ..NodeSpec::default()
    }
}

fn storages() -> Vec<StorageSpec> {
    let images = vec!["images".to_owned(), "rootdir".to_owned()];
    let files = ["backup", "import", "iso", "vztmpl", "snippets"].map(String::from).to_vec();
    let gib = 1u64 << 30;
    vec![
        StorageSpec {
            name: "local".into(),
            content: files.clone(),
            path: Some("/var/lib/vz".into()),
            volumes: BTreeMap::from([("import/debian-12-worker.qcow2".into(), 2 * gib)]),
            ..StorageSpec::default()
        },
        StorageSpec {
            name: "local-lvm".into(),
            kind: StorageKind::LvmThin,
            content: images.clone(),
            ..StorageSpec::default()
        },
        StorageSpec {
            name: "nfs1".into(),
            kind: StorageKind::Nfs,
            shared: true,
            content: [images.clone(), files].concat(),
            path: Some("/mnt/pve/nfs1".into()),
            size_gib: 2000,
            volumes: BTreeMap::from([("import/debian-12-worker.qcow2".into(), 2 * gib)]),
            ..StorageSpec::default()
        },
        StorageSpec { name: "thick".into(), kind: StorageKind::Lvm, content: images, ..StorageSpec::default() },
    ]
}

fn downloads() -> BTreeMap<String, DownloadSpec> {
    let image = DownloadSpec { size: 3 << 30, sha256: Some(DEMO_IMAGE_SHA256.into()), ..DownloadSpec::default() };
    BTreeMap::from([(DEMO_IMAGE.into(), image)])
}

fn bridges() -> Vec<BridgeSpec> {
    let gateway = |net| Some(IpAddr::from([10, 77, net, 1]));
    vec![
        BridgeSpec { gateway: gateway(0), ..BridgeSpec::default() },
        BridgeSpec {
            name: "vmbr1".into(),
            subnet: "10.77.1.0/24".into(),
            gateway: gateway(1),
            dhcp: false,
            vlan_aware: true,
            ..BridgeSpec::default()
        },
    ]
}

fn machines() -> Vec<MachineSpec> {
    let templates = (1..=3u32).map(|number| {
        let mut config = hardware("debian-worker", &format!("local-lvm:base-900{number}-disk-0,size=4G"));
        config.insert("ide2".into(), format!("local-lvm:vm-900{number}-cloudinit,media=cdrom"));
        config.insert("template".into(), "1".into());
        config.insert("serial0".into(), "socket".into());
        MachineSpec { vmid: 9000 + number, node: format!("pve{number}"), running: false, config }
    });
    let foreign = [(101, "pve1", "files", true), (102, "pve2", "mail", true), (103, "pve2", "old-crm", false)];
    let foreign = foreign.map(|(vmid, node, name, running)| {
        let mut config = hardware(name, &format!("local-lvm:vm-{vmid}-disk-0,size=32G"));
        config.insert("tags".into(), "production".into());
        MachineSpec { vmid, node: node.into(), running, config }
    });
    templates.chain(foreign).collect()
}

fn hardware(name: &str, disk: &str) -> BTreeMap<String, String> {
    let options = [
        ("name", name),
        ("scsi0", disk),
        ("agent", "1"),
        ("boot", "order=scsi0"),
        ("cores", "2"),
        ("memory", "2048"),
        ("net0", "virtio,bridge=vmbr0"),
        ("ostype", "l26"),
        ("scsihw", "virtio-scsi-single"),
    ];
    options.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn operator_account() -> UserSpec {
    let token = TokenSpec { id: "operator".into(), secret: DEMO_SECRET.into(), ..TokenSpec::default() };
    UserSpec { id: "stevedore@pve".into(), tokens: vec![token], ..UserSpec::default() }
}

fn operator_right(to: &str) -> AclSpec {
    AclSpec { path: "/".into(), to: to.into(), role: "Stevedore".into(), propagate: true }
}

fn network() -> NetworkSpec {
    let at = |last| vec![IpAddr::from([10, 77, 0, last])];
    NetworkSpec {
        hosts: BTreeMap::from([
            ("deb.debian.org".into(), at(2)),
            ("repo.lab".into(), at(3)),
            ("backup.example.org".into(), at(4)),
            // It is there, but nothing listens.
            ("unreachable.example.org".into(), at(5)),
            ("pve1".into(), at(11)),
            ("pve2".into(), at(12)),
            ("pve3".into(), at(13)),
        ]),
        open: ["deb.debian.org:80", "repo.lab:443", "backup.example.org:9000", "pve1:8006", "pve2:8006", "pve3:8006"]
            .map(String::from)
            .to_vec(),
    }
}

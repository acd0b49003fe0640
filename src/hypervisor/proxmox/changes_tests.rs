use std::collections::BTreeMap;

use crate::domain::identity::Mark;
use crate::hypervisor::vm::image::ImageWanted;
use crate::hypervisor::vm::{AddressWanted, NetworkWanted, Takes, VmDetail, VmRef, VmWanted};

use super::{Change, changes};

fn network(bridge: &str) -> NetworkWanted {
    NetworkWanted {
        name: "lan".into(),
        bridge: bridge.into(),
        vlan: Some(30),
        mtu: None,
        ipv4: AddressWanted::Dhcp,
        ipv6: AddressWanted::Static {
            address: "2001:db8::5".parse().unwrap(),
            prefix: 64,
            gateway: Some("2001:db8::1".parse().unwrap()),
        },
    }
}

fn wanted() -> VmWanted {
    VmWanted {
        host: "pve1".into(),
        storage: "fast".into(),
        image: ImageWanted::Template("debian".into()),
        name: "w1".into(),
        description: "nightly\nbackups".into(),
        mark: Mark {
            installation: "inst".into(),
            worker_uid: "uid".into(),
            worker: "backup/w1".into(),
            operation: "op".into(),
            vm_id: "5000".into(),
        },
        cpus: 4,
        memory_mib: 4096,
        disk_gib: 32,
        networks: vec![network("vmbr0")],
        dns_servers: vec!["10.0.0.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
        search_domains: vec!["example.org".into()],
        user: "stevedore".into(),
        authorized_keys: vec!["ssh-ed25519 AAAA+/ me@home".into()],
    }
}

/// A configuration that fits, spelled as Proxmox VE would.
fn fitting() -> Vec<(&'static str, String)> {
    let mark = wanted().mark;
    vec![
        ("name", "w1".into()),
        ("description", format!("nightly\nbackups  \n\n{}", mark.block())),
        ("tags", "admin;stevedore".into()),
        ("smbios1", format!("family=x,uuid={}", mark.uuid().to_string().to_uppercase())),
        ("memory", "4096".into()),
        ("balloon", "1024".into()),
        ("cores", "4".into()),
        ("agent", "1,fstrim_cloned_disks=1".into()),
        ("boot", "order=scsi0;net0".into()),
        ("scsi0", "fast:vm-5000-disk-0,discard=on,size=32G".into()),
        ("ide2", "fast:vm-5000-cloudinit,media=cdrom,size=4M".into()),
        ("ciupgrade", "0".into()),
        ("ciuser", "stevedore".into()),
        ("sshkeys", "ssh-ed25519%20AAAA%2B%2F%20me%40home%0A".into()),
        ("nameserver", "10.0.0.53 2001:DB8:0::53".into()),
        ("searchdomain", "example.org".into()),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=30".into()),
        ("ipconfig0", "gw6=2001:db8::1,ip6=2001:DB8::5/64,ip=dhcp".into()),
        ("protection", "1".into()),
    ]
}

fn seen(config: &[(&str, String)]) -> VmDetail {
    let config: BTreeMap<String, String> =
        config.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let disk_bytes =
        super::boot_disk(&config).and_then(|(_, disk)| super::super::property::bytes_of(disk.get("size")?));
    VmDetail { disk_bytes, ..VmDetail::bare(VmRef { host: "pve1".into(), id: "5000".into() }, config) }
}

/// The changes for a fitting configuration in which `key` is replaced, or removed if `value` is `None`.
fn with(key: &'static str, value: Option<&str>) -> Vec<Change> {
    let mut config = fitting();
    config.retain(|(name, _)| *name != key);
    config.extend(value.map(|value| (key, value.to_owned())));
    changes(&wanted(), &seen(&config))
}

#[test]
fn a_configuration_in_their_spelling_fits() {
    assert_eq!(changes(&wanted(), &seen(&fitting())), []);
}

#[test]
fn each_setting_is_noticed_and_written_in_full() {
    let uuid = wanted().mark.uuid();
    let cases: Vec<(&'static str, Option<&str>, &str, String)> = vec![
        ("name", Some("other"), "vmName", "w1".into()),
        ("description", Some("nightly"), "description", wanted().mark.describe("nightly\nbackups")),
        ("tags", Some("B;a"), "tags", "a;b;stevedore".into()),
        ("tags", Some(" "), "tags", "stevedore".into()),
        ("smbios1", Some("uuid=437ff7b6-9e7a-4f36-9dce-5c16252b5fc0,sku=k"), "smbios1", format!("uuid={uuid},sku=k")),
        ("smbios1", None, "smbios1", format!("uuid={uuid}")),
        ("memory", Some("current=2048"), "resources.memory", "4096".into()),
        ("memory", None, "resources.memory", "4096".into()),
        ("balloon", Some("8192"), "balloon", "4096".into()),
        ("cores", None, "resources.cpus", "4".into()),
        ("sockets", Some("2"), "resources.cpus", "1".into()),
        ("agent", Some("enabled=0,type=isa"), "agent", "enabled=1,type=isa".into()),
        ("agent", None, "agent", "enabled=1".into()),
        ("onboot", Some("1"), "onboot", "0".into()),
        ("ide2", None, "cloud-init drive", "fast:cloudinit".into()),
        ("ide2", Some("none,media=cdrom"), "cloud-init drive", "fast:cloudinit".into()),
        ("ciupgrade", None, "ciupgrade", "0".into()),
        ("ciuser", None, "access.user", "stevedore".into()),
        ("sshkeys", None, "access.authorizedKeys", "ssh-ed25519%20AAAA%2B%2F%20me%40home".into()),
        ("nameserver", Some("10.0.0.53"), "dns.servers", "10.0.0.53 2001:db8::53".into()),
        ("searchdomain", Some("a b"), "dns.searchDomains", "example.org".into()),
        (
            "net0",
            Some("e1000=BC:24:11:00:00:01,bridge=vmbr9,rate=5,mtu=9000"),
            "networks[0]",
            "virtio=BC:24:11:00:00:01,bridge=vmbr0,rate=5,tag=30".into(),
        ),
        ("net0", None, "networks[0]", "virtio,bridge=vmbr0,tag=30".into()),
        ("ipconfig0", Some("ip=dhcp"), "networks[0]", "ip=dhcp,ip6=2001:db8::5/64,gw6=2001:db8::1".into()),
    ];
    for (key, value, field, sent) in cases {
        let found = with(key, value);
        let [change] = found.as_slice() else { panic!("{key}={value:?}: {found:?}") };
        assert_eq!((change.key.as_str(), change.field.as_str(), change.takes), (key, field, Takes::Configure));
        assert_eq!(change.value.as_ref(), Some(&sent), "{key}");
    }
}

#[test]
fn what_must_not_be_there_is_removed() {
    for key in ["vcpus", "net1", "ipconfig3"] {
        let found = with(key, Some("1"));
        let [change] = found.as_slice() else { panic!("{key}: {found:?}") };
        assert_eq!((change.key.as_str(), change.value.as_ref()), (key, None));
    }
    let quiet = VmWanted { dns_servers: Vec::new(), authorized_keys: Vec::new(), ..wanted() };
    let removed: Vec<_> =
        changes(&quiet, &seen(&fitting())).into_iter().map(|change| (change.key, change.value)).collect();
    assert_eq!(removed, [("sshkeys".to_owned(), None), ("nameserver".to_owned(), None)]);
}

#[test]
fn the_bridges_own_mtu_is_no_difference() {
    assert_eq!(with("net0", Some("virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=30,mtu=1")), []);
}

#[test]
fn a_cloud_init_drive_elsewhere_counts() {
    let mut config = fitting();
    config.retain(|(key, _)| *key != "ide2");
    config.push(("scsi1", "fast:5000/vm-5000-cloudinit.qcow2,media=cdrom".into()));
    assert_eq!(changes(&wanted(), &seen(&config)), []);
    let without = with("ide2", Some("local:iso/rescue.iso,media=cdrom"));
    assert_eq!(without.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["ide0"]);
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let small = with("scsi0", Some("fast:vm-5000-disk-0,size=4G"));
    let [change] = small.as_slice() else { panic!("{small:?}") };
    assert_eq!((change.takes, change.from.as_str(), change.to.as_str()), (Takes::Grow, "4G", "32G"));
    assert_eq!(with("scsi0", Some("fast:vm-5000-disk-0,size=64G")), []);
    let elsewhere = with("scsi0", Some("slow:vm-5000-disk-0,size=32G"));
    assert_eq!(elsewhere.iter().map(|change| change.takes).collect::<Vec<_>>(), [Takes::Redeploy]);
}

#[test]
fn keys_are_shown_decoded() {
    let found = with("sshkeys", Some("ssh-rsa%20OLD%20x"));
    assert_eq!((found[0].from.as_str(), found[0].to.as_str()), ("ssh-rsa OLD x", "ssh-ed25519 AAAA+/ me@home"));
}

#[test]
fn with_ovmf_a_cloud_init_drive_goes_to_where_linux_finds_it() {
    let place = |disk: &str, taken: Option<(&'static str, &'static str)>| {
        let mut config = fitting();
        config.retain(|(key, value)| *key != "ide2" && !value.contains("-disk-0"));
        config.push(("bios", "ovmf".into()));
        let disk = match disk {
            "scsi0" => "scsi0",
            _ => "virtio0",
        };
        config.extend([("boot", format!("order={disk}")), (disk, "fast:vm-5000-disk-0,size=100G".into())]);
        config.extend(taken.map(|(key, value)| (key, value.to_owned())));
        let found = changes(&wanted(), &seen(&config));
        let [change] = found.as_slice() else { panic!("{found:?}") };
        change.key.clone()
    };
    assert_eq!(place("scsi0", None), "scsi1");
    assert_eq!(place("scsi0", Some(("scsi1", "fast:vm-5000-disk-1,size=1G"))), "scsi2");
    assert_eq!(place("virtio0", None), "sata0");
}

use std::collections::BTreeMap;

use super::*;
use crate::simulator::scenario::GuestBehaviour;

fn order(options: &[(&str, &str)]) -> PowerOn {
    let config = Config::of(options.iter().copied());
    let real = config.drives().filter(|(_, drive)| drive.storage().is_some());
    let files = real.map(|(key, _)| (key.to_owned(), PathBuf::from(format!("/disks/{key}")))).collect();
    PowerOn {
        vmid: 110,
        files,
        config,
        seed: None,
        behaviour: GuestBehaviour::default(),
        leases: BTreeMap::new(),
        addresses: BTreeMap::new(),
        clock: None,
    }
}

fn worker() -> Vec<(&'static str, &'static str)> {
    vec![
        ("agent", "1"),
        ("boot", "order=scsi0"),
        ("cores", "6"),
        ("ide2", "local-lvm:vm-110-cloudinit,media=cdrom"),
        ("memory", "6144"),
        ("name", "worker-1"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400,tag=20"),
        ("rng0", "source=/dev/urandom"),
        ("scsi0", "local-lvm:vm-110-disk-0,size=20G"),
        ("scsihw", "virtio-scsi-single"),
        ("serial0", "socket"),
        ("smbios1", "uuid=0f9a1b2c-0000-4000-8000-000000000001"),
    ]
}

fn line(order: &PowerOn, spec: &QemuSpec) -> CommandLine {
    let folder = Folder { run: "/run".into(), console: "/console.log".into() };
    command_line(order, spec, "tcg,thread=multi", &folder).unwrap()
}

/// The values of an argument, in order.
fn values<'a>(line: &'a CommandLine, name: &str) -> Vec<&'a str> {
    let pairs = line.arguments.windows(2).filter(|pair| pair[0] == name);
    pairs.map(|pair| pair[1].as_str()).collect()
}

#[test]
fn a_worker_gets_the_hardware_of_its_configuration() {
    let line = line(&order(&worker()), &QemuSpec::default());
    assert_eq!(values(&line, "-smp"), ["6"]);
    assert_eq!(values(&line, "-m"), ["6144M"]);
    assert_eq!(values(&line, "-uuid"), ["0f9a1b2c-0000-4000-8000-000000000001"]);
    assert_eq!(values(&line, "-smbios"), ["type=1,uuid=0f9a1b2c-0000-4000-8000-000000000001"]);
    let devices = values(&line, "-device");
    for device in [
        "virtio-scsi-pci,id=scsihw0",
        "scsi-hd,bus=scsihw0.0,scsi-id=0,id=scsi0,drive=drive-scsi0,bootindex=100",
        "ide-cd,bus=ide.1,unit=0,id=ide2,drive=drive-ide2",
        "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0",
        "isa-serial,chardev=serial0",
        "virtio-rng-pci,rng=rng0",
        "virtio-net-pci,mac=BC:24:11:00:00:01,netdev=net0,id=card-net0,host_mtu=1400",
    ] {
        assert!(devices.contains(&device), "{device} is not among {devices:?}");
    }
    assert_eq!(values(&line, "-netdev"), ["tap,id=net0,ifname=tap110i0,script=no,downscript=no"]);
    let blocks = values(&line, "-blockdev");
    let disk: Value = serde_json::from_str(blocks[1]).unwrap();
    assert_eq!((&disk["driver"], &disk["file"]["filename"]), (&json!("qcow2"), &json!("/disks/scsi0")));
    assert_eq!(line.remarks, Vec::<String>::new());
}

#[test]
fn what_is_capped_is_said() {
    let spec = QemuSpec { max_cores: Some(1), max_memory_mib: Some(1024), ..QemuSpec::default() };
    let line = line(&order(&worker()), &spec);
    assert_eq!((values(&line, "-smp"), values(&line, "-m")), (vec!["1"], vec!["1024M"]));
    assert_eq!(line.remarks[1], "the simulator gives this machine 1024 MiB of memory in place of 6144");
    assert_eq!(line.remarks.len(), 2);
}

#[test]
fn the_agents_channel_is_there_only_when_it_is_enabled() {
    let ports = |order: &PowerOn| {
        let line = line(order, &QemuSpec::default());
        values(&line, "-device").iter().filter(|device| device.starts_with("virtserialport")).count()
    };
    let mut disabled = order(&worker());
    disabled.config.set("agent", "0");
    assert_eq!(ports(&disabled), 0);
    let mut absent = order(&worker());
    absent.behaviour.agent = AgentPresence::Absent;
    assert_eq!(ports(&absent), 0);
    assert_eq!(ports(&order(&worker())), 1);
}

#[test]
fn disks_hang_on_the_controller_that_is_asked_for() {
    let config = |hardware: &'static str| Config::of([("scsihw", hardware)]);
    let shared = place(&config("virtio-scsi-pci"), "scsi", 3, false);
    assert_eq!(shared, (Some("virtio-scsi-pci,id=scsihw0".into()), "scsi-hd,bus=scsihw0.0,scsi-id=3".into()));
    let own = place(&config("virtio-scsi-single"), "scsi", 3, false);
    assert_eq!(own, (Some("virtio-scsi-pci,id=scsihw3".into()), "scsi-hd,bus=scsihw3.0,scsi-id=0".into()));
    let q35 = Config::of([("machine", "pc-q35-9.0")]);
    assert_eq!(place(&q35, "ide", 2, true).1, "ide-cd,bus=ide.2,unit=0");
    assert_eq!(place(&q35, "virtio", 0, false), (None, "virtio-blk-pci".into()));
}

#[test]
fn a_guest_that_hangs_has_nothing_to_boot_from() {
    let mut order = order(&worker());
    order.behaviour.hangs = true;
    assert_eq!(values(&line(&order, &QemuSpec::default()), "-blockdev"), Vec::<&str>::new());
}

#[test]
fn texts_in_the_identity_are_decoded_and_their_commas_kept() {
    let mut line = CommandLine::default();
    line.identity(&Config::of([("smbios1", "uuid=u,base64=1,serial=YSxi")]));
    assert_eq!(values(&line, "-smbios"), ["type=1,uuid=u,serial=a,,b"]);
}

#[test]
fn a_wrong_clock_is_set_in_the_hardware() {
    assert_eq!(rtc(None), "base=utc");
    assert_eq!(rtc(Timestamp::from_second(1_795_315_044).ok()), "base=2026-11-22T02:37:24");
}

#[test]
fn only_virtio_carries_an_mtu() {
    let mtu = |text: &str| host_mtu(&Net::parse(text));
    assert_eq!(mtu("virtio=BC:24:11:00:00:01,bridge=vmbr0,mtu=1"), Some(1500));
    assert_eq!(mtu("e1000=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400"), None);
    assert_eq!(mtu("virtio=BC:24:11:00:00:01,bridge=vmbr0"), None);
}

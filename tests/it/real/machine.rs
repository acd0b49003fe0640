//! Processes, disks and what goes with them. No guest boots here: firmware that finds nothing to boot is enough.

mod leftovers;
mod rights;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stevedore::clock::{Clock as _, SystemClock};
use stevedore::simulator::guest_exec::EchoGuest;
use stevedore::simulator::image_server::ImageServer;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::GuestRule;

use super::stage::{Stage, disk_files, is_there, scenario};

const EMPTY: [(&str, &str); 2] = [("scsi0", "local-lvm:1"), ("net0", "virtio,bridge=vmbr0")];

fn disks(stage: &Stage, vmid: u32) -> Vec<PathBuf> {
    disk_files(stage.qemu(), vmid)
}

fn image_info(file: &Path) -> Value {
    let mut command = Command::new("qemu-img");
    let output = command.args(["info", "--force-share", "--output=json"]).arg(file).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn until(what: &str, mut fits: impl FnMut() -> bool) {
    let begin = SystemClock.boot();
    while !fits() {
        assert!(SystemClock.boot().since(begin) < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_process_does_what_the_api_says() {
    let stage = Stage::open(scenario(None)).await;
    stage.create(110, "empty", &EMPTY).await;
    assert_eq!(stage.qemu().pid(110), None);
    let log = stage.done("POST", 110, "/status/start", &[]).await;
    assert!(log.contains("QEMU runs this machine by "), "{log}");
    let pid = stage.qemu().pid(110).unwrap();
    for (path, status) in [("suspend", "paused"), ("resume", "running"), ("reset", "running")] {
        stage.done("POST", 110, &format!("/status/{path}"), &[]).await;
        assert_eq!((stage.status(110).await, stage.qemu().pid(110)), (status.into(), Some(pid)), "{path}");
    }
    // Live, as far as the process is concerned.
    stage.done("PUT", 110, "/resize", &[("disk", "scsi0"), ("size", "3G")]).await;
    assert_eq!(image_info(&disks(&stage, 110)[0])["virtual-size"], 3u64 << 30);
    let (end, log) = stage.task("POST", 110, "/status/shutdown", &[("timeout", "5")]).await;
    assert_eq!(end, "VM quit/powerdown failed - got timeout");
    assert!(log.contains("QEMU Guest Agent is not running"), "{log}");
    stage.done("POST", 110, "/status/stop", &[]).await;
    assert_eq!((stage.status(110).await, stage.qemu().pid(110)), ("stopped".into(), None));
    assert!(!is_there(pid));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_process_that_ends_is_a_machine_that_is_off() {
    let stage = Stage::open(scenario(None)).await;
    stage.create(110, "empty", &EMPTY).await;
    for _ in 0..2 {
        stage.done("POST", 110, "/status/start", &[]).await;
        let pid = stage.qemu().pid(110).unwrap();
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        stage.wait_until_off(110).await;
        assert!(!is_there(pid));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn clones_copy_their_disks_or_hang_on_them() {
    let stage = Stage::open(scenario(None)).await;
    stage.create(110, "base", &EMPTY).await;
    stage.done("POST", 110, "/template", &[]).await;
    stage.done("POST", 110, "/clone", &[("newid", "111"), ("full", "1")]).await;
    stage.done("POST", 110, "/clone", &[("newid", "112"), ("full", "0")]).await;
    let (full, linked) = (image_info(&disks(&stage, 111)[0]), image_info(&disks(&stage, 112)[0]));
    assert_eq!(full["backing-filename"], Value::Null);
    assert!(linked["backing-filename"].as_str().unwrap().contains("vm-110-disk-0"), "{linked}");
    stage.done("POST", 112, "/status/start", &[]).await;
    stage.done("POST", 112, "/status/stop", &[]).await;
    let begin = disks(&stage, 112);
    stage.done("DELETE", 112, "", &[]).await;
    until("the disk stays", || begin.iter().all(|file| !file.exists())).await;
    assert_eq!(disks(&stage, 112), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn uefi_firmware_starts_with_variables_of_its_own() {
    let stage = Stage::open(scenario(None)).await;
    let uefi = [("bios", "ovmf"), ("machine", "q35"), ("efidisk0", "local-lvm:1,efitype=4m")];
    stage.create(110, "kept", &[EMPTY.as_slice(), &uefi].concat()).await;
    stage.create(111, "lost", &[EMPTY.as_slice(), &uefi[..2]].concat()).await;
    stage.done("POST", 110, "/status/start", &[]).await;
    stage.done("POST", 110, "/status/stop", &[]).await;
    let (end, log) = stage.task("POST", 111, "/status/start", &[]).await;
    assert_eq!(end, "WARNINGS: 1");
    assert!(log.contains("Using temporary efivars disk"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn what_cannot_be_is_told_in_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.vmdk");
    std::fs::write(&broken, "KDMV and nothing else").unwrap();
    let mut world = scenario(None);
    world.storages[0].files.insert("import/broken.vmdk".into(), broken);
    let stage = Stage::open(world).await;
    let import = [("vmid", "110"), ("scsi0", "local-lvm:0,import-from=local:import/broken.vmdk")];
    let end = stage.probe.run("POST", "/nodes/pve1/qemu", &import).await;
    assert!(end.starts_with("unable to create VM 110 - command '/usr/bin/qemu-img' failed: "), "{end}");
    assert_eq!(disks(&stage, 110), Vec::<PathBuf>::new());
    stage.create(111, "tpm", &[EMPTY.as_slice(), &[("tpmstate0", "local-lvm:1")]].concat()).await;
    let (end, _) = stage.task("POST", 111, "/status/start", &[]).await;
    assert_eq!(end, "the simulator's QEMU machines have no TPM: remove tpmstate0");
    stage.create(112, "card", &[EMPTY.as_slice(), &[("scsihw", "pvscsi"), ("machine", "q35")]].concat()).await;
    stage.done("POST", 112, "/status/start", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_node_downloads_checks_and_imports_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("3G").status().unwrap();
    assert!(made.success());
    let sum = Command::new("sha256sum").arg(&image).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
    let images = ImageServer::start(&image).await.unwrap();
    let stage = Stage::open(scenario(None)).await;
    let url = images.url();
    let download = async |checksum: &str| {
        let order = [
            ("content", "import"),
            ("filename", "worker.qcow2"),
            ("url", url.as_str()),
            ("checksum", checksum),
            ("checksum-algorithm", "sha256"),
        ];
        stage.probe.run("POST", "/nodes/pve1/storage/local/download-url", &order).await
    };
    let end = download(&"0".repeat(64)).await;
    assert!(end.starts_with(&format!("checksum mismatch: got '{sum}'")), "{end}");
    let downloads = || std::fs::read_dir(stage.qemu().folder().join("disks")).unwrap().count();
    assert_eq!(download(&sum).await, "OK");
    assert_eq!(download(&sum).await, "OK");
    until("the file with the wrong checksum stays", || downloads() == 1).await;
    let import = ("scsi0", "local-lvm:0,import-from=local:import/worker.qcow2");
    stage.create(110, "downloaded", &[import]).await;
    assert_eq!(image_info(&disks(&stage, 110)[0])["virtual-size"], 3u64 << 30);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_rule_that_qemu_cannot_keep_is_refused_at_the_start() {
    let mut world = scenario(None);
    world.guests.push(serde_yaml::from_str::<GuestRule>("{name: 'w*', freeBytes: 1}").unwrap());
    let error = Simulator::open(world, std::sync::Arc::new(EchoGuest)).unwrap_err().to_string();
    assert!(error.contains("guests, 'w*', freeBytes"), "{error}");
}

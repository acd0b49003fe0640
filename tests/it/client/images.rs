//! Images by URL: how they are looked for, downloaded and imported, on recorded answers and on the simulated cluster.

use std::time::Duration;

use serde_json::json;
use stevedore::domain::fault::FaultKind;
use stevedore::domain::identity::{Ownership, judge};
use stevedore::hypervisor::Hypervisor;
use stevedore::hypervisor::vm::image::{Checksum, ImageFile, ImageFormat, ImageState, ImageWanted, LONGEST_DOWNLOAD};
use stevedore::hypervisor::vm::{CreateOrder, ObstacleKind, Started, Takes, TaskHandle, TaskState, VmWanted};
use stevedore::simulator::scenario::{DEMO_IMAGE, DownloadFailure, DownloadSpec, Release, Scenario};
use tokio::time::sleep;

use super::canned::{Canned, Recorded, any_time, at, client, image, making, recorded, wanted};
use super::simulator::Lab;

const UPID: &str = "UPID:pve1:0000025B:00039E36:6B025509:download:stevedore-x.qcow2:dev@pve!t1:";

fn imported(image: ImageFile) -> CreateOrder {
    let mut wanted = VmWanted { image: ImageWanted::File(image), ..wanted() };
    wanted.mark.vm_id = "5000".into();
    CreateOrder { wanted, at: at("5000"), since: "2026-11-22T02:00:00Z".parse().unwrap() }
}

#[tokio::test(start_paused = true)]
async fn an_image_is_found_by_its_name_on_the_storage() {
    let canned = Canned::recorded(&["230-storage-content-import", "116-tasks-list-source-active"]);
    canned.say(
        "GET /cluster/resources",
        Ok(Recorded::data(json!([{"type": "node", "node": "pve1", "status": "online"}]))),
    );
    let client = client(canned.clone());
    assert_eq!(client.image("pve1", &image(), None).await.unwrap(), ImageState::Absent);
    assert_eq!(canned.last("GET /nodes/pve1/storage/local/content").param("content"), Some("import"));
    let volid = format!("local:import/{}", image().name());
    let there = json!([{"volid": "local:import/tiny.qcow2"}, {"volid": volid, "size": 5, "format": "qcow2"}]);
    let canned = Canned::default();
    canned.say("GET /nodes/pve1/storage/local/content", Ok(Recorded::data(there)));
    let client = super::canned::client(std::sync::Arc::new(canned));
    assert_eq!(client.image("pve1", &image(), None).await.unwrap(), ImageState::Present);
    let other = ImageFile { format: ImageFormat::Raw, ..image() };
    assert_ne!(other.name(), image().name());
}

#[tokio::test(start_paused = true)]
async fn who_knows_the_task_asks_its_node_alone() {
    let resources = json!([
        {"type": "node", "node": "pve1", "status": "online"}, {"type": "node", "node": "pve2", "status": "online"},
        {"type": "storage", "storage": "local", "node": "pve1", "shared": 1},
        {"type": "storage", "storage": "local", "node": "pve2", "shared": 1},
    ]);
    let canned = std::sync::Arc::new(Canned::default());
    canned.say("GET /nodes/pve1/storage/local/content", Ok(Recorded::data(json!([]))));
    canned.say("GET /cluster/resources", Ok(Recorded::data(resources)));
    canned.say("GET /nodes/pve1/tasks", Ok(Recorded::data(json!([]))));
    // Begun at 02:00 of that day, by the clock of these tests just now.
    let other = json!([{"upid": UPID.replace("pve1", "pve2"), "type": "download", "id": image().name(),
        "status": "RUNNING", "starttime": 1_795_312_800}]);
    canned.say("GET /nodes/pve2/tasks", Ok(Recorded::data(other)));
    let client = client(canned.clone());
    assert_eq!(client.image("pve1", &image(), None).await.unwrap(), ImageState::Downloading);
    let before = canned.lines().len();
    let own = TaskHandle(UPID.into());
    assert_eq!(client.image("pve1", &image(), Some(&own)).await.unwrap(), ImageState::Absent);
    let content = "GET /nodes/pve1/storage/local/content";
    assert_eq!(canned.lines()[before..], [content, "GET /nodes/pve1/tasks", content]);
    sleep(LONGEST_DOWNLOAD).await;
    assert_eq!(client.image("pve1", &image(), None).await.unwrap(), ImageState::Absent, "that one hangs");
}

#[tokio::test(start_paused = true)]
async fn a_download_names_checksum_and_file() {
    let canned = Canned::default();
    canned.say("POST /nodes/pve1/storage/local/download-url", Ok(Recorded::data(json!(UPID))));
    let canned = std::sync::Arc::new(canned);
    let started = client(canned.clone()).within(any_time()).download("pve1", &image()).await.unwrap();
    assert!(matches!(started, Started::Task(_)));
    let sent = canned.last("POST /nodes/pve1/storage/local/download-url");
    for (name, value) in [
        ("content", "import"),
        ("filename", "stevedore-0123456789abcdef0123456789abcdef.qcow2"),
        ("url", "https://images.example.org/worker.img?build=7&arch=amd64"),
        ("checksum", &"0123456789abcdef".repeat(4)),
        ("checksum-algorithm", "sha256"),
    ] {
        assert_eq!(sent.param(name), Some(value), "{name}");
    }
    assert_eq!(sent.params.len(), 5, "certificates are verified unless it is said otherwise");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_even_if_the_answer_does_not() {
    for (name, privilege, path) in [
        ("download-url-refused-1@9.2", "Datastore.AllocateTemplate", "/storage/dir1"),
        ("download-url-refused-2@9.2", "Sys.AccessNetwork", "/nodes/pve1"),
    ] {
        let canned = Canned::always(name);
        let fault = client(canned).within(any_time()).download("pve1", &image()).await.unwrap_err();
        let expected = FaultKind::Forbidden { privilege: privilege.into(), path: path.into() };
        assert_eq!(fault.kind, expected, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_makes_the_whole_vm() {
    let canned = Canned::default();
    canned.say("POST /nodes/pve1/qemu", Ok(recorded("231-create-import-from")));
    let storages = json!([
        {"type": "storage", "storage": "store2", "node": "pve1", "plugintype": "dir"},
        {"type": "storage", "storage": "thin", "node": "pve1", "plugintype": "lvmthin"},
    ]);
    canned.say("GET /cluster/resources", Ok(Recorded::data(storages)));
    let canned = std::sync::Arc::new(canned);
    let (client, mut order) = (client(canned.clone()), imported(image()));
    client.within(any_time()).create(&order).await.unwrap();
    let sent = canned.last("POST /nodes/pve1/qemu");
    let mark = &order.wanted.mark;
    let (description, smbios) = (mark.describe("für die Nacht"), format!("uuid={}", mark.uuid()));
    let volume = "local:import/stevedore-0123456789abcdef0123456789abcdef.qcow2";
    let disk = format!("store2:0,import-from={volume},format=qcow2,discard=on,iothread=1");
    for (name, value) in [
        ("vmid", "5000"),
        ("name", "w1"),
        ("tags", "stevedore"),
        ("description", &description),
        ("smbios1", &smbios),
        ("scsi0", &disk),
        ("scsi1", "store2:cloudinit"),
        ("scsihw", "virtio-scsi-single"),
        ("boot", "order=scsi0"),
        ("ostype", "l26"),
        ("cpu", "x86-64-v2-AES"),
        ("serial0", "socket"),
        ("vga", "serial0"),
        ("agent", "enabled=1"),
        ("cores", "4"),
        ("memory", "4096"),
        ("net0", "virtio,bridge=vmbr0"),
        ("ipconfig0", "ip=dhcp"),
        ("ciuser", "stevedore"),
        ("ciupgrade", "0"),
        ("sshkeys", "ssh-ed25519%20AAAA%2B%2F%20me"),
    ] {
        assert_eq!(sent.param(name), Some(value), "{name}");
    }
    assert_eq!(sent.params.len(), 21, "{:?}", sent.params);
    order.wanted.storage = "thin".into();
    client.within(any_time()).create(&order).await.unwrap();
    let disk = canned.last("POST /nodes/pve1/qemu").param("scsi0").unwrap().to_owned();
    assert_eq!(disk, format!("thin:0,import-from={volume},discard=on,iothread=1"));
}

#[tokio::test(start_paused = true)]
async fn only_the_task_that_names_the_vm_makes_it() {
    // Recorded 396: two clones run, and no import.
    let client = client(Canned::recorded(&["396-tasks-active"]));
    assert!(!client.is_being_made(&making(&imported(image()))).await.unwrap());
}

/// The image that the demo world serves, to be kept on `storage`.
fn served(scenario: &Scenario, storage: &str) -> ImageFile {
    let checksum = Checksum::parse(&scenario.checksum_of(DEMO_IMAGE, "sha256").unwrap()).unwrap();
    ImageFile { url: DEMO_IMAGE.into(), checksum, format: ImageFormat::Qcow2, storage: storage.into() }
}

async fn the_main_job(release: Release, storage: &str, images: &str) {
    let scenario = Scenario::demo_of(release);
    let image = served(&scenario, images);
    let lab = Lab::with(scenario);
    let client = &lab.client;
    let mut order = imported(image.clone());
    order.wanted.storage = storage.into();
    let wanted = &order.wanted;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(client.obstacles(wanted).await.unwrap(), []);
    assert_eq!(client.image("pve1", &image, None).await.unwrap(), ImageState::Absent);
    let started = client.within(any_time()).download("pve1", &image).await;
    assert_eq!(client.image("pve1", &image, None).await.unwrap(), ImageState::Downloading);
    let elsewhere = if images == "nfs1" { ImageState::Downloading } else { ImageState::Absent };
    assert_eq!(client.image("pve2", &image, None).await.unwrap(), elsewhere);
    lab.done(started).await;
    assert_eq!(client.image("pve1", &image, None).await.unwrap(), ImageState::Present);
    // Asking once more is no harm.
    lab.done(client.within(any_time()).download("pve1", &image).await).await;

    let started = client.within(any_time()).create(&order).await;
    assert!(client.is_being_made(&making(&order)).await.unwrap());
    let in_the_making = client.vm(&order.at).await.unwrap();
    assert_eq!((in_the_making.lock.as_deref(), in_the_making.shown.tagged), (Some("create"), false));
    assert_eq!(judge(&in_the_making.shown, "inst", "uid"), Ownership::Foreign, "nothing tells whose it is");
    lab.done(started).await;
    let seen = client.vm(&order.at).await.unwrap();
    assert_eq!(judge(&seen.shown, "inst", "uid"), Ownership::Ours);
    let differences = client.differences(wanted, &seen);
    let takes: Vec<Takes> = differences.iter().map(|difference| difference.takes).collect();
    assert_eq!(takes, [Takes::Grow], "{differences:?}");
    assert_eq!(seen.disk_bytes, Some(3 << 30));
    lab.done(client.within(any_time()).grow_disk(wanted, &seen).await).await;
    let seen = client.vm(&order.at).await.unwrap();
    assert_eq!((client.differences(wanted, &seen), seen.disk_bytes), (Vec::new(), Some(32 << 30)));
    lab.done(client.within(any_time()).start(&order.at).await).await;
}

#[tokio::test(start_paused = true)]
async fn the_main_job_by_url_on_8_4() {
    the_main_job(Release::V8, "local-lvm", "local").await;
}

#[tokio::test(start_paused = true)]
async fn the_main_job_by_url_on_9_2() {
    the_main_job(Release::V9, "local-lvm", "local").await;
}

#[tokio::test(start_paused = true)]
async fn the_main_job_by_url_on_shared_files() {
    the_main_job(Release::V9, "nfs1", "nfs1").await;
}

#[tokio::test(start_paused = true)]
async fn an_import_without_its_image_leaves_nothing() {
    let lab = Lab::of(Release::V9);
    let order = imported(ImageFile { storage: "local".into(), ..image() });
    let order = CreateOrder { wanted: VmWanted { storage: "local-lvm".into(), ..order.wanted }, ..order };
    let end = lab.end(lab.client.within(any_time()).create(&order).await).await;
    let TaskState::Failed { message, kind } = end else { panic!("{end:?}") };
    assert!(message.contains("failed to stat") && kind == FaultKind::Other, "{message} {kind:?}");
    assert_eq!(lab.client.vm(&order.at).await.unwrap_err().kind, FaultKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_cannot_keep_images_is_an_obstacle() {
    let lab = Lab::of(Release::V9);
    for (storage, kind) in [
        ("local", None),
        ("thick", Some(ObstacleKind::ImageStorageUnsuitable)),
        ("nowhere", Some(ObstacleKind::ImageStorageMissing)),
    ] {
        let order = imported(ImageFile { storage: storage.into(), ..image() });
        let wanted = VmWanted { storage: "local-lvm".into(), ..order.wanted };
        let found = lab.client.obstacles(&wanted).await.unwrap();
        assert_eq!(found.first().map(|obstacle| obstacle.kind), kind, "{found:?}");
    }
}

/// How the download of what `spec` serves ends; nothing is kept.
async fn refused(spec: DownloadSpec, checksum: Option<&str>) -> String {
    let mut scenario = Scenario::default_demo();
    scenario.downloads.insert(DEMO_IMAGE.into(), spec);
    let mut image = served(&scenario, "local");
    if let Some(checksum) = checksum {
        image.checksum = Checksum::parse(checksum).unwrap();
    }
    let lab = Lab::with(scenario);
    let end = lab.end(lab.client.within(any_time()).download("pve1", &image).await).await;
    assert_eq!(lab.client.image("pve1", &image, None).await.unwrap(), ImageState::Absent);
    let TaskState::Failed { message, kind } = end else { panic!("{end:?}") };
    assert_eq!(kind, FaultKind::Other, "it does not pass by itself: {message}");
    message
}

#[tokio::test(start_paused = true)]
async fn a_download_that_fails_says_why_and_what_to_do() {
    let failing = |failure| DownloadSpec { failure: Some(failure), ..DownloadSpec::default() };
    let wrong = format!("sha256:{}", "0".repeat(64));
    for (spec, checksum, parts) in [
        (DownloadSpec::default(), Some(wrong.as_str()), ["checksum mismatch: got", "correct one of them"]),
        (failing(DownloadFailure::NotFound), None, ["404: Not Found", "see that image.url is right"]),
        (failing(DownloadFailure::Refused), None, ["Connection refused", "that the host reaches it"]),
        (failing(DownloadFailure::Untrusted), None, ["certificate", "does not trust"]),
        (
            DownloadSpec { format: "xz".into(), ..DownloadSpec::default() },
            None,
            ["failed to verify file", "must be unpacked first"],
        ),
    ] {
        let message = refused(spec, checksum).await;
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

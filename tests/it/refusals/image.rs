//! Images by URL that cannot be had, or may not; and edits of them.

use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::scenario::{
    DEMO_IMAGE, DEMO_TOKEN, DownloadFailure, DownloadSpec, Scenario, Seconds, StorageKind, StorageSpec,
};

use super::lab::{Lab, hypervisor_says, worker_says};
use crate::crash::world::{by_url, in_virtual_time, merged, worker};

/// An hour, in which a download that fails is tried a few times.
const HOUR: Duration = Duration::from_secs(3600);

fn from(url: &str) -> Value {
    merged(by_url("local"), &json!({"spec": {"image": {"url": url}}}))
}

fn with_checksum(digit: &str) -> Value {
    json!({"spec": {"image": {"checksum": format!("sha256:{}", digit.repeat(64))}}})
}

/// The demo world with one more storage.
fn with_storage(spec: StorageSpec) -> Scenario {
    let mut scenario = Scenario::default_demo();
    scenario.storages.push(StorageSpec { name: "images".into(), ..spec });
    scenario
}

/// A worker whose images go there stalls for this reason, and nothing is changed.
fn stalls(scenario: Scenario, storage: &str, reason: &'static str, words: &[&str]) {
    in_virtual_time(async {
        let mut lab = Lab::of(scenario, json!({})).await;
        let before = lab.sight();
        lab.declare("w1", by_url(storage)).await;
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", reason), words)).await;
        lab.says(worker_says("w1", ("Ready", "False", reason), words)).await;
    });
}

#[test]
fn an_image_storage_that_is_not_there() {
    let words = ["pve1", "\"nowhere\"", "Datastore.Audit", "/storage/nowhere", "local-lvm"];
    stalls(Scenario::default_demo(), "nowhere", "ImageStorageMissing", &words);
}

#[test]
fn an_image_storage_of_other_hosts() {
    let import = vec!["import".to_owned()];
    let elsewhere = StorageSpec { content: import.clone(), nodes: vec!["pve2".into()], ..StorageSpec::default() };
    stalls(with_storage(elsewhere), "images", "ImageStorageMissing", &["pve1", "\"images\""]);
    let off = StorageSpec { content: import, active: false, kind: StorageKind::Nfs, ..StorageSpec::default() };
    stalls(with_storage(off), "images", "ImageStorageMissing", &["images", "pve1", "activate it"]);
}

#[test]
fn an_image_storage_without_content_import() {
    let words = ["images", "images,rootdir", "\"Import\"", "proxmox.imageStorage"];
    stalls(with_storage(StorageSpec::default()), "images", "ImageStorageUnsuitable", &words);
}

#[test]
fn an_image_storage_without_files() {
    let words = ["local-lvm", "lvmthin", "proxmox.imageStorage"];
    stalls(Scenario::default_demo(), "local-lvm", "ImageStorageUnsuitable", &words);
}

#[test]
fn a_url_outside_of_what_is_allowed() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.operator = lab.world.operator().allowing(&["pve1", "10.0.0.0/8"]);
        lab.operator.pass(Duration::from_secs(60)).await;
        let before = lab.sight();
        lab.declare("w1", by_url("local")).await;
        let words = ["images.example.org", "--allowed-endpoints=pve1,10.0.0.0/8", "serve the image from there"];
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", "ImageUrlNotAllowed"), &words)).await;
        let asked = lab.world.pve.faults().log();
        assert!(!asked.iter().any(|call| call.path.contains("/storage/local")), "nothing was even looked at");
        lab.operator = lab.world.operator().allowing(&["pve1", "*.example.org"]);
        lab.tested("w1").await;
    });
}

#[test]
fn an_endpoint_outside_of_what_is_allowed() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.operator = lab.world.operator().allowing(&["10.0.0.0/8"]);
        lab.declare("w1", json!({})).await;
        let words = ["https://pve1:8006", "--allowed-endpoints=10.0.0.0/8"];
        lab.says(hypervisor_says(("Ready", "False", "EndpointNotAllowed"), &words)).await;
        lab.says(hypervisor_says(("Reachable", "False", "EndpointNotAllowed"), &words)).await;
        lab.says(worker_says("w1", ("Ready", "Unknown", "HypervisorNotReady"), &words)).await;
        assert_eq!(lab.world.pve.faults().log().len(), 0, "nothing was sent");
        lab.operator = lab.world.operator().allowing(&["pve1"]);
        lab.tested("w1").await;
    });
}

/// A worker declared so fails its test for this reason again and again, ever more rarely; nothing is kept, and no VM made.
/// As soon as the declaration is `corrected` it is tested.
fn fails(served: DownloadSpec, declared: Value, words: &[&str], corrected: Value) {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        let (good, url) = (scenario.downloads[DEMO_IMAGE].clone(), "https://other.example.org/worker.img");
        let checksums = (good.sha256.clone(), served.sha256.clone());
        scenario.downloads.insert(url.into(), DownloadSpec { sha256: checksums.1.or(checksums.0), ..served });
        let mut lab = Lab::of(scenario, json!({})).await;
        lab.declare("w1", declared).await;
        let failed = [&["check deployed", "the storage local could not be downloaded"], words].concat();
        lab.says(worker_says("w1", ("Tested", "False", "TestFailed"), &failed)).await;
        lab.says(worker_says("w1", ("Ready", "False", "TestFailed"), &failed)).await;
        lab.operator.pass(HOUR).await;
        let tries = lab.world.downloads();
        assert!((3..=7).contains(&tries), "{tries} tries in an hour");
        let kept = lab.world.pve.world(|world| world.volumes("pve1", "local", "import"));
        assert_eq!(kept, ["import/debian-12-worker.qcow2"], "nothing is kept");
        assert!(lab.world.ours().is_empty(), "no VM was made");
        let worker = lab.world.worker("w1").await.unwrap();
        assert_eq!(worker.status.unwrap().phase.as_deref(), Some("Configured"));
        lab.world.edit("w1", corrected).await;
        lab.operator.pass(Duration::from_secs(120)).await;
        lab.tested("w1").await;
        assert_eq!(lab.world.downloads(), tries + 1);
    });
}

const OTHER: &str = "https://other.example.org/worker.img";

fn corrected() -> Value {
    json!({"spec": {"image": {"url": DEMO_IMAGE}}})
}

#[test]
fn a_checksum_that_does_not_fit() {
    let wrong = DownloadSpec { sha256: Some("0".repeat(64)), ..DownloadSpec::default() };
    let words = ["checksum mismatch", "image.checksum", "correct one of them"];
    fails(wrong, from(OTHER), &words, corrected());
}

#[test]
fn a_url_that_is_not_found() {
    let gone = DownloadSpec { failure: Some(DownloadFailure::NotFound), ..DownloadSpec::default() };
    fails(gone, from(OTHER), &["404", "image.url"], corrected());
}

#[test]
fn a_url_that_cannot_be_reached() {
    let away = DownloadSpec { failure: Some(DownloadFailure::Refused), ..DownloadSpec::default() };
    fails(away, from(OTHER), &["refused", "the host reaches it"], corrected());
    let unknown = from("https://nowhere.example.net/worker.img");
    fails(DownloadSpec::default(), unknown, &["unable to resolve", "image.url"], corrected());
}

#[test]
fn the_query_of_a_url_is_not_told() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        let url = "https://other.example.org/worker.img?X-Sig=s3cr3t";
        let gone = DownloadSpec { failure: Some(DownloadFailure::NotFound), ..DownloadSpec::default() };
        scenario.downloads.insert(url.into(), gone);
        let mut lab = Lab::of(scenario, json!({})).await;
        lab.declare("w1", from(url)).await;
        let words = ["https://other.example.org/worker.img?…'", "404"];
        lab.says(worker_says("w1", ("Tested", "False", "TestFailed"), &words)).await;
        lab.operator.pass(Duration::from_secs(60)).await;
        // Events and the log have their words from the same conclusion.
        let status = lab.world.kube.objects("stevedore.dev", "workers")[0]["status"].to_string();
        assert!(status.contains("worker.img?…") && !status.contains("s3cr3t"), "{status}");
    });
}

#[test]
fn a_download_that_does_not_end_holds_nobody_up_for_ever() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        let good = scenario.downloads[DEMO_IMAGE].clone();
        let hanging = DownloadSpec { seconds: Some(Seconds(1e7)), ..good };
        scenario.downloads.insert(OTHER.into(), hanging);
        let mut lab = Lab::of(scenario, json!({})).await;
        lab.declare("w1", from(OTHER)).await;
        lab.operator.pass(Duration::from_secs(60)).await;
        lab.declare("w2", by_url("local")).await;
        lab.operator.pass(Duration::from_secs(25 * 60)).await;
        assert_eq!(lab.world.downloads(), 1, "the same file on the same storage is on its way, for all that is known");
        lab.operator.pass(Duration::from_secs(8 * 60)).await;
        lab.tested("w2").await;
        lab.tested("w1").await;
        assert_eq!(lab.world.downloads(), 2, "it is there now, wherever it came from");
    });
}

#[test]
fn a_download_that_hung_is_the_tests_result_and_asked_for_anew() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        scenario.downloads.get_mut(DEMO_IMAGE).unwrap().seconds = Some(Seconds(1e7));
        let mut lab = Lab::of(scenario, json!({})).await;
        lab.declare("w1", by_url("local")).await;
        let words = ["the storage local could not be downloaded", "30 min", "on pve1", "UPID:pve1:"];
        lab.says(worker_says("w1", ("Tested", "False", "TestFailed"), &words)).await;
        assert_eq!(lab.world.downloads(), 1);
        lab.operator.pass(Duration::from_secs(5 * 60)).await;
        assert_eq!(lab.world.downloads(), 2);
    });
}

#[test]
fn many_workers_go_by_one_failure() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        scenario.downloads.get_mut(DEMO_IMAGE).unwrap().failure = Some(DownloadFailure::NotFound);
        let mut lab = Lab::of(scenario, json!({})).await;
        for name in ["w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8"] {
            lab.declare(name, by_url("local")).await;
        }
        for name in ["w1", "w2", "w5", "w8"] {
            lab.says(worker_says(name, ("Tested", "False", "TestFailed"), &["404"])).await;
        }
        lab.operator.pass(HOUR).await;
        let tries = lab.world.downloads();
        assert!((3..=8).contains(&tries), "{tries} tries in an hour, as for one worker");
        // Who asks sees it tried.
        lab.ask("now").await;
        lab.operator.pass(Duration::from_secs(60)).await;
        assert_eq!(lab.world.downloads(), tries + 1);
    });
}

#[test]
fn an_image_of_another_format() {
    let packed = DownloadSpec { format: "xz".into(), ..DownloadSpec::default() };
    fails(packed, from(OTHER), &["failed to verify file", "image.format"], corrected());
}

#[test]
fn rights_that_only_a_download_needs() {
    for (privilege, path) in [("Datastore.AllocateTemplate", "/storage/local"), ("Sys.AccessNetwork", "/nodes/pve1")] {
        in_virtual_time(async {
            let mut scenario = Scenario::default_demo();
            scenario.roles.get_mut("Stevedore").unwrap().retain(|name| name != privilege);
            let mut lab = Lab::of(scenario, json!({})).await;
            lab.deploy("w1", json!({})).await;
            lab.says(hypervisor_says(("Authorized", "True", "Authorized"), &[])).await;
            lab.declare("w2", by_url("local")).await;
            let words = [privilege, path];
            lab.says(hypervisor_says(("Authorized", "False", "PrivilegesMissing"), &words)).await;
            lab.says(worker_says("w2", ("Tested", "False", "TestFailed"), &words)).await;
            assert_eq!(lab.world.ours().len(), 1, "{DEMO_TOKEN}");
            // Who needs nothing downloaded goes on.
            lab.deploy("w3", json!({})).await;
            lab.delete("w2").await;
            lab.gone("w2").await;
            lab.says(hypervisor_says(("Authorized", "True", "Authorized"), &[])).await;
        });
    }
}

#[test]
fn an_image_that_is_there_is_used_again() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.deploy("w1", by_url("local")).await;
        lab.deploy("w2", from("https://mirror.example.org/other-name.img")).await;
        assert_eq!(lab.world.downloads(), 1, "the same checksum is the same image, wherever it comes from");
        lab.delete("w1").await;
        lab.gone("w1").await;
        lab.deploy("w1", by_url("local")).await;
        assert_eq!(lab.world.downloads(), 1);
        let kept = lab.world.pve.world(|world| world.volumes("pve1", "local", "import"));
        let name = kept.iter().find(|name| name.starts_with("import/stevedore-")).unwrap().clone();
        lab.world.pve.world(|world| world.delete_volume("pve1", "local", &name));
        lab.deploy("w3", by_url("local")).await;
        assert_eq!(lab.world.downloads(), 2, "it was deleted by hand");
    });
}

#[test]
fn another_url_or_storage_of_the_same_image_is_the_same_vm() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.deploy("w1", by_url("local")).await;
        let before: Vec<u32> = lab.world.ours().into_keys().collect();
        for edit in [
            json!({"spec": {"image": {"url": "https://mirror.example.org/worker.img"}}}),
            json!({"spec": {"proxmox": {"imageStorage": "nfs1"}}}),
            json!({"spec": {"image": {"format": "Qcow2"}}}),
        ] {
            lab.world.edit("w1", edit).await;
            lab.operator.pass(Duration::from_secs(10)).await;
            lab.tested("w1").await;
        }
        assert!(lab.world.ours().keys().eq(&before), "the VM stayed");
        assert_eq!(lab.world.downloads(), 1);
    });
}

#[test]
fn another_image_takes_another_vm() {
    let template = json!({"spec": {"proxmox": {"imageStorage": null},
        "image": {"template": "debian-worker", "url": null, "checksum": null}}});
    for (edit, words) in [
        (with_checksum("b"), vec!["image.checksum", "bbbb"]),
        (json!({"spec": {"image": {"format": "Raw"}}}), vec!["image.format", "qcow2", "raw"]),
        (template, vec!["image.checksum sha256:", "image.template debian-worker"]),
    ] {
        in_virtual_time(async {
            let mut lab = Lab::new().await;
            lab.deploy("w1", by_url("local")).await;
            let before = lab.sight();
            let declared = lab.world.worker("w1").await.unwrap().spec;
            lab.world.edit("w1", edit.clone()).await;
            let words = [&words[..], &["delete this Worker and create it again"]].concat();
            lab.refuses(&before, worker_says("w1", ("Stalled", "True", "RedeployNeeded"), &words)).await;
            let back = worker("w1", &by_url("local"));
            assert_eq!(declared, serde_json::from_value(back["spec"].clone()).unwrap());
            let back = merged(json!({"spec": {"image": {"format": null}}}), &by_url("local"));
            lab.world.edit("w1", back).await;
            let stalled = worker_says("w1", ("Stalled", "True", "RedeployNeeded"), &[]);
            assert!(lab.is_over(stalled).await, "it is as it was");
        });
    }
}

#[test]
fn a_template_is_not_an_image() {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        let before = lab.sight();
        lab.world.edit("w1", by_url("local")).await;
        let words = ["image.template debian-worker", "image.checksum sha256:"];
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", "RedeployNeeded"), &words)).await;
    });
}

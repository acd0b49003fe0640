//! What a declaration names and the hypervisor does not have.

use serde_json::{Value, json};
use stevedore::simulator::scenario::{MachineSpec, Release, Scenario};

use super::lab::{Lab, worker_says};
use crate::crash::world::in_virtual_time;

/// A worker that is declared like this stalls for this reason.
fn stalls(scenario: Scenario, patch: Value, reason: &'static str, words: &[&str]) {
    in_virtual_time(async {
        let mut lab = Lab::of(scenario, json!({})).await;
        let before = lab.sight();
        lab.declare("w1", patch).await;
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", reason), words)).await;
        lab.says(worker_says("w1", ("Ready", "False", reason), words)).await;
        let worker = lab.world.worker("w1").await.unwrap();
        assert_eq!(worker.status.unwrap().phase.as_deref(), Some("Configured"));
    });
}

fn placed(host: &str, storage: &str) -> Value {
    json!({"spec": {"proxmox": {"host": host, "storage": storage}}})
}

#[test]
fn an_unknown_storage() {
    let words = ["pve1", "\"fast\"", "local-lvm", "Datastore.Audit", "/storage/fast"];
    stalls(Scenario::default_demo(), placed("pve1", "fast"), "StorageMissing", &words);
}

#[test]
fn a_storage_that_takes_no_disks() {
    let words = ["local", "backup", "Disk image", "choose another"];
    stalls(Scenario::default_demo(), placed("pve1", "local"), "StorageMissing", &words);
}

#[test]
fn a_storage_without_snapshots() {
    let words = ["thick", "type lvm", "choose one of", "lvmthin"];
    stalls(Scenario::default_demo(), placed("pve1", "thick"), "StorageSnapshotsUnknown", &words);
    let old = Scenario::demo_of(Release::V8);
    stalls(old, placed("pve1", "thick"), "StorageSnapshotsUnsupported", &words);
}

#[test]
fn a_missing_template() {
    let patch = json!({"spec": {"image": {"template": "fedora-worker"}}});
    let words = ["pve1", "\"fedora-worker\"", "must be on the worker's own host"];
    stalls(Scenario::default_demo(), patch, "TemplateMissing", &words);
}

#[test]
fn two_templates_of_one_name() {
    let mut scenario = Scenario::default_demo();
    let template = scenario.machines.iter().find(|machine| machine.vmid == 9001).unwrap();
    let mut config = template.config.clone();
    config.retain(|key, _| !matches!(key.as_str(), "scsi0" | "ide2"));
    scenario.machines.push(MachineSpec { vmid: 9100, config, ..template.clone() });
    stalls(scenario, json!({}), "TemplateAmbiguous", &["pve1", "9001", "9100", "by its id"]);
}

#[test]
fn an_unknown_bridge() {
    let patch =
        json!({"spec": {"networks": [{"name": "lan", "bridge": "vmbr0"}, {"name": "data", "bridge": "vmbr9"}]}});
    let words = ["pve1", "\"vmbr9\"", "vmbr0", "SDN.Use", "/sdn/zones/localnetwork/vmbr9"];
    stalls(Scenario::default_demo(), patch, "BridgeMissing", &words);
}

#[test]
fn an_unknown_host() {
    let words = ["\"pve7\"", "pve1, pve2, pve3"];
    stalls(Scenario::default_demo(), placed("pve7", "local-lvm"), "HostMissing", &words);
}

#[test]
fn a_host_that_is_too_small() {
    let sized = |resources: Value| json!({"spec": {"resources": resources}});
    let words = ["17 CPUs", "pve1", "has 16", "never start", "maxConcurrentTasks"];
    stalls(Scenario::default_demo(), sized(json!({"cpus": 17})), "HostTooSmall", &words);
    let words = ["132096 MiB", "pve1", "has 131072 MiB", "never start"];
    stalls(Scenario::default_demo(), sized(json!({"memory": "129Gi"})), "HostTooSmall", &words);
}

#[test]
fn a_host_that_is_off_and_comes_back() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.world.pve.world(|world| world.power_cut("pve3"));
        let before = lab.sight();
        lab.declare("w1", placed("pve3", "local-lvm")).await;
        let words = ["pve3", "offline", "wait until it is back"];
        // It comes back by itself, so nothing is stalled: whoever waits for the worker goes on waiting.
        lab.refuses(&before, worker_says("w1", ("Reconciling", "True", "HostOffline"), &words)).await;
        lab.world.pve.world(|world| world.bring_back("pve3"));
        lab.tested("w1").await;
    });
}

#[test]
fn no_free_vm_id() {
    in_virtual_time(async {
        let range = json!({"spec": {"proxmox": {"vmIdRange": {"min": 5000, "max": 5000}}}});
        let mut lab = Lab::of(Scenario::default_demo(), range).await;
        lab.deploy("w1", json!({})).await;
        let before = lab.sight();
        lab.declare("w2", json!({})).await;
        let words = ["5000 and 5000", "proxmox.vmIdRange", "widen"];
        lab.refuses(&before, worker_says("w2", ("Stalled", "True", "VmIdRangeExhausted"), &words)).await;
        lab.world.edit_hypervisor(json!({"spec": {"proxmox": {"vmIdRange": {"max": 5001}}}})).await;
        lab.tested("w2").await;
    });
}

#[test]
fn an_image_without_guest_agent() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        let rule = serde_json::from_value(json!({"name": "w1", "agent": "absent"})).unwrap();
        scenario.guests.push(rule);
        let mut lab = Lab::of(scenario, json!({})).await;
        let strangers = lab.world.strangers();
        lab.declare("w1", json!({})).await;
        let words = ["guest", "did not answer within 300 s", "qemu-guest-agent"];
        lab.says(worker_says("w1", ("Tested", "False", "TestFailed"), &words)).await;
        lab.says(worker_says("w1", ("Ready", "False", "TestFailed"), &words)).await;
        lab.until("w1", |worker| worker.status.as_ref().is_some_and(|status| status.operation.is_none())).await;
        assert_eq!((lab.world.running(), lab.world.ours().len()), (0, 1), "the VM is off, and kept");
        assert_eq!(lab.world.strangers(), strangers);
    });
}

/// An edit that takes another VM stalls, and goes on when it is taken back.
fn needs_another_vm(edit: Value, back: Value, words: &[&str]) {
    in_virtual_time(async {
        let mut lab = Lab::deployed().await;
        let before = lab.sight();
        lab.world.edit("w1", edit).await;
        let words = [words, &["pve1", "5000", "delete this Worker and create it again"]].concat();
        lab.refuses(&before, worker_says("w1", ("Stalled", "True", "RedeployNeeded"), &words)).await;
        lab.restart();
        lab.refuses(&before, worker_says("w1", ("Ready", "False", "RedeployNeeded"), &words)).await;
        lab.world.edit("w1", back).await;
        lab.says(worker_says("w1", ("Ready", "True", "TestPassed"), &[])).await;
        assert_eq!(lab.sight(), before);
    });
}

/// The image is edited when the first test has come to `step`: the VM is that of the image before, and so it is said.
fn another_image_during_the_first_test(step: &str, restarts: bool) {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare("w1", json!({})).await;
        lab.until("w1", |worker| {
            let operation = worker.status.as_ref().and_then(|status| status.operation.clone()).unwrap_or_default();
            operation["step"] == step && (step != "Create" || !operation["task"].is_null())
        })
        .await;
        lab.world.edit("w1", json!({"spec": {"image": {"template": "9002"}}})).await;
        if restarts {
            lab.restart();
        }
        let words = ["image.template", "\"debian-worker\"", "\"9002\"", "5000", "delete this Worker"];
        lab.says(worker_says("w1", ("Stalled", "True", "RedeployNeeded"), &words)).await;
        let status = lab.world.worker("w1").await.unwrap().status.unwrap();
        assert_eq!(status.applied.unwrap().summary["image.template"], "debian-worker");
        assert_eq!(status.last_test, None, "no VM of that image was tested");
        assert_eq!((status.phase.as_deref(), lab.world.running()), (Some("ShutDown"), 0));
        lab.restart();
        lab.operator.pass(std::time::Duration::from_secs(600)).await;
        lab.says(worker_says("w1", ("Ready", "False", "RedeployNeeded"), &words)).await;
        lab.world.edit("w1", json!({"spec": {"image": {"template": "debian-worker"}}})).await;
        lab.tested("w1").await;
        assert_eq!(lab.world.ours().keys().copied().collect::<Vec<_>>(), [5000], "the VM was that image's all along");
    });
}

#[test]
fn another_image_while_the_vm_is_made() {
    another_image_during_the_first_test("Create", false);
    another_image_during_the_first_test("Create", true);
}

#[test]
fn another_image_while_the_vm_boots() {
    another_image_during_the_first_test("Start", false);
    another_image_during_the_first_test("Start", true);
}

#[test]
fn another_storage() {
    let storage = |name: &str| json!({"spec": {"proxmox": {"storage": name}}});
    needs_another_vm(storage("nfs1"), storage("local-lvm"), &["proxmox.storage", "\"local-lvm\"", "\"nfs1\""]);
}

#[test]
fn another_image() {
    let template = |name: &str| json!({"spec": {"image": {"template": name}}});
    let words = ["image.template", "\"debian-worker\"", "\"9002\""];
    needs_another_vm(template("9002"), template("debian-worker"), &words);
}

#[test]
fn another_host() {
    let host = |name: &str| json!({"spec": {"proxmox": {"host": name}}});
    needs_another_vm(host("pve2"), host("pve1"), &["proxmox.host", "\"pve1\"", "\"pve2\""]);
}

#[test]
fn an_image_that_is_larger_than_the_default_disk() {
    in_virtual_time(async {
        let mut scenario = Scenario::default_demo();
        let template = scenario.machines.iter_mut().find(|machine| machine.vmid == 9001).unwrap();
        let disk = template.config.get_mut("scsi0").unwrap();
        *disk = disk.split_once(",size=").map(|(volume, _)| format!("{volume},size=200G")).unwrap();
        let mut lab = Lab::of(scenario, json!({})).await;
        lab.deploy("w1", json!({})).await;
        lab.operator.pass(std::time::Duration::from_secs(300)).await;
        let status = lab.world.worker("w1").await.unwrap().status.unwrap();
        assert_eq!(status.resources.unwrap().disk.to_string(), "200Gi");
        assert_eq!(status.applied.unwrap().summary["resources.disk"], "200Gi");
        // It stays, although nobody reads it again.
        let version = lab.world.worker("w1").await.unwrap().metadata.resource_version;
        lab.restart();
        lab.operator.pass(std::time::Duration::from_secs(600)).await;
        assert_eq!(lab.world.worker("w1").await.unwrap().metadata.resource_version, version);
        lab.world.edit("w1", json!({"spec": {"resources": {"disk": "250Gi"}}})).await;
        lab.tested("w1").await;
        lab.world.pve.world(|world| world.remove_machine(5000));
        let status = lab.until("w1", |worker| worker.status.clone().unwrap().vm.is_none()).await.status.unwrap();
        assert_eq!(status.resources.unwrap().disk.to_string(), "250Gi", "without a VM it is the size that it will get");
    });
}

//! Workers whose VM is made from an image by URL: downloaded, imported, tested, deleted, with every mishap on the way.

use kube::ResourceExt;
use serde_json::{Value, json};
use stevedore::simulator::scenario::{DEMO_IMAGE, MachineSpec, Release, Scenario};

use super::lives::{Begin, Story, Until, at_each_effect, at_each_write, undisturbed};
use super::mishaps::{Loss, MISHAPS, erasures};
use super::world::{World, by_url, in_virtual_time, is_tested, merged, worker};
use crate::support::seed::seed;

fn create(names: &[&str], patch: &Value) -> Begin {
    let of_url = merged(by_url("local"), patch);
    Begin::Create(names.iter().map(|name| worker(name, &of_url)).collect())
}

fn plain() -> Story {
    Story::of("by URL: deploy, test, delete", vec![(create(&["w1"], &json!({})), Until::Tested)])
}

/// Files on both sides, on 8.4.
fn on_files() -> Story {
    let patch = json!({"spec": {"proxmox": {"storage": "nfs1", "imageStorage": "nfs1"}}});
    let story = Story::of("by URL onto NFS on 8.4", vec![(create(&["w1"], &patch), Until::Tested)]);
    Story { scenario: Scenario::demo_of(Release::V8), ..story }
}

fn edited_in_mid_download() -> Story {
    let memory = json!({"spec": {"resources": {"memory": "7Gi"}}});
    let stages = vec![(create(&["w1"], &json!({})), Until::Downloading), (Begin::Edit(memory), Until::Tested)];
    Story::of("by URL: edited in mid-download", stages)
}

fn deleted_in_mid_download() -> Story {
    Story::of("by URL: deleted in mid-download", vec![(create(&["w1"], &json!({})), Until::Downloading)])
}

fn deleted_in_mid_import() -> Story {
    Story::of("by URL: deleted in mid-import", vec![(create(&["w1"], &json!({})), Until::Cloning)])
}

const OTHER_TEMPLATE: &str = "debian-next";

/// The demo world with one more template on the host.
fn with_other_template() -> Scenario {
    let mut scenario = Scenario::default_demo();
    let is_template = |machine: &&MachineSpec| machine.config["name"] == "debian-worker" && machine.node == "pve1";
    let mut other = scenario.machines.iter().find(is_template).unwrap().clone();
    other.vmid = 9009;
    other.config = other.config.into_iter().map(|(key, value)| (key, value.replace("9001", "9009"))).collect();
    other.config.insert("name".into(), OTHER_TEMPLATE.into());
    scenario.machines.push(other);
    scenario
}

/// What the VM is made from changes while it is made: by another way, or from another template.
fn source_edited_in_mid_make() -> [Story; 3] {
    let template = |name: &str| {
        let image = json!({"template": name, "url": null, "checksum": null});
        json!({"spec": {"proxmox": {"imageStorage": null}, "image": image}})
    };
    let story = |name, from: Value, to: Value| {
        let begin = Begin::Create(vec![worker("w1", &from)]);
        let stages = vec![(begin, Until::Cloning), (Begin::Edit(to), Until::TestedOrOutdated)];
        Story { scenario: with_other_template(), ..Story::of(name, stages) }
    };
    [
        story("source edited in mid-make: template to URL", json!({}), by_url("local")),
        story("source edited in mid-make: URL to template", by_url("local"), template("debian-worker")),
        story("source edited in mid-make: another template", json!({}), template(OTHER_TEMPLATE)),
    ]
}

#[test]
fn an_edit_of_the_source_in_mid_make_survives_every_mishap() {
    for story in source_edited_in_mid_make() {
        at_each_effect(&story, &MISHAPS);
    }
}

#[test]
fn an_undisturbed_import_needs_no_configuration() {
    let (effects, writes) = undisturbed(&plain());
    let calls: Vec<String> = effects.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    println!(
        "one life by URL: {} changing calls, {} writes to Kubernetes\n{}",
        calls.len(),
        writes.len(),
        calls.join("\n")
    );
    // In the guest its packages are updated.
    let ends = ["/download-url", "/qemu", "/resize", "/status/start", "/agent/exec", "/status/shutdown", "/qemu/5000"];
    assert_eq!(calls.len(), ends.len(), "{calls:?}");
    assert!(calls.iter().zip(ends).all(|(call, end)| call.ends_with(end)), "{calls:?}");
    for story in [on_files(), edited_in_mid_download(), deleted_in_mid_download(), deleted_in_mid_import()] {
        let downloads = undisturbed(&story).0.iter().filter(|call| call.path.ends_with("/download-url")).count();
        assert_eq!(downloads, 1, "{}", story.name);
    }
}

#[test]
fn every_effect_of_an_import_survives_every_mishap() {
    at_each_effect(&plain(), &MISHAPS);
}

#[test]
fn every_effect_of_an_import_onto_files_survives_every_mishap() {
    at_each_effect(&on_files(), &MISHAPS);
}

#[test]
fn every_write_of_an_import_survives_every_mishap() {
    at_each_write(&plain(), &MISHAPS);
}

#[test]
fn what_is_erased_at_an_effect_of_an_import_makes_no_second_vm() {
    at_each_effect(&plain(), &erasures(&[Loss::Operation, Loss::Status, Loss::HypervisorStatus]));
}

#[test]
fn edits_and_deletions_in_the_middle_survive_every_mishap() {
    for story in [edited_in_mid_download(), deleted_in_mid_download(), deleted_in_mid_import()] {
        at_each_effect(&story, &MISHAPS);
    }
}

/// Declares workers on these hosts and waits until all are tested; how often the image was downloaded, and the VMs that
/// there are.
async fn many(hosts: &[&str], storage: &str, restarts: bool) -> (usize, usize) {
    let world = World::with(seed(), Scenario::default_demo(), json!({})).await;
    for (number, host) in hosts.iter().enumerate() {
        let patch = json!({"spec": {"proxmox": {"host": host}}});
        world.create(worker(&format!("w{number}"), &merged(by_url(storage), &patch))).await;
    }
    let mut operator = world.operator();
    if restarts {
        let begun = async |world: &World| world.downloads() > 0;
        assert!(operator.run(super::lives::LONG, &begun).await);
        operator = world.operator();
    }
    let all = async |world: &World| world.all_workers().iter().all(is_tested);
    assert!(
        operator.run(super::lives::LONG, &all).await,
        "{:?}",
        world.all_workers().iter().map(ResourceExt::name_any)
    );
    (world.downloads(), world.ours().len())
}

#[test]
fn workers_that_want_the_same_image_have_it_downloaded_once() {
    for restarts in [false, true] {
        let of = |hosts: &[&str], storage| in_virtual_time(many(hosts, storage, restarts));
        assert_eq!(of(&["pve1"; 5], "local"), (1, 5), "{DEMO_IMAGE}");
        assert_eq!(of(&["pve1", "pve2", "pve3", "pve1"], "nfs1"), (1, 4), "shared by all hosts");
        let own = of(&["pve1", "pve2", "pve1"], "local");
        assert_eq!(own, (2, 3), "each host has its own");
    }
}

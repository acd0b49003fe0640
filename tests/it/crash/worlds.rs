//! Other lives than deploy, test, delete; and other worlds than the plain one.

use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::scenario::{Release, Scenario};

use super::lives::{Begin, Story, Until, at_each_effect, undisturbed};
use super::mishaps::{Loss, MISHAPS, Mishap, erasures};
use super::world::worker;

/// Kills, and lost calls and answers.
const KILLS_AND_LOSSES: [Mishap; 4] =
    [Mishap::KilledBefore, Mishap::KilledAfter, Mishap::NeverArrives, Mishap::AnswerLost];

fn manual() -> Value {
    json!({"spec": {"test": {"policy": "Manual"}}})
}

fn asked(value: &str) -> Value {
    json!({"metadata": {"annotations": {"stevedore.dev/test-requested-at": value}}})
}

fn memory(amount: &str) -> Value {
    json!({"spec": {"resources": {"memory": amount}}})
}

fn create(patch: &Value) -> Begin {
    Begin::Create(vec![worker("w1", patch)])
}

fn tests_by_hand() -> Story {
    let stages = vec![
        (create(&manual()), Until::Configured),
        (Begin::Edit(asked("1")), Until::Asked("1")),
        (Begin::Edit(asked("2")), Until::Asked("2")),
    ];
    Story::of("tests by hand", stages)
}

fn edit_at_rest() -> Story {
    let networks = json!({"spec": {"networks": [
        {"name": "lan", "bridge": "vmbr0"},
        {"name": "data", "bridge": "vmbr1", "ipv4": {"method": "Static", "address": "10.77.1.50/24"}},
    ]}});
    let stages = vec![
        (create(&manual()), Until::Configured),
        (Begin::Edit(asked("1")), Until::Asked("1")),
        (Begin::Edit(memory("7Gi")), Until::Applied("memory", "7168")),
        (Begin::Edit(networks), Until::Applied("ipconfig1", "ip=10.77.1.50/24")),
    ];
    Story::of("edited at rest", stages)
}

fn edit_in_mid_test() -> Story {
    let stages = vec![(create(&json!({})), Until::Booting), (Begin::Edit(memory("7Gi")), Until::Tested)];
    Story::of("edited in mid-test", stages)
}

fn deletion_in_mid_clone() -> Story {
    Story::of("deleted in mid-clone", vec![(create(&json!({})), Until::Cloning)])
}

fn two_networks(release: Release) -> Story {
    let networks = json!({"spec": {"networks": [
        {"name": "lan", "bridge": "vmbr0",
         "ipv4": {"method": "Static", "address": "10.77.0.150/24", "gateway": "10.77.0.1"}},
        {"name": "data", "bridge": "vmbr1", "ipv4": {"method": "Static", "address": "10.77.1.150/24"}},
    ]}});
    let name = if release == Release::V8 { "two networks on 8.4" } else { "two networks" };
    let scenario = Scenario::demo_of(release);
    Story { scenario, ..Story::of(name, vec![(create(&networks), Until::Tested)]) }
}

fn two_workers() -> Story {
    let both = ["w1", "w2"].map(|name| worker(name, &json!({}))).to_vec();
    let hypervisor = json!({"spec": {"limits": {"parallelLaunches": 1}}});
    let story = Story::of("two workers, one launch at a time", vec![(Begin::Create(both), Until::Tested)]);
    Story { hypervisor, workers: 2, ..story }
}

fn late_watch() -> Story {
    Story { name: "the watch is late", stale: Duration::from_secs(8), ..edit_in_mid_test() }
}

#[test]
fn every_other_life_ends_well() {
    let lives = [
        tests_by_hand(),
        edit_at_rest(),
        edit_in_mid_test(),
        deletion_in_mid_clone(),
        two_networks(Release::V9),
        two_networks(Release::V8),
        Story { scenario: Scenario::demo_of(Release::V8), name: "deploy, test, delete on 8.4", ..Story::plain() },
        two_workers(),
    ];
    for story in lives {
        let (effects, writes) = undisturbed(&story);
        println!("{}: {} changing calls, {} writes to Kubernetes", story.name, effects.len(), writes.len());
    }
}

#[test]
fn a_late_watch_costs_time_and_no_calls() {
    let number = |story: &Story| undisturbed(story).0.len();
    assert_eq!(number(&late_watch()), number(&edit_in_mid_test()));
}

#[test]
fn an_edit_at_rest_survives_kills_and_losses() {
    at_each_effect(&edit_at_rest(), &KILLS_AND_LOSSES);
}

#[test]
fn an_edit_in_mid_test_survives_kills_and_losses() {
    at_each_effect(&edit_in_mid_test(), &KILLS_AND_LOSSES);
}

#[test]
fn a_deletion_in_mid_clone_survives_every_mishap() {
    at_each_effect(&deletion_in_mid_clone(), &MISHAPS);
    at_each_effect(&deletion_in_mid_clone(), &erasures(&[Loss::Operation, Loss::Status]));
}

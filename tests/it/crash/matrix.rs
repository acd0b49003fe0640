//! Every effect of deploy, test and delete, met by every mishap.

use super::lives::{Story, at_each_effect, at_each_effect_inside, at_each_write, at_some_writes, undisturbed};
use super::mishaps::MISHAPS;

#[test]
fn an_undisturbed_life_has_few_effects_and_writes() {
    let (effects, writes) = undisturbed(&Story::plain());
    let calls: Vec<String> = effects.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    println!("one life: {} changing calls, {} writes to Kubernetes\n{}", calls.len(), writes.len(), calls.join("\n"));
    for write in &writes {
        println!(
            "{:?} {}/{} {}",
            write.verb,
            write.target.resource,
            write.target.subresource.as_deref().unwrap_or(""),
            write.body
        );
    }
    assert!(calls.len() >= 6, "clone, configure, grow, start, shut down, destroy: {calls:?}");
}

#[test]
fn every_effect_on_the_hypervisor_survives_every_mishap() {
    at_each_effect(&Story::plain(), &MISHAPS);
}

#[test]
fn an_update_and_its_reboot_survive_every_mishap() {
    at_each_effect_inside(&Story::updated(), &MISHAPS, 2);
}

#[test]
fn what_is_written_of_an_update_survives_every_mishap() {
    at_some_writes(&Story::updated(), &MISHAPS, |call| {
        let body = call.body.to_string();
        ["\"step\":\"Update\"", "\"step\":\"Reboot\"", "lastUpdate"].iter().any(|word| body.contains(word))
    });
}

#[test]
fn every_write_to_kubernetes_survives_every_mishap() {
    at_each_write(&Story::plain(), &MISHAPS);
}

//! The operator is killed twenty times while a session of twenty tasks runs on four workers: some commands fail, some take
//! too long, and both are tried again.

use std::collections::BTreeMap;

use serde_json::json;

use super::lab::{Kills, PER_STORAGE, SLOTS, VMS, begun, ends, is_over, session, vms, work, world};
use super::rules::Rules;
use crate::crash::lives::tell;
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::seed;

/// How often the operator is killed in a night.
const KILLS: u64 = 20;
const NIGHTS: u64 = 4;
/// The changes of an undisturbed night, divided by the kills, twice: they are spread over the whole of it.
const WITHIN: u64 = 18;
const WORKERS: [(&str, &str); 4] = [("w1", "pve1"), ("w2", "pve1"), ("w3", "pve2"), ("w4", "pve3")];

/// How each task ends, and how many attempts are made.
fn expected() -> BTreeMap<u32, (String, String, usize)> {
    let end = |phase: &str, reason: &str, attempts| (phase.to_owned(), reason.to_owned(), attempts);
    let expected = |id: u32, name: &str| match id {
        144.. => end("Failed", "TimedOut", 2),
        _ if name.parse::<u32>().is_ok() => end("Failed", "CommandFailed", 2),
        _ => end("Succeeded", "Succeeded", 1),
    };
    vms().iter().map(|vm| (vm.id, expected(vm.id, &vm.name))).collect()
}

async fn declare(world: &World) {
    let run = json!({"spec": {"run": {
        "command": ["sh", "-c", "sleep $STEVEDORE_VM_ID; exit $STEVEDORE_VM_NAME"], "timeout": "143s", "retries": 1,
    }}});
    let all: Vec<u32> = vms().iter().map(|vm| vm.id).collect();
    world.create(session("night", &all, &run)).await;
}

/// One night; how many operators were killed.
async fn night(seed: u64, kills: u64) -> Result<u32, String> {
    let world = world(seed, &WORKERS, &json!({})).await;
    let rules = Rules::of(&world);
    declare(&world).await;
    let killed = work(&world, &rules, &Kills::new(seed, kills, WITHIN), async |world: &World| is_over(world)).await?;
    let (begun, ends) = (begun(&world), ends(&world));
    let found: BTreeMap<_, _> =
        ends.into_iter().map(|(vm, (phase, reason, _))| (vm, (phase, reason, begun[&vm]))).collect();
    if found != expected() {
        return Err(format!("it ended as {found:?}"));
    }
    let phase = world.session("night").await.and_then(|one| one.status).and_then(|status| status.phase);
    if phase.as_deref() != Some("Failed") {
        return Err(format!("the session ended as {phase:?}"));
    }
    if rules.most() == (SLOTS, PER_STORAGE) {
        Ok(killed)
    } else {
        Err(format!("no limit was reached: {:?}", rules.most()))
    }
}

#[test]
fn an_undisturbed_night_ends_as_its_commands_say() {
    assert_eq!(expected().len(), VMS as usize);
    assert_eq!(in_virtual_time(night(seed(), 0)), Ok(0));
}

#[test]
fn twenty_kills_in_a_night_begin_nothing_twice() {
    let (mut violations, mut killed) = (Vec::new(), 0);
    for number in 0..NIGHTS {
        match in_virtual_time(night(seed() * 1000 + number, KILLS)) {
            Ok(kills) => killed += kills,
            Err(text) => violations.push(format!("night {number}: {text}")),
        }
    }
    tell(&format!("nights of {VMS} tasks, {killed} kills"), usize::try_from(NIGHTS).unwrap(), &violations);
    assert!(u64::from(killed) > NIGHTS * KILLS / 2, "{killed} kills");
}

//! What tasks left behind in a guest that do not exist any more goes at a later launch, and nothing else does.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use stevedore::simulator::kubernetes::{Fault, Verb};
use tokio::time::Instant;

use super::lab::{is_over, session, shifts, world};
use super::rules::Rules;
use crate::crash::lives::tell;
use crate::crash::mishaps::{Arranged, MISHAPS, Mishap, Place, arrange};
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::seed;

/// Longer than a guard must be there before it is removed.
const LATER: Duration = Duration::from_secs(660);
/// The session that is deleted has these VMs, the one that stays those, and the one that comes later all of them.
const DELETED: [u32; 2] = [110, 112];
const KEPT: [u32; 2] = [114, 116];

async fn declare(world: &World, name: &str, vms: &[u32]) {
    world.create(session(name, vms, &json!({"spec": {"run": {"command": ["sleep", "10"]}}}))).await;
}

/// The tasks (UIDs) of a session, or of all.
fn tasks(world: &World, session: Option<&str>) -> BTreeSet<String> {
    let wanted = |name: &str| session.is_none_or(|session| session == name);
    let tasks = world.all_tasks().into_iter().filter(|task| wanted(&task.spec.session_ref.name));
    tasks.filter_map(|task| task.uid()).collect()
}

fn guarded(world: &World) -> BTreeSet<String> {
    world.guests.guards().into_iter().map(|id| id.task).collect()
}

/// Two sessions run, one of them is deleted, and much later there is a third. The answer is how many guards of the deleted one
/// are there at the end, and whether all others are.
async fn run(world: &World, arranged: &Arranged) -> Result<(usize, bool), String> {
    let rules = Rules::of(world);
    declare(world, "deleted", &DELETED).await;
    declare(world, "kept", &KEPT).await;
    let none = || {};
    shifts(world, &rules, (arranged, &none), async |world: &World| is_over(world)).await?;
    let deleted = tasks(world, Some("deleted"));
    if guarded(world) != tasks(world, None) {
        return Err(format!("{:?}", world.guests.guards()));
    }
    world.sessions().delete("deleted", &DeleteParams::default()).await.unwrap();
    let gone = Cell::new(None);
    let later = async |world: &World| {
        if gone.get().is_none() {
            world.collect();
            gone.set(tasks(world, Some("deleted")).is_empty().then(Instant::now));
        }
        gone.get().is_some_and(|gone| gone.elapsed() >= LATER)
    };
    shifts(world, &rules, (arranged, &none), later).await?;
    declare(world, "later", &[DELETED, KEPT].concat()).await;
    shifts(world, &rules, (arranged, &none), async |world: &World| is_over(world)).await?;
    let session = world.session("later").await.and_then(|one| one.status).and_then(|status| status.phase);
    if session.as_deref() != Some("Succeeded") || world.guests.starts().len() != 8 {
        return Err(format!("{session:?}, {:?}", world.guests.starts()));
    }
    let guarded = guarded(world);
    Ok((guarded.intersection(&deleted).count(), guarded.is_superset(&tasks(world, None))))
}

async fn new() -> World {
    world(seed(), &[("w1", "pve1")], &json!({})).await
}

/// The calls that remove guards, by their numbers.
fn removals(world: &World) -> Vec<u64> {
    let removes = |text: &str| text.contains("record script task_forget ");
    let calls = world.effects().into_iter().filter(|call| call.params.iter().any(|(_, value)| removes(value)));
    calls.map(|call| call.number).collect()
}

#[test]
fn a_launch_removes_what_is_gone_whatever_happens_to_that() {
    let removals = in_virtual_time(async {
        let world = new().await;
        assert_eq!(run(&world, &Arranged::default()).await, Ok((0, true)));
        removals(&world)
    });
    assert_eq!(removals.len(), 1, "one call for all of them");
    let mut violations = Vec::new();
    for mishap in MISHAPS {
        let lived = in_virtual_time(async {
            let world = new().await;
            let arranged = arrange(&world, Place::Hypervisor(removals[0]), mishap);
            let (left, kept) = run(&world, &arranged).await?;
            // Where the call was lost while the operator went on, the next launch removes them.
            let may_stay = matches!(mishap, Mishap::NeverArrives | Mishap::ProxyGivesUp | Mishap::CallLate);
            if arranged.struck.load(Ordering::Relaxed) != 1 || !kept || left > 0 && !may_stay {
                return Err(format!("{left} are left, the others are there: {kept}"));
            }
            Ok(())
        });
        violations.extend(lived.err().map(|text| format!("{mishap:?}: {text}")));
    }
    tell("guards of tasks that are gone", MISHAPS.len(), &violations);
}

#[test]
fn what_cannot_be_told_to_be_gone_stays_and_keeps_nobody_waiting() {
    in_virtual_time(async {
        let world = new().await;
        world.kube.intercept(|call| {
            let lists = call.verb == Verb::List && call.user_agent == "stevedore";
            if lists && call.target.resource == "workertasks" && call.metadata_only {
                Fault::Refuse
            } else {
                Fault::None
            }
        });
        assert_eq!(run(&world, &Arranged::default()).await, Ok((2, true)));
    });
}

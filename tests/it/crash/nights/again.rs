//! What was before is not taken for what is: a session that is made again under its name, and claims that somebody erases.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use stevedore::api::WorkerSession;
use tokio::time::Instant;

use super::lab::{Kills, begun, ends, is_over, session, work, world};
use super::rules::Rules;
use crate::crash::lives::tell;
use crate::crash::mishaps::{Loss, erase};
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::{Dice, seed};

/// The name of the second is an exit code.
const VMS: [u32; 2] = [110, 116];

fn runs(script: &str) -> Value {
    json!({"spec": {"run": {"command": ["sh", "-c", script]}}})
}

/// A session fails, or is deleted while its commands run; then there is another one of its name, whose commands succeed.
async fn again(seed: u64, in_the_middle: bool, kills: u64) -> Result<(), String> {
    let world = world(seed, &[("w1", "pve1")], &json!({})).await;
    let rules = Rules::of(&world);
    world.create(session("night", &VMS, &runs("sleep 60; exit 9"))).await;
    let first = world.session("night").await.and_then(|one| one.metadata.uid);
    let deleted = Cell::new(false);
    let is_due = |world: &World| {
        let status = |one: &WorkerSession| one.status.clone().unwrap_or_default();
        let runs = world.guests.running(world.clock.wall()).len() == 2;
        if in_the_middle { runs } else { world.all_sessions().iter().any(|one| status(one).finished_at.is_some()) }
    };
    let done = async |world: &World| {
        if !deleted.get() && is_due(world) {
            deleted.set(true);
            world.sessions().delete("night", &DeleteParams::default()).await.unwrap();
        }
        if deleted.get() && world.session("night").await.is_some_and(|one| one.metadata.uid == first) {
            world.collect();
        }
        let sessions = world.all_sessions();
        if deleted.get() && sessions.is_empty() {
            // The sooner the better: whatever is left of the first may still be about.
            world.create(session("night", &VMS, &runs("sleep 30; true"))).await;
        }
        sessions.iter().any(|one| one.metadata.uid != first) && is_over(world)
    };
    work(&world, &rules, &Kills::new(seed, kills, 12), done).await?;
    let (begun, ends) = (begun(&world), ends(&world));
    let expected = ("Succeeded".to_owned(), "Succeeded".to_owned(), 1);
    if VMS.iter().all(|vm| ends[vm] == expected && begun[vm] == 1) {
        Ok(())
    } else {
        Err(format!("{ends:?} {begun:?}"))
    }
}

#[test]
fn a_session_made_again_under_the_same_name_takes_no_old_result() {
    let (mut lives, mut violations) = (0, Vec::new());
    for in_the_middle in [false, true] {
        for kills in [0, 8] {
            lives += 1;
            let outcome = in_virtual_time(again(seed() + kills, in_the_middle, kills));
            violations
                .extend(outcome.err().map(|text| format!("in the middle: {in_the_middle}, {kills} kills: {text}")));
        }
    }
    tell("a session of the same name", lives, &violations);
}

/// Somebody erases this again and again while commands run, and operators are killed.
async fn erased(seed: u64, loss: Loss, kills: u64) -> Result<(), String> {
    let world = world(seed, &[("w1", "pve1")], &json!({})).await;
    let rules = Rules::of(&world);
    world.create(session("night", &VMS, &runs("sleep 200"))).await;
    let (dice, next) = (RefCell::new(Dice::new(seed)), Cell::new(None));
    let done = async |world: &World| {
        let runs = !world.guests.running(world.clock.wall()).is_empty();
        if runs && next.get().is_none_or(|next| next <= Instant::now()) {
            next.set(Some(Instant::now() + Duration::from_millis(1000 + dice.borrow_mut().below(20_000))));
            erase(world, loss).await;
        }
        is_over(world)
    };
    work(&world, &rules, &Kills::new(seed, kills, 5), done).await?;
    let (begun, ends) = (begun(&world), ends(&world));
    let expected = ("Succeeded".to_owned(), "Succeeded".to_owned(), 1);
    // One whose VM was powered off would have been begun anew.
    if VMS.iter().all(|vm| ends[vm] == expected && begun[vm] == 1) {
        Ok(())
    } else {
        Err(format!("{ends:?} {begun:?}"))
    }
}

#[test]
fn claims_that_are_erased_under_a_command_power_nothing_off() {
    let (mut lives, mut violations) = (0, Vec::new());
    for loss in [Loss::Claims, Loss::Status] {
        for kills in [0, 10] {
            lives += 1;
            let outcome = in_virtual_time(erased(seed() + kills, loss, kills));
            violations.extend(outcome.err().map(|text| format!("{loss:?}, {kills} kills: {text}")));
        }
    }
    tell("claims erased under commands", lives, &violations);
}

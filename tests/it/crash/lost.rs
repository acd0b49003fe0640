//! A status, or the record of the work in progress, is lost: at every effect, at every write, and at any time.

use std::time::Duration;

use super::lives::{Story, at_each_effect, at_each_write, life, tell, world_of};
use super::mishaps::{Arranged, Loss, erase, erasures};
use super::world::{World, in_virtual_time};
use crate::support::seed::{Dice, seed};

/// Lives in which something is erased at some time.
const LIVES: u64 = 24;
/// An undisturbed life takes about as long, in virtual seconds.
const LASTS: u64 = 160;
const LOSSES: [Loss; 3] = [Loss::Operation, Loss::Status, Loss::HypervisorStatus];

#[test]
fn what_is_erased_at_an_effect_makes_no_second_vm_and_no_orphan() {
    at_each_effect(&Story::whole(), &erasures(&LOSSES));
}

#[test]
fn what_is_erased_at_a_write_makes_no_second_vm_and_no_orphan() {
    // What the Hypervisor's status says is read at effects.
    at_each_write(&Story::whole(), &erasures(&[Loss::Operation, Loss::Status]));
}

/// Erases twice, at times that the dice say; the operator may be killed at the same moment.
async fn vandal(world: &World, arranged: &Arranged, dice: &mut Dice) {
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(dice.below(LASTS * 500))).await;
        let loss = LOSSES[usize::try_from(dice.below(LOSSES.len() as u64)).unwrap()];
        erase(world, loss).await;
        if dice.below(2) == 0 {
            arranged.kill.notify_one();
        }
    }
    std::future::pending::<()>().await;
}

async fn vandalised(seed: u64, story: &Story) -> Result<(), String> {
    let world = world_of(seed, story).await;
    let (arranged, mut dice) = (Arranged::default(), Dice::new(seed));
    tokio::select! {
        result = life(seed, story, &arranged, &world) => result,
        () = vandal(&world, &arranged, &mut dice) => Ok(()),
    }
}

#[test]
fn what_is_erased_at_any_time_makes_no_second_vm_and_no_orphan() {
    let story = Story::whole();
    let mut violations = Vec::new();
    for number in 0..LIVES {
        let seed = seed() * 1000 + number;
        if let Err(text) = in_virtual_time(vandalised(seed, &story)) {
            violations.push(format!("life {number}: {text}"));
        }
    }
    tell("erased at any time", usize::try_from(LIVES).unwrap(), &violations);
}

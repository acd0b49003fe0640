//! A status, or the record of the work in progress, is lost: at every effect, and at any time.

use std::time::Duration;

use super::lives::{Story, life, matrix, tell, undisturbed, world_of};
use super::mishaps::{Arranged, ERASED, Loss, Place, erase};
use super::world::{World, in_virtual_time, seed};

/// Lives whose status is erased at some time.
const LIVES: u64 = 24;
/// An undisturbed life takes about as long, in virtual seconds.
const LASTS: u64 = 110;

#[test]
fn a_status_that_is_erased_at_an_effect_makes_no_second_vm_and_no_orphan() {
    let (effects, _) = undisturbed(&Story::plain());
    matrix(&Story::plain(), effects.iter().map(|call| Place::Hypervisor(call.number)), &ERASED);
}

/// Draws numbers from a seed.
struct Dice(u64);

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's multiplier for 64 bits; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Erases twice, at times that the dice say; the operator may be killed at the same moment.
async fn vandal(world: &World, arranged: &Arranged, dice: &mut Dice) {
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(dice.below(LASTS * 500))).await;
        erase(world, if dice.below(2) == 0 { Loss::Operation } else { Loss::Status }).await;
        if dice.below(2) == 0 {
            arranged.kill.notify_one();
        }
    }
    std::future::pending::<()>().await;
}

async fn vandalised(seed: u64, story: &Story) -> Result<(), String> {
    let world = world_of(seed, story).await;
    let (arranged, mut dice) = (Arranged::default(), Dice(seed));
    tokio::select! {
        result = life(seed, story, &arranged, &world) => result,
        () = vandal(&world, &arranged, &mut dice) => Ok(()),
    }
}

#[test]
fn a_status_that_is_erased_at_any_time_makes_no_second_vm_and_no_orphan() {
    let story = Story::plain();
    let mut violations = Vec::new();
    for number in 0..LIVES {
        let seed = seed() * 1000 + number;
        if let Err(text) = in_virtual_time(vandalised(seed, &story)) {
            violations.push(format!("life {number}: {text}"));
        }
    }
    tell("erased at any time", usize::try_from(LIVES).unwrap(), &violations);
}

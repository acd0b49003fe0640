//! A worker that is tested because a task waits for it goes on with that task, and is not powered off in between.

use std::cell::Cell;

use serde_json::json;

use super::lab::{Kills, begun, ends, is_over, session, work, world};
use super::rules::Rules;
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::seed;

#[test]
fn the_only_worker_is_tested_after_a_loss_and_goes_on() {
    in_virtual_time(async {
        let world = world(seed(), &[("w1", "pve1")], &json!({})).await;
        let rules = Rules::of(&world);
        world.create(session("night", &[110], &json!({"spec": {"run": {"command": ["sleep", "120"]}}}))).await;
        let struck = Cell::new(false);
        let done = async |world: &World| {
            if !struck.get() && !world.guests.running(world.clock.wall()).is_empty() {
                struck.set(true);
                world.ours().keys().for_each(|vm| world.pve.world(|world| world.power_off_machine(*vm)));
            }
            is_over(world)
        };
        work(&world, &rules, &Kills::new(seed(), 0, 1), done).await.unwrap();
        assert_eq!((ends(&world)[&110].0.as_str(), begun(&world)[&110]), ("Succeeded", 2));
        let calls = |end: &str| world.effects().iter().filter(|call| call.path.ends_with(end)).count();
        assert_eq!(
            (calls("/status/start"), calls("/status/shutdown")),
            (2, 1),
            "for the first attempt, and for the test"
        );
        let worker = world.worker("w1").await.unwrap().status.unwrap();
        assert_eq!(worker.last_test.unwrap().result, "Passed");
    });
}

//! Workers are lost under their tasks: what runs on a worker is done again once on another one, when it is certain that it
//! runs no more on the first, and that one gets nothing before it has passed a test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use stevedore::simulator::world as pve;
use tokio::time::Instant;

use super::lab::{Kills, begun, ends, is_over, session, vms, work, world};
use super::rules::Rules;
use crate::crash::lives::tell;
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::{Dice, seed};

/// How a worker is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Accident {
    /// Somebody stops its VM.
    PoweredOff,
    /// Somebody deletes it.
    Destroyed,
    /// Its guest is rebooted from inside.
    Rebooted,
    /// Its guest answers no more, and goes on.
    Silent,
    /// Its host loses its power for a while.
    PowerCut,
    /// Its host is not to be reached for a while, and goes on.
    Isolated,
}

const ACCIDENTS: [Accident; 6] = [
    Accident::PoweredOff,
    Accident::Destroyed,
    Accident::Rebooted,
    Accident::Silent,
    Accident::PowerCut,
    Accident::Isolated,
];

/// A host is away for so long.
const AWAY: Duration = Duration::from_secs(420);

/// The accidents of a night.
#[derive(Default)]
struct Fate {
    /// Hosts that come back, and when.
    away: Vec<(Instant, String)>,
    struck: u32,
}

impl Fate {
    /// It befalls this VM.
    fn strike(&mut self, world: &World, accident: Accident, vm: u32) {
        self.struck += 1;
        let node = world.pve.world(|world| world.machines().into_iter().find(|(id, _)| *id == vm).unwrap().1);
        world.pve.world(|world| match accident {
            Accident::PoweredOff => world.power_off_machine(vm),
            Accident::Destroyed => world.remove_machine(vm),
            Accident::Rebooted => world.reboot_machine(vm),
            Accident::Silent => world.silence_agent(vm),
            Accident::PowerCut => world.power_cut(&node),
            Accident::Isolated => world.isolate(&node),
        });
        if matches!(accident, Accident::PowerCut | Accident::Isolated) {
            self.away.push((Instant::now() + AWAY, node));
        }
    }

    /// Whose time has come is back.
    fn pass(&mut self, world: &World) {
        self.away.retain(|(back, node)| {
            if *back <= Instant::now() {
                world.pve.world(|world| world.bring_back(node));
            }
            *back > Instant::now()
        });
    }
}

/// The workers' VMs that are on.
fn on(world: &World) -> Vec<u32> {
    let ours: BTreeSet<u32> = world.ours().into_keys().collect();
    let is_on = |world: &pve::World, id: u32| world.is_running(id) == Ok(true);
    world.pve.world(|world| ours.into_iter().filter(|id| is_on(world, *id)).collect())
}

/// What became of the one task: how it ended, its last attempt, how many were begun, and with which worker it was last.
type End = (String, String, i32, usize, Option<String>);

/// One task whose worker is lost so many times while its command runs.
async fn lost(seed: u64, accident: Accident, times: u32, kills: u64) -> Result<End, String> {
    let world = world(seed, &[("w1", "pve1"), ("w2", "pve2")], &json!({})).await;
    let rules = Rules::of(&world);
    let run = json!({"spec": {"run": {"command": ["sleep", "900"]}}});
    world.create(session("night", &[110], &run)).await;
    let fate = RefCell::new(Fate::default());
    let done = async |world: &World| {
        let mut fate = fate.borrow_mut();
        fate.pass(world);
        let runs = world.guests.running(world.clock.wall());
        if fate.struck < times && runs.keys().any(|id| id.attempt == fate.struck + 1) {
            for vm in on(world) {
                fate.strike(world, accident, vm);
            }
        }
        is_over(world) && fate.away.is_empty()
    };
    work(&world, &rules, &Kills::new(seed, kills, 12), done).await?;
    let (phase, reason, attempt) = ends(&world)[&110].clone();
    let worker = world.task("night-0").await.and_then(|task| task.status).and_then(|status| status.worker);
    Ok((phase, reason, attempt, begun(&world)[&110], worker))
}

#[test]
fn what_is_lost_once_is_done_again_on_another_worker() {
    let mut violations = Vec::new();
    for accident in ACCIDENTS {
        let (attempts, worker) = if accident == Accident::Isolated { (1, "w1") } else { (2, "w2") };
        let last = i32::try_from(attempts).unwrap();
        let expected: End = ("Succeeded".into(), "Succeeded".into(), last, attempts, Some(worker.to_owned()));
        match in_virtual_time(lost(seed(), accident, 1, 6)) {
            Ok(end) if end == expected => {}
            other => violations.push(format!("{accident:?}: {other:?}")),
        }
    }
    tell("a worker is lost", ACCIDENTS.len(), &violations);
}

#[test]
fn what_is_lost_twice_has_failed() {
    let (phase, reason, attempt, begun, _) = in_virtual_time(lost(seed(), Accident::PoweredOff, 2, 0)).unwrap();
    assert_eq!((phase.as_str(), reason.as_str(), attempt, begun), ("Failed", "WorkerLost", 2, 2));
}

/// A night of twelve tasks on four workers, of which one or the other is lost now and then.
async fn night(seed: u64) -> Result<u32, String> {
    let world = world(seed, &[("w1", "pve1"), ("w2", "pve1"), ("w3", "pve2"), ("w4", "pve3")], &json!({})).await;
    let rules = Rules::of(&world);
    let run = json!({"spec": {"run": {"command": ["sh", "-c", "sleep $STEVEDORE_VM_ID"]}}});
    let some: Vec<u32> = vms().iter().take(12).map(|vm| vm.id).collect();
    world.create(session("night", &some, &run)).await;
    let (fate, dice) = (RefCell::new(Fate::default()), RefCell::new(Dice::new(seed)));
    let next = RefCell::new(Instant::now() + Duration::from_secs(90));
    let done = async |world: &World| {
        let (mut fate, mut dice) = (fate.borrow_mut(), dice.borrow_mut());
        fate.pass(world);
        let vms = on(world);
        if *next.borrow() <= Instant::now() && fate.struck < 4 && !vms.is_empty() {
            let mut draw = |end: usize| usize::try_from(dice.below(end as u64)).unwrap();
            let (accident, vm) = (ACCIDENTS[draw(ACCIDENTS.len())], vms[draw(vms.len())]);
            fate.strike(world, accident, vm);
            *next.borrow_mut() = Instant::now() + Duration::from_secs(30 + dice.below(120));
        }
        is_over(world) && fate.away.is_empty()
    };
    work(&world, &rules, &Kills::new(seed, 6, 30), done).await?;
    let begun = begun(&world);
    for (vm, (phase, reason, _)) in ends(&world) {
        let is_well = (phase.as_str(), reason.as_str()) == ("Succeeded", "Succeeded") && (1..=2).contains(&begun[&vm]);
        let is_lost = (phase.as_str(), reason.as_str()) == ("Failed", "WorkerLost") && begun[&vm] <= 2;
        if !is_well && !is_lost {
            return Err(format!("the task of VM {vm} ended as {phase}/{reason}, begun {} times", begun[&vm]));
        }
    }
    let struck = fate.borrow().struck;
    Ok(struck)
}

#[test]
fn nights_with_accidents_lose_no_task() {
    let (mut violations, mut struck, nights) = (Vec::new(), 0, 2);
    for number in 0..nights {
        match in_virtual_time(night(seed() * 1000 + number)) {
            Ok(accidents) => struck += accidents,
            Err(text) => violations.push(format!("night {number}: {text}")),
        }
    }
    tell(&format!("nights with {struck} accidents"), usize::try_from(nights).unwrap(), &violations);
    assert!(struck > 0);
}

//! The operator is killed at seeded moments while ten workers are deployed and tested, and started again each time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::stage::{Stage, all_tested, quick, seed, worker};

/// How often it is killed.
const KILLS: u32 = 20;
const WORKERS: usize = 10;

/// A small generator: the moments must replay from the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_leave_one_vm_for_each_worker() {
    let stage = Stage::set(quick()).await;
    let strangers = stage.strangers();
    let mut dice = Dice(seed());
    stage.apply_hypervisor("{parallelLaunches: 5, deletionsPerHour: 100}").await;
    let hosts = ["pve1", "pve2", "pve3"];
    let manifests: String = (0..WORKERS).map(|n| worker(&format!("w{n}"), hosts[n % 3], "OnChange")).collect();
    stage.apply(&manifests).await;
    let mut killed = 0;
    for _ in 0..KILLS {
        let mut operator = stage.operator(0).await;
        // The first two seconds and a half pass before it may lead: the term of the one before must end.
        tokio::time::sleep(Duration::from_millis(2_500 + dice.below(3_500))).await;
        operator.process.kill9();
        killed += 1;
        let names: Vec<String> = stage.ours().into_values().collect();
        let distinct: BTreeSet<&String> = names.iter().filter(|name| name.starts_with('w')).collect();
        let marked = names.iter().filter(|name| name.starts_with('w')).count();
        assert_eq!(distinct.len(), marked, "seed {}: two VMs for one worker: {names:?}", seed());
    }
    let _operator = stage.operator(0).await;
    stage.until("ten tested workers", |workers| all_tested(workers, WORKERS)).await;
    let clones = stage.pve.faults().changes().into_iter().filter(|call| call.path.ends_with("/clone")).count();
    println!("seed {}: killed {killed} times, {clones} clone calls, {} VMs", seed(), stage.ours().len());
    assert_eq!(stage.ours().len(), WORKERS, "{:?}", stage.ours());
    assert_eq!(stage.strangers(), strangers);
    assert_eq!(stage.running(), Vec::<u32>::new());
    stage.plane.stop().await;
}

//! Two Hypervisors that reach one simulated cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::scenario::Scenario;

use crate::crash::world::{World, hypervisor, in_virtual_time, is_tested, seed, worker};

const LONG: Duration = Duration::from_secs(3 * 3600);

fn limits(launches: usize, operations: usize) -> Value {
    json!({"limits": {"parallelLaunches": launches, "parallelOperations": operations}})
}

/// The Hypervisors `lab` and `twin` with two workers each. Deploys and tests them all; the most VMs that were made or on
/// at a time.
async fn most_at_a_time(of_lab: Value, of_twin: &Value) -> usize {
    let world = World::with(seed(), Scenario::default_demo(), json!({ "spec": of_lab })).await;
    let mut twin = hypervisor();
    json_patch::merge(&mut twin, &json!({"metadata": {"name": "twin"}, "spec": of_twin}));
    world.create(twin).await;
    for (name, reference) in [("w1", "lab"), ("w2", "twin"), ("w3", "lab"), ("w4", "twin")] {
        world.create(worker(name, &json!({"spec": {"hypervisorRef": {"name": reference}}}))).await;
    }
    let most = AtomicUsize::new(0);
    let mut operator = world.operator();
    let done = operator
        .run(LONG, async |world| {
            most.fetch_max(world.busy(), Ordering::Relaxed);
            world.all_workers().iter().all(is_tested)
        })
        .await;
    assert!(done, "{:#?}", world.all_workers().into_iter().map(|worker| worker.status).collect::<Vec<_>>());
    assert_eq!(world.ours().len(), 4, "each has a VM of its own");
    let sends = |worker: &stevedore::api::Worker| worker.status.clone().unwrap_or_default().vm.and_then(|vm| vm.id);
    let mut ids: Vec<String> = world.all_workers().iter().filter_map(sends).collect();
    ids.sort();
    assert_eq!(ids, ["5000", "5001", "5002", "5003"]);
    let clones = world.effects().into_iter().filter(|call| call.path.ends_with("/clone")).count();
    assert_eq!(clones, 4, "no id was tried twice");
    most.load(Ordering::Relaxed)
}

#[test]
fn the_lowest_number_of_launches_is_that_of_both() {
    in_virtual_time(async {
        assert_eq!(most_at_a_time(limits(4, 8), &limits(1, 8)).await, 1);
    });
}

#[test]
fn without_a_low_limit_all_are_launched_together() {
    in_virtual_time(async {
        assert_eq!(most_at_a_time(limits(4, 8), &limits(4, 1)).await, 4);
    });
}

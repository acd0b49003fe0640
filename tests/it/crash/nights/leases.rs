//! A session of leases, whose client reports how its tasks ended: the operator is killed at each of its writes meanwhile, and
//! nothing that was reported is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stevedore::api::WorkerTask;
use stevedore::simulator::kubernetes::Call;

use super::lab::{is_over, session, shifts, vm_of, world};
use super::rules::Rules;
use crate::crash::lives::tell;
use crate::crash::mishaps::{Arranged, Mishap, Place, arrange, is_ours};
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::seed;

const VMS: [u32; 3] = [110, 112, 114];
/// The client works with each VM for so long.
const WORKS: Duration = Duration::from_secs(40);

/// What the client reports of a VM.
fn report(vm: u32) -> (&'static str, String) {
    (if vm == 112 { "Failed" } else { "Succeeded" }, format!("{vm} GiB"))
}

fn is_running(task: &WorkerTask) -> bool {
    task.spec.result.is_none()
        && task
            .status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running") && status.address.is_some())
}

/// Reports of each task that has run for long enough.
async fn client(world: &World) {
    for task in world.all_tasks().into_iter().filter(is_running) {
        let since = task.status.as_ref().and_then(|status| status.started_at.clone()).unwrap().0;
        if Duration::try_from(world.clock.wall().duration_since(since)).is_ok_and(|passed| passed >= WORKS) {
            let (outcome, message) = report(vm_of(&task));
            let patch = json!({"spec": {"result": {"outcome": outcome, "message": message}}});
            world.tasks().patch(&task.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    }
}

/// How each task ended: phase, reason, message.
type Ends = BTreeMap<u32, (String, String, String)>;

fn ends(world: &World) -> Ends {
    let end = |task: &WorkerTask| {
        let status = task.status.clone().unwrap_or_default();
        (status.phase.unwrap_or_default(), status.reason.unwrap_or_default(), status.message.unwrap_or_default())
    };
    world.all_tasks().iter().map(|task| (vm_of(task), end(task))).collect()
}

fn expected() -> Ends {
    let end = |vm: u32| {
        let (outcome, message) = report(vm);
        (outcome.to_owned(), "ResultReported".to_owned(), message)
    };
    VMS.map(|vm| (vm, end(vm))).into()
}

async fn new() -> World {
    let world = world(seed(), &[("w1", "pve1")], &json!({})).await;
    world.create(session("lease", &VMS, &json!({}))).await;
    world
}

async fn lease(world: &World, arranged: &Arranged) -> Result<(), String> {
    let rules = Rules::of(world);
    let done = async |world: &World| {
        client(world).await;
        is_over(world)
    };
    shifts(world, &rules, (arranged, &|| {}), done).await?;
    let found = ends(world);
    if found == expected() { Ok(()) } else { Err(format!("it ended as {found:?}")) }
}

/// Whether a write is about a session, a task, or a claim; the others are those of any launch.
fn is_of_leases(call: &Call) -> bool {
    let resource = call.target.resource.as_str();
    matches!(resource, "workersessions" | "workertasks") || call.body.to_string().contains("/status/assignments")
}

#[test]
fn no_report_is_lost_whenever_the_operator_is_killed() {
    let writes = in_virtual_time(async {
        let world = new().await;
        lease(&world, &Arranged::default()).await.unwrap();
        let ours = world.kube.writes().into_iter().map(|write| write.call).filter(is_ours);
        let ours: Vec<_> = (1..).zip(ours).filter(|(_, call)| is_of_leases(call)).collect();
        ours.into_iter().map(|(number, _)| number).collect::<Vec<u64>>()
    });
    let mut violations = Vec::new();
    for number in &writes {
        // Both at each write, in turns.
        let mishap = if (number + seed()).is_multiple_of(2) { Mishap::KilledBefore } else { Mishap::KilledAfter };
        let lived = in_virtual_time(async {
            let world = new().await;
            let arranged = arrange(&world, Place::Kubernetes(*number), mishap);
            lease(&world, &arranged).await
        });
        violations.extend(lived.err().map(|text| format!("write {number}, {mishap:?}: {text}")));
    }
    tell("a session of leases", writes.len(), &violations);
}

#[test]
fn a_lease_whose_worker_is_lost_has_failed() {
    in_virtual_time(async {
        let world = new().await;
        let rules = Rules::of(&world);
        let struck = std::cell::Cell::new(false);
        let done = async |world: &World| {
            if !struck.get() && world.all_tasks().iter().any(is_running) {
                struck.set(true);
                world.ours().keys().for_each(|vm| world.pve.world(|world| world.power_off_machine(*vm)));
            }
            if world.all_tasks().iter().any(|task| task.spec.result.is_some()) {
                return is_over(world);
            }
            client(world).await;
            false
        };
        shifts(&world, &rules, (&Arranged::default(), &|| {}), done).await.unwrap();
        let lost = ends(&world).into_values().filter(|(phase, reason, _)| phase == "Failed" && reason == "WorkerLost");
        assert_eq!(lost.count(), 2, "it is not moved: {:?}", ends(&world));
    });
}

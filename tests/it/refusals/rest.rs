//! At rest nothing is written to Kubernetes, and the hypervisor is asked as little for fifty workers as for one.

use std::time::Duration;

use serde_json::json;
use stevedore::api::conditions::{STALLED, is_true};
use stevedore::simulator::kubernetes::Call;
use stevedore::simulator::scenario::{MachineSpec, Scenario};

use super::lab::{Lab, worker_says};
use crate::crash::world::{in_virtual_time, is_tested, worker};

const WORKERS: usize = 50;
const POLLS: usize = 20;

fn is_ours(call: &Call) -> bool {
    call.user_agent == "stevedore" && call.verb.is_write()
}

#[test]
fn fifty_settled_workers_cost_two_requests_per_poll() {
    in_virtual_time(async {
        let limits = json!({"spec": {"limits": {"parallelLaunches": WORKERS}}});
        let mut lab = Lab::of(Scenario::default_demo(), limits).await;
        for number in 0..WORKERS {
            lab.world.create(worker(&format!("w{number}"), &json!({}))).await;
        }
        let settled =
            lab.operator.run(Duration::from_secs(7200), async |world| world.all_workers().iter().all(is_tested));
        assert!(settled.await);
        // Past the busy interval, and the look at what rarely changes.
        lab.operator.pass(Duration::from_secs(630)).await;
        lab.world.pve.faults().forget();
        lab.world.kube.forget_writes();
        lab.operator.pass(Duration::from_secs(30) * u32::try_from(POLLS).unwrap()).await;
        let asked: Vec<String> = lab.world.pve.faults().log().into_iter().map(|call| call.path).collect();
        let of = |path: &str| asked.iter().filter(|asked| *asked == path).count();
        let (polls, quorum) = (of("/cluster/resources"), of("/cluster/ha/status/current"));
        let rest = asked.len() - 2 * polls;
        let writes = lab.world.kube.writes().into_iter().filter(|write| is_ours(&write.call)).count();
        println!(
            "{WORKERS} workers at rest: {polls} polls, {} requests, of them {rest} for what rarely changes; \
             {writes} writes to Kubernetes",
            asked.len()
        );
        assert_eq!(writes, 0);
        assert!((POLLS - 1..=POLLS + 1).contains(&polls) && quorum >= polls, "{asked:?}");
        assert!(rest <= 8, "one look at what rarely changes: {asked:?}");
    });
}

#[test]
fn a_worker_that_stalls_is_looked_at_ever_more_rarely() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare("w1", json!({"spec": {"image": {"template": "fedora-worker"}}})).await;
        lab.says(worker_says("w1", ("Stalled", "True", "TemplateMissing"), &[])).await;
        lab.operator.pass(Duration::from_secs(3600)).await;
        lab.world.pve.faults().forget();
        lab.operator.pass(Duration::from_secs(3600)).await;
        let asked: Vec<String> = lab.world.pve.faults().log().into_iter().map(|call| call.path).collect();
        let looks = asked.iter().filter(|path| path.ends_with("/storage")).count();
        assert!((5..=7).contains(&looks), "every ten minutes: {looks}");
        // What it lacks comes with a template: no need to wait for the next look.
        let template = Scenario::default_demo().machines.into_iter().find(|machine| machine.vmid == 9001).unwrap();
        let mut machine = MachineSpec { vmid: 9100, ..template };
        machine.config.insert("name".to_owned(), "fedora-worker".to_owned());
        machine.config.retain(|key, _| !matches!(key.as_str(), "scsi0" | "ide2"));
        lab.world.pve.world(|world| world.add_machine(&machine));
        lab.operator.pass(Duration::from_secs(60)).await;
        let status = lab.world.worker("w1").await.unwrap().status.unwrap();
        assert!(!is_true(&status.conditions, STALLED), "{:#?}", status.conditions);
    });
}

/// How many writes to the Worker its deployment, test and shutdown take, with these updates of its packages.
async fn writes_for(updates: &str) -> usize {
    let mut lab = Lab::new().await;
    lab.deploy("w1", json!({"spec": {"updates": {"policy": updates}}})).await;
    lab.operator.pass(Duration::from_secs(300)).await;
    let writes: Vec<Call> = lab.world.kube.writes().into_iter().map(|write| write.call).filter(is_ours).collect();
    let of_worker = writes.iter().filter(|call| call.target.resource == "workers").count();
    println!("deploy, test, shutdown, updates {updates}: {of_worker} writes to the Worker, {} in all", writes.len());
    of_worker
}

#[test]
fn one_workers_deployment_and_test_take_few_writes() {
    in_virtual_time(async {
        assert!(writes_for("Never").await <= 10);
        // An update is one more change, so it is written down before it is made, as every other one.
        assert!(writes_for("OnLaunch").await <= 11);
    });
}

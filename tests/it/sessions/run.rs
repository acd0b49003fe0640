//! A session's way with workers: they are launched, its tasks run in them, and they are shut down.

use std::time::Duration;

use serde_json::json;

use super::lab::{LONG, Lab, runs, session};
use crate::crash::world::{in_virtual_time, worker};

fn vms() -> serde_json::Value {
    json!([{"id": "101"}, {"id": "102"}, {"id": "103"}])
}

#[test]
fn its_tasks_run_and_its_workers_are_shut_down() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.world.create(worker("w1", &json!({"spec": {"maxConcurrentTasks": 2}}))).await;
        lab.declare(session("nightly", &vms(), &runs(&["sleep", "60"]))).await;
        for _ in 0..40 {
            lab.operator.pass(Duration::from_secs(15)).await;
            eprintln!(
                "{:?} {:?}",
                lab.statuses("nightly"),
                lab.world.worker("w1").await.unwrap().status.map(|s| (
                    s.phase,
                    s.tasks,
                    s.operation.map(|o| format!("{} {}", o["kind"], o["step"])),
                    s.launch
                ))
            );
        }
        lab.phase("nightly", "Succeeded").await;
        let off = lab.operator.run(LONG, async |world| {
            let worker = world.worker("w1").await.unwrap();
            worker.status.unwrap().phase.as_deref() == Some("ShutDown")
        });
        assert!(off.await, "{:#?}", lab.world.worker("w1").await);
        println!("{:#?}", lab.statuses("nightly"));
        lab.operator.pass(Duration::from_secs(60)).await;
        assert_eq!(lab.world.running(), 0);
    });
}

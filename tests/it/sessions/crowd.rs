//! A session of a thousand VMs: bounded work, bounded objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::kubernetes::{Fault, Verb};
use tokio::time::Instant;

use super::lab::{Lab, of, says, session};
use crate::crash::mishaps::is_ours;
use crate::crash::world::in_virtual_time;

const LARGEST: usize = 256 << 10;
const VMS: usize = 1000;

fn size(object: &Value) -> usize {
    object.to_string().len()
}

#[test]
fn a_thousand_vms_that_are_not_there_end_one_by_one() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.operator.pass(Duration::from_secs(60)).await;
        lab.world.kube.forget_writes();
        let told = Arc::new(Mutex::new(Vec::new()));
        watch(&lab, Arc::clone(&told));
        let name = "n".repeat(57);
        let vms: Vec<_> = (0..VMS).map(|index| json!({"name": format!("{index:a>63}")})).collect();
        lab.declare(session(&name, &json!(vms), &json!({}))).await;
        let status = lab.phase(&name, "Failed").await;
        let counts = status.tasks.unwrap();
        assert_eq!((counts.total, counts.failed, status.failed.len()), (1000, 1000, 20));
        assert_eq!(says(&status.conditions, "Finished"), "True/TasksFailed");
        let tasks = of(&lab.world, &name);
        assert_eq!(tasks.len(), VMS);
        assert!(tasks.iter().all(|task| task.status.as_ref().unwrap().reason.as_deref() == Some("NotFound")));
        for resource in ["workersessions", "workertasks"] {
            let largest = lab.world.kube.objects("stevedore.dev", resource).iter().map(size).max().unwrap();
            println!("the largest of {resource}: {largest} bytes");
            assert!(largest < LARGEST, "{resource}: {largest} bytes");
        }
        costs(&lab);
        let times = told.lock().unwrap().clone();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        assert!(gap >= Duration::from_secs(1), "two writes of the session's status within {gap:?}");
        lab.delete(&name, &kube::api::DeleteParams::foreground()).await;
        lab.gone(&name).await;
    });
}

/// Notes when the session's status is written.
fn watch(lab: &Lab, told: Arc<Mutex<Vec<Instant>>>) {
    lab.world.kube.intercept(move |call| {
        if is_ours(call) && call.verb == Verb::Apply && call.target.resource == "workersessions" {
            told.lock().unwrap().push(Instant::now());
        }
        Fault::None
    });
}

/// Two writes for each task, and few besides.
fn costs(lab: &Lab) {
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for write in lab.world.kube.writes().into_iter().filter(|write| is_ours(&write.call)) {
        let target = write.call.target;
        let what = format!("{:?} {}/{}", write.call.verb, target.resource, target.subresource.unwrap_or_default());
        *writes.entry(what).or_default() += 1;
    }
    println!("{writes:#?}");
    assert_eq!(writes["Create workertasks/"], VMS);
    assert_eq!(writes["JsonPatch workertasks/status"], VMS);
    assert!(writes["Apply workersessions/status"] < 20, "{writes:?}");
    let kube = &lab.world.kube;
    let (lists, reads) = (kube.count(Verb::List), kube.count(Verb::Get));
    println!("{lists} lists, {reads} reads");
    assert!(lists <= 8, "a thousand tasks are four pages: {lists}");
}

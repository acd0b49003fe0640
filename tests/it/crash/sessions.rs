//! Sessions whose commands run in a worker's guest, with every mishap on the way: no attempt is begun twice, no task is
//! lost, and the worker is off at the end.

use serde_json::{Value, json};

use super::lives::{Begin, Story, Until, at_each_effect, at_each_write, undisturbed};
use super::mishaps::{Loss, Mishap, erasures};
use super::world::{NAMESPACE, worker};

/// Three tasks for a worker that takes two at a time.
fn three_tasks() -> Story {
    let manual = json!({"spec": {"test": {"policy": "Manual"}, "maxConcurrentTasks": 2}});
    let objects = vec![worker("w1", &manual), session("nightly")];
    Story::of("a session of three tasks", vec![(Begin::Create(objects), Until::Succeeded)])
}

fn session(name: &str) -> Value {
    json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "type": "Backup", "hypervisorRef": {"name": "lab"}, "run": {"command": ["sleep", "60"]},
            "virtualMachines": [{"id": "101"}, {"id": "102"}, {"id": "103"}],
        },
    })
}

#[test]
fn an_undisturbed_session_needs_few_calls_and_writes() {
    let (effects, writes) = undisturbed(&three_tasks());
    let calls: Vec<String> = effects.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    println!("{} changing calls, {} writes to Kubernetes\n{}", calls.len(), writes.len(), calls.join("\n"));
    for write in &writes {
        println!("{:?} {}/{}", write.verb, write.target.resource, write.target.subresource.as_deref().unwrap_or(""));
    }
    let inside = calls.iter().filter(|call| call.contains("/agent/exec")).count();
    assert_eq!(inside, 4, "the update of the worker, and one start for each task: {calls:?}");
}

#[test]
fn every_effect_of_a_session_survives_kills_and_losses() {
    let mishaps = [
        Mishap::KilledBefore,
        Mishap::KilledAfter,
        Mishap::NeverArrives,
        Mishap::AnswerLost,
        Mishap::AnswerLate,
        Mishap::Doubled,
    ];
    at_each_effect(&three_tasks(), &mishaps);
}

#[test]
fn every_write_of_a_session_survives_kills_and_losses() {
    at_each_write(&three_tasks(), &[Mishap::KilledAfter, Mishap::AnswerLost]);
}

#[test]
fn claims_that_are_erased_end_no_task() {
    at_each_effect(&three_tasks(), &erasures(&[Loss::Claims]));
}

//! Whether a worker takes tasks, as the objects in Kubernetes tell it: for whoever has only these.

use super::availability::{Availability, Unavailable, working};
use crate::api::conditions::{self, Answer, Condition};
use crate::api::reasons::{TaskReason, WorkerReason};
use crate::api::{Hypervisor, Worker, WorkerStatus};
use crate::domain::operation::Operation;
use crate::hypervisor::vm::Power;

/// Whether the worker takes tasks by its own status and by its Hypervisor's, if that is there. What the operator knows
/// and has not written yet is not in it.
pub fn told(worker: &Worker, hypervisor: Option<&Hypervisor>) -> Availability {
    let not = declared(worker, hypervisor).or_else(|| written(worker.status.as_ref()?));
    match (not, &worker.status) {
        (Some(why), _) => Availability::Not(why),
        (None, None) => Availability::unseen(),
        (None, Some(status)) => doing(status),
    }
}

/// What people say of it, and what is said of its hypervisor.
fn declared(worker: &Worker, hypervisor: Option<&Hypervisor>) -> Option<Unavailable> {
    let not = |reason, text: &str| Some(Unavailable::new(reason, text));
    if worker.metadata.deletion_timestamp.is_some() {
        return not(TaskReason::Deleting, "");
    }
    if worker.spec.paused {
        return not(TaskReason::Paused, "spec.paused is true");
    }
    let Some(hypervisor) = hypervisor else {
        return not(TaskReason::HypervisorNotReady, "its Hypervisor is not there");
    };
    if hypervisor.spec.paused {
        return not(TaskReason::Paused, "spec.paused of its Hypervisor is true");
    }
    let status = hypervisor.status.clone().unwrap_or_default();
    if !conditions::is_true(&status.conditions, conditions::READY) {
        let ready = conditions::find(&status.conditions, conditions::READY);
        let text = ready.map_or("the operator has not looked at it yet", |ready| ready.message.as_str());
        return not(TaskReason::HypervisorNotReady, text);
    }
    (!worker.spec.enabled).then(|| Unavailable::new(TaskReason::Disabled, "spec.enabled is false"))
}

/// What the operator has written about it.
fn written(status: &WorkerStatus) -> Option<Unavailable> {
    let is_false = |condition: &&Condition| condition.status == Answer::False.as_str();
    let schedulable = conditions::find(&status.conditions, conditions::SCHEDULABLE).filter(is_false)?;
    Some(Unavailable::of_sentence(reason(&schedulable.reason), "it", &schedulable.message))
}

/// Why tasks do not get it, from why it is not schedulable.
fn reason(written: &str) -> TaskReason {
    let known = WorkerReason::ALL.iter().find(|reason| reason.as_str() == written);
    match known {
        Some(WorkerReason::Deleting) => TaskReason::Deleting,
        Some(WorkerReason::Paused | WorkerReason::HypervisorPaused) => TaskReason::Paused,
        Some(WorkerReason::Disabled) => TaskReason::Disabled,
        Some(WorkerReason::TestFailed) => TaskReason::TestFailed,
        Some(WorkerReason::HostUnschedulable) => TaskReason::HostUnschedulable,
        Some(WorkerReason::Draining) => TaskReason::Draining,
        _ => TaskReason::Stalled,
    }
}

/// What it does, by its status.
fn doing(status: &WorkerStatus) -> Availability {
    let operation = status.operation.as_ref().filter(|value| !value.is_null());
    match operation.map(Operation::from_json) {
        Some(Ok(operation)) => return working(&operation),
        Some(Err(error)) => return Availability::Not(Unavailable::new(TaskReason::Stalled, error.to_string())),
        None => {}
    }
    let power = status.vm.as_ref().and_then(|vm| vm.power.as_deref());
    if power == Some(Power::Unknown.to_string().as_str()) {
        return Availability::Not(Unavailable::new(TaskReason::HostOffline, "its host does not tell whether it is on"));
    }
    let is_on = power == Some(Power::On.to_string().as_str());
    if is_on && status.launch.is_some() { Availability::Running } else { Availability::Off }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-01T00:00:00Z"})
    }

    fn hypervisor(patch: &Value) -> Hypervisor {
        let mut lab = json!({
            "metadata": {"name": "lab", "namespace": "backup"},
            "spec": {"provider": "Proxmox", "endpoints": [], "credentialsSecretRef": {"name": "s"}},
            "status": {"conditions": [condition("Ready", "True", "Ready", "")]},
        });
        json_patch::merge(&mut lab, patch);
        serde_json::from_value(lab).unwrap()
    }

    fn worker(patch: &Value) -> Worker {
        let mut worker = json!({
            "metadata": {"name": "w1", "namespace": "backup"},
            "spec": {"hypervisorRef": {"name": "lab"}, "image": {"template": "t"}, "networks": []},
            "status": {"conditions": [condition("Schedulable", "True", "Schedulable", "")]},
        });
        json_patch::merge(&mut worker, patch);
        serde_json::from_value(worker).unwrap()
    }

    fn says(patch: &Value) -> Availability {
        told(&worker(patch), Some(&hypervisor(&json!({}))))
    }

    fn why(availability: Availability) -> (TaskReason, String) {
        match availability {
            Availability::Not(why) => (why.reason, why.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_it_does_is_in_its_status() {
        assert_eq!(says(&json!({})), Availability::Off);
        assert_eq!(says(&json!({"status": {"vm": {"power": "On"}}})), Availability::Off, "somebody else did that");
        let launch = json!({"operation": "o", "bootId": "b", "at": "2026-11-01T00:00:00Z"});
        assert_eq!(says(&json!({"status": {"vm": {"power": "On"}, "launch": launch}})), Availability::Running);
        assert_eq!(why(says(&json!({"status": {"vm": {"power": "Unknown"}}}))).0, TaskReason::HostOffline);
        assert_eq!(says(&json!({"status": null})), Availability::unseen());
        assert_eq!(why(says(&json!({"status": {"operation": {"kind": "?"}}}))).0, TaskReason::Stalled);
    }

    #[test]
    fn what_people_say_goes_before_what_was_written() {
        assert_eq!(why(says(&json!({"spec": {"enabled": false}}))).0, TaskReason::Disabled);
        assert_eq!(why(says(&json!({"spec": {"paused": true}}))).0, TaskReason::Paused);
        let failed = condition("Schedulable", "False", "TestFailed", "its last test failed (no answer)");
        let failed = says(&json!({"status": {"conditions": [failed]}}));
        assert_eq!(why(failed), (TaskReason::TestFailed, "its last test failed (no answer)".into()));
    }

    #[test]
    fn a_worker_takes_nothing_without_its_hypervisor() {
        let of = |hypervisor: Option<&Hypervisor>| why(told(&worker(&json!({})), hypervisor));
        assert_eq!(of(None).0, TaskReason::HypervisorNotReady);
        assert_eq!(of(Some(&hypervisor(&json!({"spec": {"paused": true}})))).0, TaskReason::Paused);
        let away =
            hypervisor(&json!({"status": {"conditions": [condition("Ready", "False", "Unreachable", "no route")]}}));
        assert_eq!(of(Some(&away)), (TaskReason::HypervisorNotReady, "no route".into()));
    }
}

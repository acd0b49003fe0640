//! Which tasks the operator has made for a session, and which only say so.

use crate::api::{WorkerSession, WorkerTask, names};

/// The name of the task for the VM at this place of a session's list.
pub fn task_name(session: &str, index: usize) -> String {
    format!("{session}-{index}")
}

/// Whether a task is the one that was made for its place in this session. One of which somebody has taken the owner is
/// so all the same.
pub fn belongs(task: &WorkerTask, session: &WorkerSession) -> bool {
    let named = &task.spec.session_ref;
    let name = session.metadata.name.as_deref().unwrap_or_default();
    let place = usize::try_from(task.spec.index).ok().filter(|index| *index < session.spec.virtual_machines.len());
    named.name == name
        && is_named(task, session)
        && place.is_some_and(|index| task.metadata.name == Some(task_name(name, index)))
        && (is_owned(task, &named.uid) || is_held(task))
}

/// Whether a task names this very session, and not one that had its name before.
pub fn is_named(task: &WorkerTask, session: &WorkerSession) -> bool {
    session.metadata.uid.as_ref() == Some(&task.spec.session_ref.uid)
}

/// Whether a task goes when this session goes: it was made for it, or is a copy of one that was.
pub fn goes_with(task: &WorkerTask, session: &WorkerSession) -> bool {
    is_named(task, session) && (is_owned(task, &task.spec.session_ref.uid) || is_held(task))
}

/// Whether a task carries our finalizer, with which the operator makes all of its own.
pub fn is_held(task: &WorkerTask) -> bool {
    task.metadata.finalizers.iter().flatten().any(|one| one == names::TASK_FINALIZER)
}

/// Whether a task was ever given to a worker: then something of it may run there.
pub fn had_worker(task: &WorkerTask) -> bool {
    task.status.as_ref().is_some_and(|status| status.attempt.is_some_and(|attempt| attempt > 0))
}

fn is_owned(task: &WorkerTask, session: &str) -> bool {
    let owners = task.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.kind == "WorkerSession" && owner.uid == session)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session() -> WorkerSession {
        serde_json::from_value(json!({
            "metadata": {"name": "night", "uid": "u1"},
            "spec": {"type": "Backup", "hypervisorRef": {"name": "lab"}, "virtualMachines": [{"id": "101"}, {"id": "102"}]},
        }))
        .unwrap()
    }

    fn task(patch: &Value) -> WorkerTask {
        let mut task = json!({
            "metadata": {
                "name": "night-1",
                "ownerReferences": [{"apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession", "name": "night", "uid": "u1"}],
                "finalizers": ["stevedore.dev/task"],
            },
            "spec": {
                "sessionRef": {"name": "night", "uid": "u1"}, "index": 1, "mode": "Command", "virtualMachine": {"id": "102"},
            },
        });
        json_patch::merge(&mut task, patch);
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_task_belongs_to_the_session_it_was_made_for() {
        for made in [
            json!({}),
            json!({"metadata": {"ownerReferences": null}}),
            json!({"metadata": {"finalizers": null}}),
            json!({"metadata": {"finalizers": ["else"]}}),
        ] {
            assert!(belongs(&task(&made), &session()), "{made}");
        }
    }

    #[test]
    fn what_somebody_else_made_does_not() {
        for not in [
            json!({"metadata": {"ownerReferences": null, "finalizers": null}}),
            json!({"metadata": {"name": "night-0"}}),
            json!({"metadata": {"name": "mine"}}),
            json!({"metadata": {"name": "night-01"}}),
            json!({"metadata": {"name": "night-2"}, "spec": {"index": 2}}),
            json!({"metadata": {"name": "night--1"}, "spec": {"index": -1}}),
            json!({"spec": {"sessionRef": {"uid": "u0"}}}),
            json!({"spec": {"sessionRef": {"name": "day"}}}),
        ] {
            assert!(!belongs(&task(&not), &session()), "{not}");
        }
        let copy = task(&json!({"metadata": {"name": "mine"}}));
        assert!(goes_with(&copy, &session()), "it carries our finalizer, and nobody else would let it go");
        let own = json!({"metadata": {"ownerReferences": null, "finalizers": null}});
        assert!(!goes_with(&task(&own), &session()));
    }
}

//! What is done for an object that cannot be read: that is said in its own status, and it is let go if its owner has
//! abandoned it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use thiserror::Error;

use super::Unreadable;
use crate::api::conditions::{self, Answer, Condition, NewCondition};
use crate::api::reasons::{HypervisorReason, SessionReason, TaskReason, WorkerReason};
use crate::api::{Hypervisor, Worker, WorkerSession, WorkerTask, names};
use crate::controller::context::Context;
use crate::controller::events::Happening;
use crate::controller::{finalizer, hypervisor};

/// What has a writer of its own in a status, and is not written with the rest of it.
const WRITTEN_APART: [&str; 2] = ["operation", "deletions"];

/// What differs between the kinds.
struct Kind {
    resource: ApiResource,
    finalizer: &'static str,
    /// The reason in its conditions.
    reason: &'static str,
    /// The conditions that say it, and their answers.
    says: &'static [(&'static str, Answer)],
    /// What one leaves behind that is let go.
    left: fn(&Unreadable) -> String,
}

/// It waits for a person.
const STALLED: &[(&str, Answer)] = &[(conditions::READY, Answer::False), (conditions::STALLED, Answer::True)];

#[derive(Debug, Error)]
enum Failed {
    #[error("the Kubernetes API: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Hypervisor(#[from] hypervisor::Error),
    #[error("it is no object: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Does for every object that cannot be read what there is to do; nothing, if it was done before.
pub async fn tend(context: &Context) {
    let worker = Kind {
        resource: ApiResource::erase::<Worker>(&()),
        finalizer: names::WORKER_FINALIZER,
        reason: WorkerReason::Unreadable.as_str(),
        says: STALLED,
        left: vms,
    };
    let hypervisor = Kind {
        resource: ApiResource::erase::<Hypervisor>(&()),
        finalizer: names::HYPERVISOR_FINALIZER,
        reason: HypervisorReason::Unreadable.as_str(),
        says: &[(conditions::READY, Answer::False)],
        left: vms,
    };
    let session = Kind {
        resource: ApiResource::erase::<WorkerSession>(&()),
        finalizer: names::SESSION_FINALIZER,
        reason: SessionReason::Unreadable.as_str(),
        says: STALLED,
        left: |_| "its tasks".to_owned(),
    };
    let task = Kind {
        resource: ApiResource::erase::<WorkerTask>(&()),
        finalizer: names::TASK_FINALIZER,
        reason: TaskReason::Unreadable.as_str(),
        says: STALLED,
        left: |_| "what may run for it on a worker".to_owned(),
    };
    let all = [
        (task, &context.unreadable_tasks),
        (session, &context.unreadable_sessions),
        (worker, &context.unreadable_workers),
        (hypervisor, &context.unreadable_hypervisors),
    ];
    // What others need comes last: a Hypervisor holds what its workers need.
    for (kind, all) in all {
        for object in all.all() {
            if !context.gate.may_change(std::time::Duration::ZERO) {
                return;
            }
            if let Err(error) = one(context, &kind, &object).await {
                let (namespace, name) = object.key();
                let kind = &kind.resource.kind;
                tracing::warn!(%kind, %namespace, %name, %error, "of an object that cannot be read, that could not be said");
            }
        }
    }
}

async fn one(context: &Context, kind: &Kind, object: &Unreadable) -> Result<(), Failed> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &object.key().0, &kind.resource);
    let metadata = &object.metadata;
    let is_abandoned = names::is_set(metadata.annotations.as_ref(), names::ABANDON);
    if metadata.deletion_timestamp.is_some() && is_abandoned {
        return abandon(context, kind, object, &api).await;
    }
    let Some((status, message)) = status(context, kind, object) else { return Ok(()) };
    let body = json!({
        "apiVersion": kind.resource.api_version,
        "kind": kind.resource.kind,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "resourceVersion": metadata.resource_version},
        "status": status,
    });
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api.patch_status(object.name(), &params, &Patch::Apply(&body)).await?;
    happened(context, kind, object, "Read", kind.reason, message);
    Ok(())
}

/// The status as it is to be, and what it says; `None` if it says so already. All else in it stays, also what this
/// program does not know.
fn status(context: &Context, kind: &Kind, object: &Unreadable) -> Option<(Value, String)> {
    let mut status = object.object.get("status").filter(|status| status.is_object()).cloned().unwrap_or(json!({}));
    let told: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
    let message = format!(
        "this version of the operator cannot read it ({}), and does nothing for it: it fits another version of the CRD. \
         Edit it, or run the version of the operator that it was made for",
        object.error
    );
    let mut next = told.clone();
    conditions::remove(&mut next, conditions::RECONCILING);
    for (type_, answer) in kind.says {
        let condition = NewCondition::new(type_, *answer, kind.reason, message.clone());
        conditions::set(&mut next, condition.observed(object.metadata.generation), context.clock.wall());
    }
    if next == told {
        return None;
    }
    status["conditions"] = json!(next);
    for field in WRITTEN_APART {
        status.as_object_mut()?.remove(field);
    }
    Some((status, message))
}

/// Takes our finalizer away, on its owner's word. What a Hypervisor holds is let go first.
async fn abandon(context: &Context, kind: &Kind, object: &Unreadable, api: &Api<DynamicObject>) -> Result<(), Failed> {
    let dynamic: DynamicObject = serde_json::from_value(object.object.clone())?;
    if !finalizer::is_in(&object.metadata, kind.finalizer) {
        return Ok(());
    }
    let note = format!("abandoned by annotation; left behind: {}", (kind.left)(object));
    let (namespace, name) = object.key();
    tracing::warn!(kind = %kind.resource.kind, %namespace, %name, "{note}");
    context.metrics.abandoned();
    happened(context, kind, object, "Delete", "Abandoned", note);
    hypervisor::release_recorded(&context.client, &object.metadata).await?;
    finalizer::remove(api, &dynamic, kind.finalizer).await?;
    Ok(())
}

/// The VMs that an object leaves behind.
fn vms(object: &Unreadable) -> String {
    let ids: Vec<&str> = object.vm_ids().collect();
    if ids.is_empty() { "no known VM".to_owned() } else { format!("VM {}", ids.join(", ")) }
}

fn happened(
    context: &Context,
    kind: &Kind,
    object: &Unreadable,
    action: &'static str,
    reason: &'static str,
    note: String,
) {
    let metadata = &object.metadata;
    let reference = ObjectReference {
        api_version: Some(kind.resource.api_version.clone()),
        kind: Some(kind.resource.kind.clone()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    };
    context.events.publish(Happening { object: reference, warning: true, reason, action, note });
}

//! The writer of `WorkerTask.status`: whole, by JSON Patch, with the resourceVersion that it was computed from.
//!
//! What stands there is an intent that others rest on: which attempt this is, and with which Worker. So the answer must
//! contain it, and a write whose answer was lost is looked for before it is repeated.

use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation};
use kube::ResourceExt;
use kube::api::{Api, Patch};
use serde_json::json;

use super::record::{WriteError, guard, pointer, recover, write_params};
use crate::api::WorkerTask;
use crate::api::task::WorkerTaskStatus;

/// Writes a status, if the task is still as it was read; the answer is the task as it is now. What stands there already
/// is not written again.
pub async fn write(
    api: &Api<WorkerTask>,
    task: &WorkerTask,
    status: WorkerTaskStatus,
) -> Result<WorkerTask, WriteError> {
    if task.status.as_ref() == Some(&status) {
        return Ok(task.clone());
    }
    let path = pointer(&["status"]);
    let steps = vec![guard(task), PatchOperation::Add(AddOperation { path, value: json!(status) })];
    let answer = match api.patch_status(&task.name_any(), &write_params(), &Patch::Json::<()>(JsonPatch(steps))).await {
        Ok(answer) => answer,
        Err(error) => recover(api, task, error, |live| live.status.as_ref() == Some(&status)).await?,
    };
    let kept = intent(answer.status.as_ref()) == intent(Some(&status));
    kept.then_some(answer).ok_or(WriteError::Pruned { field: "status of a WorkerTask" })
}

/// What others rest on.
fn intent(status: Option<&WorkerTaskStatus>) -> impl PartialEq {
    status.map(|status| (status.phase.clone(), status.worker.clone(), status.worker_uid.clone(), status.attempt))
}

//! The compare-and-swap writer of `status.operation`, on which everything else's safety rests.
//!
//! The record is written whole by JSON Patch with the resourceVersion that the decision was made from. The object in
//! the answer must contain the record: an API server with an older CRD drops unknown fields without a word.

use std::fmt::Debug;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation, RemoveOperation, ReplaceOperation};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use crate::api::{Worker, names};
use crate::domain::operation::Operation;

/// Why a write did not happen.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Somebody else wrote first: decide again from what stands there now.
    #[error("the object was changed by somebody else meanwhile")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// The answer lacks what was written.
    #[error("the API server did not keep {field}: the installed CRD is older than this program; upgrade the CRD")]
    Pruned {
        /// The field that was dropped.
        field: &'static str,
    },
    /// The API server refused, or did not answer.
    #[error("the Kubernetes API: {0}")]
    Api(#[source] Box<kube::Error>),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            kube::Error::Api(status) if status.is_not_found() => Self::Gone,
            _ => Self::Api(Box::new(error)),
        }
    }
}

/// The parameters of every write that is not a server-side apply.
pub fn write_params() -> PatchParams {
    PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// The operation that makes a JSON Patch a compare-and-swap.
pub fn guard<K: Resource>(object: &K) -> PatchOperation {
    let version = object.meta().resource_version.clone().unwrap_or_default();
    PatchOperation::Replace(ReplaceOperation { path: pointer(&["metadata", "resourceVersion"]), value: json!(version) })
}

/// A JSON Pointer of these tokens.
pub fn pointer(tokens: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(tokens.iter().copied())
}

/// Writes `operation`, or removes it, if the worker is still as it was read. The answer is the worker as it is now.
/// What stands there already is not written again.
pub async fn write(api: &Api<Worker>, worker: &Worker, operation: Option<&Operation>) -> Result<Worker, WriteError> {
    if stands(worker, operation) {
        return Ok(worker.clone());
    }
    let patch = Patch::Json::<()>(patch(worker, operation));
    let answer = match api.patch_status(&worker.name_any(), &write_params(), &patch).await {
        Ok(answer) => answer,
        Err(error) => {
            let is_ours = |live: &Worker| contains(live, operation) && has_moved(live, worker);
            recover(api, worker, error, is_ours).await?
        }
    };
    contains(&answer, operation).then_some(answer).ok_or(WriteError::Pruned { field: "status.operation" })
}

fn patch(worker: &Worker, operation: Option<&Operation>) -> JsonPatch {
    let mut steps = vec![guard(worker)];
    if worker.status.is_none() {
        steps.push(PatchOperation::Add(AddOperation { path: pointer(&["status"]), value: json!({}) }));
    }
    let path = pointer(&["status", "operation"]);
    match operation {
        Some(operation) => steps.push(PatchOperation::Add(AddOperation { path, value: operation.to_json() })),
        None if recorded(worker).is_some() => steps.push(PatchOperation::Remove(RemoveOperation { path })),
        None => {}
    }
    JsonPatch(steps)
}

/// After a conflict, or without an answer: the object as it is, if what stands there is our own write.
pub(super) async fn recover<K>(
    api: &Api<K>,
    object: &K,
    error: kube::Error,
    is_ours: impl FnOnce(&K) -> bool,
) -> Result<K, WriteError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let error = WriteError::from(error);
    if matches!(error, WriteError::Gone) {
        return Err(error);
    }
    let Some(live) = api.get_opt(&object.name_any()).await? else { return Err(WriteError::Gone) };
    if live.uid() != object.uid() {
        return Err(WriteError::Gone);
    }
    if is_ours(&live) { Ok(live) } else { Err(error) }
}

/// Whether an object was written since it was read: only a write of ours that changed something can be recognised.
pub(super) fn has_moved<K: Resource>(live: &K, read: &K) -> bool {
    live.resource_version() != read.resource_version()
}

fn recorded(worker: &Worker) -> Option<&Value> {
    worker.status.as_ref().and_then(|status| status.operation.as_ref()).filter(|value| !value.is_null())
}

/// Whether the worker's status holds exactly this record, or none if none is to be there.
fn stands(worker: &Worker, operation: Option<&Operation>) -> bool {
    match (recorded(worker), operation) {
        (None, None) => true,
        (Some(value), Some(operation)) => Operation::from_json(value).as_ref() == Ok(operation),
        _ => false,
    }
}

/// Whether the worker's status holds this intent.
fn contains(worker: &Worker, operation: Option<&Operation>) -> bool {
    match (recorded(worker), operation) {
        (None, None) => true,
        (Some(value), Some(operation)) => {
            Operation::from_json(value).is_ok_and(|there| there.same_intent(operation) && there.task == operation.task)
        }
        _ => false,
    }
}

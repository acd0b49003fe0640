//! Finalizers: set and removed by JSON Patch with the resourceVersion that was read.
//!
//! Never by server-side apply: that would create the object if it is gone.

use std::fmt::Debug;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch as Operations, PatchOperation, RemoveOperation, ReplaceOperation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::names::FIELD_MANAGER;

/// How often a write is tried that others get in the way of.
const TRIES: usize = 5;

/// Whether an object carries a finalizer.
pub fn has<K: Resource>(object: &K, finalizer: &str) -> bool {
    is_in(object.meta(), finalizer)
}

/// Whether an object's metadata name a finalizer.
pub fn is_in(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// Puts a finalizer on an object, which must exist and not be about to go; the object as it is then.
pub async fn add<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<K, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let change = |object: &K| (!has(object, finalizer)).then(|| adding(object, finalizer));
    Ok(change_until_settled(api, object, change).await?.unwrap_or_else(|| object.clone()))
}

/// Takes a finalizer from an object; the object as it is then, `None` if it is gone.
pub async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    match change_until_settled(api, object, |object| removing(object, finalizer)).await {
        Ok(changed) => Ok(Some(changed.unwrap_or_else(|| object.clone()))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a finalizer from an object if nobody changed it since it was read; the object as it is then, `None` if it is
/// gone.
pub async fn remove_unchanged<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let Some(operations) = removing(object, finalizer) else { return Ok(Some(object.clone())) };
    match patch(api, &object.name_any(), operations).await {
        Ok(changed) => Ok(Some(changed)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Patches until the write is not refused because the object was changed meanwhile. `None`: nothing was to be done.
async fn change_until_settled<K>(
    api: &Api<K>,
    object: &K,
    change: impl Fn(&K) -> Option<Vec<PatchOperation>>,
) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let name = object.name_any();
    let mut latest: Option<K> = None;
    for _ in 1..TRIES {
        let Some(operations) = change(latest.as_ref().unwrap_or(object)) else { return Ok(latest) };
        match patch(api, &name, operations).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => latest = Some(api.get(&name).await?),
            result => return result.map(Some),
        }
    }
    match change(latest.as_ref().unwrap_or(object)) {
        Some(operations) => patch(api, &name, operations).await.map(Some),
        None => Ok(latest),
    }
}

async fn patch<K>(api: &Api<K>, name: &str, operations: Vec<PatchOperation>) -> Result<K, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Json::<()>(Operations(operations))).await
}

fn adding<K: Resource>(object: &K, finalizer: &str) -> Vec<PatchOperation> {
    let place = match object.meta().finalizers.as_deref() {
        None | Some([]) => add_at(&["metadata", "finalizers"], json!([finalizer])),
        Some(_) => add_at(&["metadata", "finalizers", "-"], json!(finalizer)),
    };
    vec![unchanged(object), place]
}

fn removing<K: Resource>(object: &K, finalizer: &str) -> Option<Vec<PatchOperation>> {
    let index = object.meta().finalizers.as_ref()?.iter().position(|one| one == finalizer)?;
    let path = PointerBuf::from_tokens(["metadata", "finalizers", &index.to_string()]);
    Some(vec![unchanged(object), PatchOperation::Remove(RemoveOperation { path })])
}

/// The operation that makes a patch fail with a conflict if the object is no longer the one that was read.
pub(super) fn unchanged<K: Resource>(object: &K) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation {
        path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: json!(object.meta().resource_version),
    })
}

/// The operation that sets a value, in place of the one that may be there.
pub(super) fn add_at(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    fn secret(finalizers: &[&str]) -> Secret {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "resourceVersion": "7", "finalizers": finalizers},
        }))
        .unwrap()
    }

    #[test]
    fn a_patch_names_the_version_that_was_read() {
        let first = serde_json::to_value(adding(&secret(&[]), "a/b")).unwrap();
        assert_eq!(
            first,
            json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "add", "path": "/metadata/finalizers", "value": ["a/b"]},
            ])
        );
        let second = serde_json::to_value(adding(&secret(&["x"]), "a/b")).unwrap();
        assert_eq!(second[1], json!({"op": "add", "path": "/metadata/finalizers/-", "value": "a/b"}));
        let gone = serde_json::to_value(removing(&secret(&["x", "a/b"]), "a/b")).unwrap();
        assert_eq!(gone[1], json!({"op": "remove", "path": "/metadata/finalizers/1"}));
        assert!(removing(&secret(&["x"]), "a/b").is_none());
    }
}

//! Whoever deletes an object may say that it is let go at once, whatever it leaves behind.

use kube::{Resource, ResourceExt};

use super::context::Context;
use super::events::Happening;
use crate::api::names;

/// Whether an object is being deleted, and its owner has said that it is to be let go.
pub fn is_asked<K: Resource>(object: &K) -> bool {
    let meta = object.meta();
    meta.deletion_timestamp.is_some() && names::is_set(meta.annotations.as_ref(), names::ABANDON)
}

/// Says what an object leaves behind that is let go.
pub fn tell<K: Resource<DynamicType = ()>>(context: &Context, object: &K, left: &str) {
    let note = format!("abandoned by annotation; left behind: {left}");
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::warn!(kind = %K::kind(&()), %namespace, %name, "{note}");
    context.metrics.abandoned();
    let object = object.object_ref(&());
    context.events.publish(Happening { object, warning: true, reason: "Abandoned", action: "Delete", note });
}

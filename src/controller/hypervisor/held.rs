//! The in-use finalizers: a Secret or `ConfigMap` stays while a `Hypervisor` with our finalizer uses it, so that the
//! credential outlives the workers whose VMs must still be deleted.
//!
//! Which objects carry one is written on the Hypervisor, before the first is set: so they are released in the end
//! even if the spec names others by then and this process knows nothing of before.

use std::collections::BTreeSet;
use std::fmt;

use json_patch::PatchOperation;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;

use super::error::Error;
use super::input::Input;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::api::hypervisor::CaKind;
use crate::api::names::{HOLDS, HYPERVISOR_FINALIZER, in_use_finalizer};
use crate::api::reasons::HypervisorReason;
use crate::controller::finalizer::{self, add_at, unchanged};

/// An object that a Hypervisor reads from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A Secret.
    Secret(Secret),
    /// A `ConfigMap`.
    ConfigMap(ConfigMap),
}

impl Source {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "Secret",
            Self::ConfigMap(_) => "ConfigMap",
        }
    }
}

/// The kind and name of such an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held<'a> {
    is_secret: bool,
    name: &'a str,
}

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", if self.is_secret { "Secret" } else { "ConfigMap" }, self.name)
    }
}

impl<'a> Held<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text.split_once('/')? {
            ("Secret", name) => Some(Self { is_secret: true, name }),
            ("ConfigMap", name) => Some(Self { is_secret: false, name }),
            _ => None,
        }
    }
}

/// Sees to it that what the Hypervisor uses stays, and what it no longer uses does not. Says if the Secret is going.
pub(super) async fn keep(subject: &mut Subject<'_>, input: &mut Input) -> Result<(), Error> {
    if !finalizer::has(&subject.hypervisor, HYPERVISOR_FINALIZER) {
        return Ok(());
    }
    let spec = subject.hypervisor.spec.clone();
    let mut wanted = BTreeSet::from([Held { is_secret: true, name: &spec.credentials_secret_ref.name }]);
    if let Some(ca) = &spec.tls.ca_ref {
        wanted.insert(Held { is_secret: ca.kind == CaKind::Secret, name: &ca.name });
    }
    let text = subject.annotation(HOLDS).unwrap_or_default().to_owned();
    let recorded: BTreeSet<Held<'_>> = text.split_whitespace().filter_map(Held::parse).collect();
    if !wanted.is_subset(&recorded) {
        record(subject, recorded.union(&wanted)).await?;
    }
    hold(subject, input).await?;
    for gone in recorded.difference(&wanted) {
        let_go(&subject.context.client, &subject.key.0, &mark(subject), *gone).await?;
    }
    if !recorded.is_subset(&wanted) {
        record(subject, wanted.iter()).await?;
    }
    Ok(())
}

/// Lets everything go: the Hypervisor is about to be released.
pub(super) async fn release(subject: &Subject<'_>) -> Result<(), Error> {
    let spec = &subject.hypervisor.spec;
    let text = subject.annotation(HOLDS).unwrap_or_default();
    let mut all: BTreeSet<Held<'_>> = text.split_whitespace().filter_map(Held::parse).collect();
    all.insert(Held { is_secret: true, name: &spec.credentials_secret_ref.name });
    if let Some(ca) = &spec.tls.ca_ref {
        all.insert(Held { is_secret: ca.kind == CaKind::Secret, name: &ca.name });
    }
    for one in all {
        let_go(&subject.context.client, &subject.key.0, &mark(subject), one).await?;
    }
    Ok(())
}

/// Lets everything go that is recorded in these metadata of a Hypervisor.
pub(in crate::controller) async fn release_recorded(client: &Client, metadata: &ObjectMeta) -> Result<(), Error> {
    let text = metadata.annotations.as_ref().and_then(|all| all.get(HOLDS)).map_or("", String::as_str);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let mark = in_use_finalizer(metadata.uid.as_deref().unwrap_or_default());
    for one in text.split_whitespace().filter_map(Held::parse) {
        let_go(client, namespace, &mark, one).await?;
    }
    Ok(())
}

async fn record<'h>(subject: &mut Subject<'_>, held: impl Iterator<Item = &'h Held<'h>>) -> Result<(), Error> {
    let text = held.map(Held::to_string).collect::<Vec<_>>().join(" ");
    let mut operations: Vec<PatchOperation> = vec![unchanged(&subject.hypervisor)];
    if subject.hypervisor.metadata.annotations.is_none() {
        operations.push(add_at(&["metadata", "annotations"], json!({})));
    }
    operations.push(add_at(&["metadata", "annotations", HOLDS], json!(text)));
    subject.patch(operations).await
}

/// Puts finalizers on what was read; lets a Secret go that is being deleted while all else stays.
async fn hold(subject: &Subject<'_>, input: &mut Input) -> Result<(), Error> {
    let mark = mark(subject);
    let sources = input.secret.iter().cloned().map(Source::Secret).chain(input.ca.iter().cloned());
    for source in sources.collect::<Vec<_>>() {
        let metadata = match &source {
            Source::Secret(object) => &object.metadata,
            Source::ConfigMap(object) => &object.metadata,
        };
        let name = metadata.name.clone().unwrap_or_default();
        let held = metadata.finalizers.as_ref().is_some_and(|all| all.contains(&mark));
        let is_going = metadata.deletion_timestamp.is_some();
        let everything_goes = subject.is_deleting();
        if !is_going && !held && !everything_goes {
            let doing = format!("marking {} {name} as being in use", source.kind());
            match &source {
                Source::Secret(object) => finalizer::add(&api(subject), object, &mark).await.map(drop),
                Source::ConfigMap(object) => finalizer::add(&api(subject), object, &mark).await.map(drop),
            }
            .map_err(Error::of(doing))?;
        }
        if is_going && !everything_goes && !namespace_is_going(subject).await? {
            let held = Held { is_secret: matches!(source, Source::Secret(_)), name: &name };
            let_go(&subject.context.client, &subject.key.0, &mark, held).await?;
            let is_credential =
                name == subject.hypervisor.spec.credentials_secret_ref.name && matches!(source, Source::Secret(_));
            let reason = if is_credential { HypervisorReason::CredentialsMissing } else { HypervisorReason::CaMissing };
            let text = format!("{} {name} is being deleted; what was read from it is used on", source.kind());
            input.trouble = input.trouble.take().or(Some(Trouble::new(reason, text)));
        }
    }
    Ok(())
}

async fn let_go(client: &Client, namespace: &str, mark: &str, held: Held<'_>) -> Result<(), Error> {
    let doing = format!("letting {held} go");
    if held.is_secret {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        if let Some(object) = api.get_opt(held.name).await.map_err(Error::of(&doing))? {
            finalizer::remove(&api, &object, mark).await.map_err(Error::of(doing))?;
        }
    } else {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        if let Some(object) = api.get_opt(held.name).await.map_err(Error::of(&doing))? {
            finalizer::remove(&api, &object, mark).await.map_err(Error::of(doing))?;
        }
    }
    Ok(())
}

fn mark(subject: &Subject<'_>) -> String {
    in_use_finalizer(subject.hypervisor.metadata.uid.as_deref().unwrap_or_default())
}

fn api<K>(subject: &Subject<'_>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(subject.context.client.clone(), &subject.key.0)
}

async fn namespace_is_going(subject: &Subject<'_>) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(subject.context.client.clone());
    let namespace = api.get_opt(&subject.key.0).await;
    let namespace = namespace.map_err(Error::of(format!("looking whether namespace {} stays", subject.key.0)))?;
    Ok(namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_written_in_words() {
        for text in ["Secret/pve-credentials", "ConfigMap/pve-ca.crt"] {
            assert_eq!(Held::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Held::parse("Pod/x"), None);
        assert_eq!(Held::parse("nonsense"), None);
    }
}

//! The finalizer: a `Hypervisor` stays while a Worker needs it.

use kube::Api;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::error::Error;
use super::held;
use super::subject::Subject;
use crate::api::Worker;
use crate::api::names::HYPERVISOR_FINALIZER;
use crate::api::reasons::HypervisorReason;
use crate::controller::unreadable::Guarded;
use crate::controller::{finalizer, snapshot};

/// Whether there is still something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// The Hypervisor stays for now.
    Stays,
    /// The finalizer was just set: what it holds must be looked at.
    Begun,
    /// Nothing of ours keeps it any longer.
    Gone,
}

/// Sets the finalizer with the first Worker, and removes it when the Hypervisor is to go and none needs it.
pub(super) async fn settle(subject: &mut Subject<'_>) -> Result<Hold, Error> {
    let is_held = finalizer::has(&subject.hypervisor, HYPERVISOR_FINALIZER);
    match (subject.is_deleting(), is_held) {
        (true, false) => Ok(Hold::Gone),
        (true, true) if subject.is_abandoned() => {
            abandon(subject);
            release(subject).await
        }
        (true, true) if subject.workers_known && !is_needed(subject) && is_unused(subject).await? => {
            release(subject).await
        }
        (false, false) if is_needed(subject) => {
            let added = finalizer::add(&subject.api(), &subject.hypervisor, HYPERVISOR_FINALIZER).await;
            let doing = format!("putting a finalizer on Hypervisor {}", subject.name());
            subject.replace(added.map_err(Error::of(doing))?);
            Ok(Hold::Begun)
        }
        _ => Ok(Hold::Stays),
    }
}

/// Whether a Worker needs it, or may: one that cannot be read has a VM perhaps.
fn is_needed(subject: &Subject<'_>) -> bool {
    !subject.workers.is_empty() || !subject.unreadable.is_empty()
}

/// Asks the API server itself: the cache may not have the newest Worker.
async fn is_unused(subject: &Subject<'_>) -> Result<bool, Error> {
    let api: Api<Guarded<Worker>> = Api::namespaced(subject.context.client.clone(), &subject.key.0);
    let doing = format!("looking whether a Worker names Hypervisor {}", subject.name());
    let all = api.list(&ListParams::default()).await.map_err(Error::of(doing))?;
    let needs_it = |worker: &Guarded<Worker>| match &worker.0 {
        Ok(worker) => worker.spec.hypervisor_ref.name == subject.key.1,
        Err(unreadable) => unreadable.may_need(&subject.key),
    };
    Ok(!all.iter().any(needs_it))
}

/// Says what is left behind: on its owner's word it goes although Workers need it.
fn abandon(subject: &Subject<'_>) {
    let mut left: Vec<String> = subject.workers.iter().map(|worker| with_vm(worker)).collect();
    left.extend(subject.unreadable.iter().map(|worker| {
        let ids: Vec<&str> = worker.vm_ids().collect();
        format!(
            "{} (cannot be read; VM {})",
            worker.name(),
            if ids.is_empty() { "?".to_owned() } else { ids.join(", ") }
        )
    }));
    left.sort();
    let note = if left.is_empty() {
        "released on request; no Worker needs it".to_owned()
    } else {
        format!("released on request; the VMs of these Workers are left behind: {}", left.join(", "))
    };
    tracing::warn!(hypervisor = subject.name(), "{note}");
    subject.context.metrics.abandoned();
    subject.tell(true, HypervisorReason::Abandoned, "Release", note);
}

/// A Worker's name, with its VM.
fn with_vm(worker: &Worker) -> String {
    let vm = snapshot::vm_of(worker).map_or_else(|| "no known VM".to_owned(), |at| at.to_string());
    format!("{} ({vm})", worker.name_any())
}

/// First what it holds, then itself: a Hypervisor that is gone could no longer let its Secret go.
async fn release(subject: &mut Subject<'_>) -> Result<Hold, Error> {
    held::release(subject).await?;
    let doing = format!("releasing Hypervisor {}", subject.name());
    let removed = finalizer::remove(&subject.api(), &subject.hypervisor, HYPERVISOR_FINALIZER).await;
    if let Some(written) = removed.map_err(Error::of(doing))? {
        subject.replace(written);
    }
    tracing::info!(hypervisor = subject.name(), "released");
    Ok(Hold::Gone)
}

//! The probe: who answers, and what may the credential do? With first contact, after failures, and now and then.

use super::identity::{self, Standing};
use super::memory::{Memory, Probed};
use super::share;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::api::hypervisor::Provider;
use crate::api::names::ACCEPT_IDENTITY;
use crate::api::reasons::HypervisorReason;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::{InUse, Probe};

/// The oldest Proxmox VE that is supported: major and minor version.
const OLDEST_PROXMOX: (u32, u32) = (8, 4);

/// Probes. Fails if nothing may be done with what answers; a cluster without quorum, or a credential that lacks
/// privileges, can still be watched.
pub(super) async fn probe(
    subject: &Subject<'_>,
    memory: &mut Memory,
    client: &SharedHypervisor,
) -> Result<(), Trouble> {
    memory.probed = None;
    let probe = client.probe().await.map_err(|fault| Trouble::from(&fault))?;
    let pinned = subject.status().identity.as_ref().map(identity::from_status);
    let standing =
        identity::judge(pinned.as_ref(), &probe.identity, probe.quorate, subject.annotation(ACCEPT_IDENTITY));
    memory.quorate = probe.quorate;
    let refused = refusal(subject.hypervisor.spec.provider, &probe, &standing);
    let at = subject.context.clock.boot();
    memory.probed = Some(Probed { at, probe, standing, missing: Vec::new(), in_use: InUse::default() });
    share::share(subject, memory);
    match refused {
        Some(trouble) => Err(trouble),
        None => look_at_privileges(subject, memory, client).await,
    }
}

/// Asks what the credential lacks.
pub(super) async fn look_at_privileges(
    subject: &Subject<'_>,
    memory: &mut Memory,
    client: &SharedHypervisor,
) -> Result<(), Trouble> {
    let in_use = in_use(subject);
    let missing = client.missing_privileges(&in_use).await.map_err(|fault| Trouble::from(&fault))?;
    if let Some(probed) = &mut memory.probed {
        probed.missing = missing;
        probed.in_use = in_use;
    }
    Ok(())
}

/// Whether workers name something now on which privileges were not looked at, or no longer what they were looked at for.
pub(super) fn is_out_of_date(subject: &Subject<'_>, memory: &Memory) -> bool {
    memory.probed.as_ref().is_some_and(|probed| probed.in_use != in_use(subject))
}

/// What the workers name, apart from those that go.
fn in_use(subject: &Subject<'_>) -> InUse {
    let workers = || subject.workers.iter().filter(|worker| worker.metadata.deletion_timestamp.is_none());
    let storages = workers().filter_map(|worker| worker.spec.proxmox.as_ref()).map(|proxmox| proxmox.storage.clone());
    let networks = workers().flat_map(|worker| &worker.spec.networks);
    let bridges = networks.filter_map(|network| network.bridge.clone());
    // Only where an image is downloaded are the rights to download needed, and only there are they asked for.
    let by_url = workers().filter(|worker| worker.spec.image.url.is_some());
    let images = by_url.filter_map(|worker| {
        let place = worker.spec.proxmox.as_ref()?;
        Some((place.image_storage.clone()?, place.host.clone()))
    });
    InUse { storages: storages.collect(), bridges: bridges.collect(), images: images.collect() }
}

/// Whether a cluster that was refused may be taken over by now.
pub(super) fn is_accepted_now(subject: &Subject<'_>, memory: &Memory) -> bool {
    let accept = subject.annotation(ACCEPT_IDENTITY);
    matches!(memory.standing(), Some(Standing::Changed { name, .. }) if accept == Some(name.as_str()))
}

/// Why nothing may be done with what answers.
fn refusal(provider: Provider, probe: &Probe, standing: &Standing) -> Option<Trouble> {
    let Provider::Proxmox = provider;
    if version(&probe.version).is_some_and(|version| version < OLDEST_PROXMOX) {
        let (major, minor) = OLDEST_PROXMOX;
        let text =
            format!("{} {} is older than {major}.{minor}, the oldest that is supported", probe.product, probe.version);
        return Some(Trouble::new(HypervisorReason::VersionUnsupported, text));
    }
    let Standing::Changed { name, why } = standing else { return None };
    Some(Trouble::new(
        HypervisorReason::IdentityChanged,
        format!(
            "another cluster answers behind the endpoints: {why}. Nothing is touched there. Put the old endpoints back, \
             or set the annotation {ACCEPT_IDENTITY}: {name} to take this cluster over"
        ),
    ))
}

/// Major and minor version of `8.4.1`, `9.2`, `8.4-1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::vm::ClusterIdentity;

    fn answer(version: &str) -> Probe {
        Probe {
            product: "Proxmox VE".into(),
            version: version.into(),
            identity: ClusterIdentity::default(),
            quorate: true,
            certificate_ends: None,
        }
    }

    #[test]
    fn old_versions_and_other_clusters_are_refused() {
        let known = Standing::Known(ClusterIdentity::default());
        for (version, is_fine) in [("8.4.1", true), ("9.2", true), ("10.0.0", true), ("8.3.9", false), ("odd", true)] {
            assert_eq!(refusal(Provider::Proxmox, &answer(version), &known).is_none(), is_fine, "{version}");
        }
        let changed = Standing::Changed { name: "test".into(), why: "it is called test".into() };
        let trouble = refusal(Provider::Proxmox, &answer("9.0.0"), &changed).unwrap();
        assert_eq!(trouble.reason, HypervisorReason::IdentityChanged);
        assert!(trouble.message.contains("stevedore.dev/accept-identity: test"));
    }
}

//! The Lease object: what is written into it, and when another's may be taken.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::Settings;
use crate::clock::BootTime;

/// Another holder's record since it was first seen like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    /// The resourceVersion; none if the Lease is absent.
    version: Option<String>,
    holder: String,
    since: BootTime,
    lasts: Duration,
}

/// What may be done with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Free,
    Held { by: String },
}

/// Judges the record as it was read before `now`. A change of any kind, even its absence, begins the wait anew.
pub(super) fn judge(
    record: Option<&Lease>,
    observed: &mut Option<Observation>,
    settings: &Settings,
    now: BootTime,
) -> Verdict {
    let seen = match record {
        None => match observed.as_ref() {
            None => return Verdict::Free,
            Some(last) => Observation { version: None, holder: last.holder.clone(), since: now, lasts: last.lasts },
        },
        Some(record) => match holder(record) {
            None => return Verdict::Free,
            Some(holder) if holder == settings.holder => return Verdict::Free,
            Some(holder) => Observation {
                version: record.metadata.resource_version.clone(),
                holder: holder.to_owned(),
                since: now,
                lasts: duration(record).max(settings.duration),
            },
        },
    };
    let held = match observed.take() {
        Some(last) if last.version == seen.version && last.holder == seen.holder => last,
        _ => seen,
    };
    let verdict =
        if now.since(held.since) >= held.lasts { Verdict::Free } else { Verdict::Held { by: held.holder.clone() } };
    *observed = Some(held);
    verdict
}

/// Who holds the record; none if it was given back.
pub(super) fn holder(record: &Lease) -> Option<&str> {
    record.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn duration(record: &Lease) -> Duration {
    let seconds = record.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The record, held by this process from now on.
pub(super) fn held(mut record: Lease, settings: &Settings, now: Timestamp) -> Lease {
    let renews = holder(&record) == Some(&settings.holder);
    let old = record.spec.take().unwrap_or_default();
    let is_new = record.metadata.resource_version.is_none();
    let transitions = old.lease_transitions.unwrap_or(0);
    let mut spec = LeaseSpec {
        holder_identity: Some(settings.holder.clone()),
        lease_duration_seconds: Some(whole_seconds(settings.duration)),
        renew_time: Some(MicroTime(now)),
        ..old
    };
    if !renews {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(if is_new { 0 } else { transitions.saturating_add(1) });
    }
    record.metadata.name = Some(settings.name.clone());
    record.metadata.namespace = Some(settings.namespace.clone());
    record.metadata.managed_fields = None;
    record.spec = Some(spec);
    record
}

/// The record without a holder.
pub(super) fn released(mut record: Lease, now: Timestamp) -> Lease {
    let spec = record.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(now));
    record.metadata.managed_fields = None;
    record
}

/// At least one: the API server refuses less. Rounded up, so that others never wait too short.
fn whole_seconds(duration: Duration) -> i32 {
    let up = u64::from(duration.subsec_nanos() > 0);
    i32::try_from(duration.as_secs().saturating_add(up)).unwrap_or(i32::MAX).max(1)
}

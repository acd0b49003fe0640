//! What workers are told: the state of their hypervisor, and that their VM looks different.

use std::collections::BTreeSet;

use kube::runtime::reflector::ObjectRef;

use super::facts::Facts;
use super::memory::Memory;
use super::poll::vm_ids;
use super::share;
use super::sights::Sights;
use super::subject::Subject;
use crate::api::Worker;
use crate::api::conditions::{self, STALLED};
use crate::api::reasons::WorkerReason;
use crate::controller::budget;
use crate::controller::connection::State;
use crate::domain::observation::HypervisorState;

/// The port of an `https` URL that names none.
const HTTPS: u16 = 443;

/// Publishes to the connection, and wakes the workers that this concerns. `before` is what was seen of their VMs then.
pub(super) fn publish(subject: &Subject<'_>, memory: &mut Memory, before: &Sights) {
    share::share(subject, memory);
    let next = state(subject, memory, &Facts::of(subject, memory));
    let former = subject.connection.update(|state| std::mem::replace(state, next.clone()));
    let concerns_all = reason(&former.verdict) != reason(&next.verdict)
        || former.paused != next.paused
        || memory.told != subject.generation();
    memory.told = subject.generation();
    wake(subject, concerns_all, before, &memory.sights);
}

fn state(subject: &Subject<'_>, memory: &Memory, facts: &Facts<'_>) -> State {
    let verdict = match facts.unusable() {
        None => HypervisorState::Ready,
        Some(trouble) => HypervisorState::Away(trouble.for_workers(&subject.key.1)),
    };
    let before = subject.connection.state();
    let is_away = verdict != HypervisorState::Ready && facts.was_looked_at();
    let spec = &subject.hypervisor.spec;
    State {
        client: memory.client.clone(),
        away_since: if is_away { before.away_since.or(Some(subject.now)) } else { None },
        verdict,
        paused: spec.paused,
        vm_ids: vm_ids(subject),
        parallel_launches: usize::try_from(facts.limits.parallel_launches).unwrap_or(1),
        tasks_per_storage: facts
            .limits
            .tasks_per_storage
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(usize::MAX),
        unschedulable_hosts: subject.hypervisor.spec.unschedulable_hosts.iter().cloned().collect(),
        resting: resting(subject),
        endpoints: spec.endpoints.iter().filter_map(|url| endpoint(url)).collect(),
    }
}

/// The ids that rest because of this Hypervisor or another one on the same cluster.
fn resting(subject: &Subject<'_>) -> BTreeSet<u32> {
    let peers = subject.peers.iter().map(AsRef::as_ref);
    budget::resting(subject.context, peers.chain([&subject.hypervisor]))
}

/// The reason of a verdict: only another one is worth waking everybody.
fn reason(verdict: &HypervisorState) -> Option<WorkerReason> {
    match verdict {
        HypervisorState::Ready => None,
        HypervisorState::Away(problem) | HypervisorState::Missing(problem) => Some(problem.reason),
    }
}

fn wake(subject: &Subject<'_>, all: bool, before: &Sights, seen: &Sights) {
    let has_other_supplies = seen.are_of_other_supplies(before);
    for worker in &subject.workers_by_now() {
        let uid = worker.metadata.uid.as_deref().unwrap_or_default();
        if all || seen.concern(uid, before) || has_other_supplies && is_stalled(worker) {
            // Nobody listens only while the process ends.
            let _ = subject.context.changed.send(ObjectRef::from_obj(worker.as_ref()));
        }
    }
}

fn is_stalled(worker: &Worker) -> bool {
    worker.status.as_ref().is_some_and(|status| conditions::is_true(&status.conditions, STALLED))
}

/// Host and port of `https://host[:port]`.
fn endpoint(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.trim().parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), uri.port_u16().unwrap_or(HTTPS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        assert_eq!(endpoint("https://pve1:8006"), Some(("pve1".into(), 8006)));
        assert_eq!(endpoint("https://pve1.example.org/"), Some(("pve1.example.org".into(), 443)));
        assert_eq!(endpoint("https://[2001:db8::1]:8006"), Some(("2001:db8::1".into(), 8006)));
        assert_eq!(endpoint("nonsense://"), None);
    }
}

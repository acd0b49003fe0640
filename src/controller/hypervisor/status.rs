//! The status of a `Hypervisor`: made from what is known, written only if something other than times differs.

use super::conditions;
use super::error::Error;
use super::facts::Facts;
use super::identity::{self, Standing};
use super::memory::{Contact, Memory};
use super::subject::Subject;
use crate::api::common::Quantity;
use crate::api::conditions::{Answer, Condition, READY, find, set};
use crate::api::hypervisor_status::{HostStatus, MAX_HOSTS, MAX_ORPHANS, Orphan};
use crate::api::reasons::HypervisorReason;
use crate::api::{HypervisorStatus, WorkerSession, hypervisor_status};
use crate::controller::scheduling::hypervisor_of;
use crate::controller::{apply, budget, snapshot};
use crate::domain::identity::Mark;
use crate::domain::outcome::ended;
use crate::hypervisor::inventory::HostSummary;
use crate::hypervisor::vm::{Power, VmRef};

/// The status of these facts. The list of deletions is not a part of it: it is a gate, and written as one.
pub(super) fn status(subject: &Subject<'_>, memory: &Memory, facts: &Facts<'_>) -> HypervisorStatus {
    let before = subject.status();
    let probe = memory.probed.as_ref().map(|probed| &probed.probe);
    let mut next = HypervisorStatus {
        observed_generation: facts.generation,
        identity: pinned(memory).or(before.identity),
        product: probe.map(|probe| probe.product.clone()).or(before.product),
        version: probe.map(|probe| probe.version.clone()).or(before.version),
        workers: subject
            .workers_known
            .then(|| count(subject.workers.len() + subject.unreadable.len()))
            .or(before.workers),
        limits: Some(facts.limits.clone()),
        conditions: before.conditions,
        hosts: before.hosts,
        hosts_online: before.hosts_online,
        running_workers: before.running_workers,
        sessions: sessions(subject, before.sessions),
        orphans: before.orphans,
        orphan_count: before.orphan_count,
        deletions: Vec::new(),
    };
    match facts.contact {
        Contact::Fine => seen(&mut next, subject, memory),
        Contact::Failed(_) => unseen(&mut next),
        Contact::NotYet => {}
    }
    for condition in conditions::conditions(facts) {
        set(&mut next.conditions, condition, facts.now);
    }
    next
}

/// Whether another identity is to be remembered: workers may be served only after that was written.
pub(super) fn pins_anew(subject: &Subject<'_>, next: &HypervisorStatus) -> bool {
    next.identity.is_some() && subject.status().identity != next.identity
}

fn pinned(memory: &Memory) -> Option<hypervisor_status::ClusterIdentity> {
    match memory.standing()? {
        Standing::Known(identity) => Some(identity::to_status(identity)),
        _ => None,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How many sessions have not ended; nothing is said of them before there was one.
fn sessions(subject: &Subject<'_>, before: Option<i32>) -> Option<i32> {
    let context = subject.context;
    if !context.sessions_listed.has_come() {
        return before;
    }
    let is_open = |session: &WorkerSession| hypervisor_of(session) == subject.key && ended(session).is_none();
    let open = context.sessions.state().iter().filter(|session| is_open(session)).count();
    (open > 0 || before.is_some()).then(|| count(open))
}

/// Takes over what the latest poll has shown.
fn seen(next: &mut HypervisorStatus, subject: &Subject<'_>, memory: &Memory) {
    subject.connection.view(|view| {
        let hosts = &view.inventory().hosts;
        let online = hosts.values().filter(|host| host.online).count();
        next.hosts_online = Some(format!("{online}/{}", hosts.len()));
        next.hosts = hosts.iter().take(MAX_HOSTS).map(|(name, host)| host_status(name, host)).collect();
        let is_running = |uid: &String| memory.sights.by_uid.get(uid).is_some_and(|sight| sight.power == Power::On);
        let uids = || {
            let readable = subject.workers.iter().map(|worker| &worker.metadata);
            let all = readable.chain(subject.unreadable.iter().map(|worker| &worker.metadata));
            all.filter_map(|metadata| metadata.uid.as_ref())
        };
        next.running_workers = Some(count(uids().filter(|uid| is_running(uid)).count()));
        if subject.workers_known && view.is_complete() {
            let is_known = uids().collect::<std::collections::BTreeSet<_>>();
            // Mostly every VM belongs to a Worker of this Hypervisor: then there is no need to collect all Workers.
            let all = if memory.sights.by_uid.keys().all(|uid| is_known.contains(uid)) {
                Vec::new()
            } else {
                view.orphans(&subject.context.installation, &snapshot::uids(subject.context))
            };
            next.orphan_count = Some(count(all.len()));
            next.orphans = all.into_iter().take(MAX_ORPHANS).map(orphan).collect();
        }
    });
}

/// The hypervisor could not be asked: what was true then may not be true now.
fn unseen(next: &mut HypervisorStatus) {
    for host in &mut next.hosts {
        "Unknown".clone_into(&mut host.state);
    }
    if !next.hosts.is_empty() {
        next.hosts_online = Some(format!("?/{}", next.hosts.len()));
    }
}

fn host_status(name: &str, host: &HostSummary) -> HostStatus {
    let memory = i64::try_from(host.memory).ok().filter(|bytes| *bytes > 0);
    HostStatus {
        name: name.to_owned(),
        state: if host.online { "Online" } else { "Offline" }.to_owned(),
        cpus: i32::try_from(host.cpus).ok().filter(|cpus| *cpus > 0),
        memory: memory.map(Quantity::from_bytes),
    }
}

fn orphan((at, name, mark): (VmRef, String, Mark)) -> Orphan {
    let given = |text: String| (!text.is_empty()).then_some(text);
    Orphan {
        vm_id: at.id,
        host: given(at.host),
        name: given(name),
        worker: given(mark.worker),
        worker_uid: given(mark.worker_uid),
    }
}

/// Writes the status if it is another one, and forgets deletions that no longer count.
pub(super) async fn write(subject: &mut Subject<'_>, next: HypervisorStatus) -> Result<(), Error> {
    let before = HypervisorStatus { deletions: Vec::new(), ..subject.status() };
    if before != next {
        let written = apply::status(&subject.api(), &subject.hypervisor, &next).await;
        let written = written.map_err(Error::of(format!("writing the status of Hypervisor {}", subject.name())))?;
        subject.replace(written);
        tell(subject, &before.conditions, &next.conditions);
    }
    if let Some(pruned) = budget::prune(subject.context, &subject.hypervisor).await? {
        subject.replace(pruned);
    }
    Ok(())
}

/// An event, if the hypervisor has become ready or ceased to be.
fn tell(subject: &Subject<'_>, before: &[Condition], next: &[Condition]) {
    let Some(ready) = find(next, READY) else { return };
    let is_same = |before: &Condition| before.status == ready.status && before.reason == ready.reason;
    let reason = HypervisorReason::ALL.iter().find(|reason| reason.as_str() == ready.reason);
    let Some(reason) = reason.filter(|_| !find(before, READY).is_some_and(is_same)) else { return };
    let is_bad = ready.status == Answer::False.as_str();
    tracing::info!(
        hypervisor = subject.name(),
        reason = reason.as_str(),
        message = ready.message,
        "Ready is {}",
        ready.status
    );
    subject.tell(is_bad, *reason, "Observe", ready.message.clone());
}

//! One poll: a fixed number of requests, and a look at those VMs that may be ours and are not known yet, or should be
//! there and are not.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;

use super::absent;
use super::identity::Standing;
use super::memory::Memory;
use super::probe;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::clock::BootTime;
use crate::controller::view::{Poll, is_being_made};
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::Shown;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::inventory::Inventory;
use crate::hypervisor::vm::{MissingPrivilege, VmDetail, VmRef};

/// VMs that are read at a time.
const READS: usize = 4;
/// After a VM was missing, it is asked with this many polls who answers and what the credential may do: with those that
/// would prove its absence.
const RECHECKS: u8 = 2;

/// Polls, and takes what is seen into the view.
pub(super) async fn poll(subject: &Subject<'_>, memory: &mut Memory, client: &SharedHypervisor) -> Result<(), Trouble> {
    let begun = subject.context.clock.boot();
    let inventory = client.inventory().await.map_err(|fault| Trouble::from(&fault))?;
    let (range, every) = (vm_ids(subject), subject.context.patience.probe);
    let again = BootTime::from_start(begun.since_start().saturating_sub(every));
    let candidates = subject.connection.view(|view| view.to_read(&inventory, range, again));
    let mut reading = read_candidates(client, &inventory, candidates).await?;
    let missing = absent::unproven(subject, memory, &inventory);
    look_again(subject, memory, client, &inventory, !missing.is_empty()).await?;
    if inventory.quorate {
        reading.unread.extend(absent::look(subject, memory, client, &inventory, missing).await?);
    }
    reading.unread.sort();
    memory.quorate = inventory.quorate;
    memory.unread = reading.unread;
    let complete = inventory.quorate
        && is_pinned(memory, &inventory)
        && memory.missing().iter().all(MissingPrivilege::concerns_some_workers)
        && memory.unread.is_empty();
    let read = reading.shown;
    let poll = Poll { begun, inventory, read, complete };
    subject.connection.change_view(|view| view.absorb(poll, &subject.context.installation));
    let being_made = |id: &str| subject.connection.view(|view| view.inventory().vms.get(id).is_some_and(is_being_made));
    subject.connection.keep_untasked(being_made);
    Ok(())
}

/// Rules out what would make a VM look gone: another cluster that answers, or a credential that lost its rights.
async fn look_again(
    subject: &Subject<'_>,
    memory: &mut Memory,
    client: &SharedHypervisor,
    inventory: &Inventory,
    is_missing: bool,
) -> Result<(), Trouble> {
    if is_missing {
        memory.recheck = RECHECKS;
    }
    // Another node may have answered this time, or an endpoint's name point elsewhere by now. Nodes that are off are
    // listed all the same: at rest the list is the one that is pinned.
    if inventory.quorate && (memory.recheck > 0 || !is_pinned(memory, inventory)) {
        memory.recheck = memory.recheck.saturating_sub(1);
        probe::probe(subject, memory, client).await
    } else if probe::is_out_of_date(subject, memory) {
        probe::look_at_privileges(subject, memory, client).await
    } else {
        Ok(())
    }
}

/// The VM ids that may be used, both ends included.
pub(super) fn vm_ids(subject: &Subject<'_>) -> (u32, u32) {
    let range = subject.hypervisor.spec.proxmox.as_ref().map(|proxmox| proxmox.vm_id_range);
    range.map_or((1, 0), |range| (u32::try_from(range.min).unwrap_or(0), u32::try_from(range.max).unwrap_or(0)))
}

struct Reading {
    shown: BTreeMap<String, Shown>,
    unread: Vec<VmRef>,
}

/// Whether the inventory is that of the pinned cluster, as far as its nodes tell.
fn is_pinned(memory: &Memory, inventory: &Inventory) -> bool {
    let Some(Standing::Known(pinned)) = memory.standing() else { return false };
    pinned.nodes.iter().collect::<BTreeSet<_>>() == inventory.hosts.keys().collect()
}

/// Reads the candidates. One that cannot be read may be anybody's: the poll is not complete then.
async fn read_candidates(
    client: &SharedHypervisor,
    inventory: &Inventory,
    candidates: Vec<VmRef>,
) -> Result<Reading, Trouble> {
    let is_online = |at: &VmRef| inventory.hosts.get(&at.host).is_none_or(|host| host.online);
    let (there, away): (Vec<VmRef>, Vec<VmRef>) = candidates.into_iter().partition(is_online);
    let mut reading = Reading { shown: BTreeMap::new(), unread: away };
    for (at, answer) in read(client, there).await? {
        match answer {
            Ok(vm) => drop(reading.shown.insert(at.id, vm.shown)),
            Err(_) => reading.unread.push(at),
        }
    }
    Ok(reading)
}

/// Reads VMs live, some at a time. Fails only if the hypervisor as a whole cannot be asked.
pub(super) async fn read(
    client: &SharedHypervisor,
    vms: Vec<VmRef>,
) -> Result<Vec<(VmRef, Result<VmDetail, Fault>)>, Trouble> {
    let mut answers = futures::stream::iter(vms)
        .map(|at| async move {
            let answer = client.vm(&at).await;
            (at, answer)
        })
        .buffer_unordered(READS);
    let mut all = Vec::new();
    while let Some((at, answer)) = answers.next().await {
        if let Err(fault) = &answer {
            if matches!(fault.kind, FaultKind::Unauthorized | FaultKind::Certificate) {
                return Err(Trouble::from(fault));
            }
            tracing::debug!(%at, %fault, "a VM that is or may be ours could not be read");
        }
        all.push((at, answer));
    }
    Ok(all)
}

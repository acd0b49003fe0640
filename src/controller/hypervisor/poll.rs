//! One poll: a fixed number of requests, and a look at those VMs that may be ours and are not known yet.

use std::collections::BTreeMap;

use futures::StreamExt as _;

use super::identity::Standing;
use super::memory::Memory;
use super::probe;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::controller::view::{Poll, is_being_made};
use crate::domain::fault::FaultKind;
use crate::domain::identity::{Mark, Shown};
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::inventory::Inventory;
use crate::hypervisor::vm::{MissingPrivilege, VmRef};

/// VMs that are read at a time.
const READS: usize = 4;
/// After a VM was missing, the privileges are looked at with this many polls: with those that would prove its absence.
const RECHECKS: u8 = 2;

/// Polls, and takes what is seen into the view.
pub(super) async fn poll(subject: &Subject<'_>, memory: &mut Memory, client: &SharedHypervisor) -> Result<(), Trouble> {
    let begun = subject.context.clock.boot();
    let inventory = client.inventory().await.map_err(|fault| Trouble::from(&fault))?;
    let range = vm_ids(subject);
    let candidates = subject.connection.view(|view| view.to_read(&inventory, range));
    let read = read(client, &inventory, candidates).await?;
    if is_vm_missing(subject, &inventory) {
        memory.recheck = RECHECKS;
    }
    if memory.recheck > 0 || probe::is_out_of_date(subject, memory) {
        memory.recheck = memory.recheck.saturating_sub(1);
        probe::look_at_privileges(subject, memory, client).await?;
    }
    memory.quorate = inventory.quorate;
    memory.unread = read.unread;
    // A poll that another cluster answered (an endpoint's name may point elsewhere by now) proves nothing.
    let is_known = match memory.standing() {
        Some(Standing::Known(pinned)) => pinned.nodes.iter().any(|node| inventory.hosts.contains_key(node)),
        _ => false,
    };
    let complete = inventory.quorate
        && is_known
        && memory.missing().iter().all(MissingPrivilege::concerns_some_workers)
        && memory.unread.is_empty();
    let poll = Poll { begun, inventory, read: read.shown, complete };
    subject.connection.change_view(|view| view.absorb(poll, &subject.context.installation));
    let being_made = |id: &str| subject.connection.view(|view| view.inventory().vms.get(id).is_some_and(is_being_made));
    subject.connection.keep_untasked(being_made);
    Ok(())
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

/// Reads the candidates. One that cannot be read may be anybody's: the poll is not complete then. Only if the
/// hypervisor as a whole cannot be asked has the poll failed.
async fn read(client: &SharedHypervisor, inventory: &Inventory, candidates: Vec<VmRef>) -> Result<Reading, Trouble> {
    let is_online = |at: &VmRef| inventory.hosts.get(&at.host).is_none_or(|host| host.online);
    let (there, away): (Vec<VmRef>, Vec<VmRef>) = candidates.into_iter().partition(is_online);
    let mut reading = Reading { shown: BTreeMap::new(), unread: away };
    let mut answers = futures::stream::iter(there)
        .map(|at| async move {
            let answer = client.vm(&at).await;
            (at, answer)
        })
        .buffer_unordered(READS);
    while let Some((at, answer)) = answers.next().await {
        match answer {
            Ok(vm) => drop(reading.shown.insert(at.id, vm.shown)),
            Err(fault) if matches!(fault.kind, FaultKind::Unauthorized | FaultKind::Certificate) => {
                return Err(Trouble::from(&fault));
            }
            Err(fault) => {
                tracing::debug!(%at, %fault, "a VM that may be ours could not be read");
                reading.unread.push(at);
            }
        }
    }
    drop(answers);
    reading.unread.sort();
    Ok(reading)
}

/// Whether a VM of ours that was there before is not any more. Then a credential that lost its rights must be ruled out.
fn is_vm_missing(subject: &Subject<'_>, inventory: &Inventory) -> bool {
    let ours = |shown: &Shown| {
        Mark::parse(&shown.description).is_some_and(|mark| mark.installation == subject.context.installation)
    };
    subject.connection.view(|view| view.known().any(|(id, _, shown)| !inventory.vms.contains_key(id) && ours(shown)))
}

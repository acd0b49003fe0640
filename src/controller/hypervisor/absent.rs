//! VMs of ours that an inventory lacks: are they gone, or out of the credential's sight?
//!
//! An inventory silently leaves out what the credential may not see, and a rule on one VM alone shows in no privilege
//! that is looked at. So each VM that should be there and is not is read once: only if it is not there it is gone.

use std::collections::{BTreeMap, BTreeSet};

use super::memory::Memory;
use super::poll::read;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::clock::BootTime;
use crate::controller::snapshot::known_vm;
use crate::domain::fault::FaultKind;
use crate::domain::identity::Mark;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::inventory::Inventory;
use crate::hypervisor::vm::VmRef;

/// VMs that are asked for in one poll, at most. The others have their turn in the next ones.
const MOST_AT_ONCE: usize = 32;

/// What is known of VMs that should be in the inventory and are not.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// When each that is gone was found to be, by its id.
    gone: BTreeMap<String, BootTime>,
    /// Those that are not known to be gone, each with the UID of its worker.
    unproven: Vec<(VmRef, String)>,
}

/// The VMs of this Hypervisor's workers that `inventory` lacks and that are not known to be gone.
pub(super) fn unproven(subject: &Subject<'_>, memory: &mut Memory, inventory: &Inventory) -> Vec<VmRef> {
    let mut expected = expected(subject, &memory.absent);
    expected.retain(|id, _| !inventory.vms.contains_key(id));
    let (now, every) = (subject.context.clock.boot(), subject.context.patience.probe);
    memory.absent.gone.retain(|id, since| expected.contains_key(id) && now.since(*since) < every);
    expected.retain(|id, _| !memory.absent.gone.contains_key(id));
    memory.absent.unproven = expected.into_values().collect();
    memory.absent.unproven.iter().map(|(at, _)| at.clone()).collect()
}

/// Where each VM of this Hypervisor's workers was last, by its id: as the polls up to now have shown, or as a status
/// says, for this process may be young.
fn expected(subject: &Subject<'_>, absent: &Absent) -> BTreeMap<String, (VmRef, String)> {
    let readable = subject.workers.iter().map(|worker| &worker.metadata);
    let all = readable.chain(subject.unreadable.iter().map(|worker| &worker.metadata));
    let uids: BTreeSet<&str> = all.filter_map(|metadata| metadata.uid.as_deref()).collect();
    // What nobody needs any more, an orphan or what was abandoned, holds nobody up.
    let is_needed = |uid: &str| !subject.workers_known || uids.contains(uid);
    let mut expected: BTreeMap<String, (VmRef, String)> = BTreeMap::new();
    for worker in &subject.workers {
        if let (Some(at), Some(uid)) = (worker.status.as_ref().and_then(known_vm), worker.metadata.uid.clone()) {
            expected.insert(at.id.clone(), (at, uid));
        }
    }
    for (at, uid) in absent.unproven.iter().filter(|(_, uid)| is_needed(uid)) {
        expected.insert(at.id.clone(), (at.clone(), uid.clone()));
    }
    subject.connection.view(|view| {
        for (id, vm, shown) in view.known() {
            let ours = |mark: &Mark| {
                mark.installation == subject.context.installation && mark.vm_id == *id && is_needed(&mark.worker_uid)
            };
            if let Some(mark) = Mark::parse(&shown.description).filter(ours) {
                let at = VmRef { host: vm.host.clone(), id: id.clone() };
                expected.insert(id.clone(), (at, mark.worker_uid));
            }
        }
    });
    expected
}

/// Asks for those of `missing` whose turn it is. Gives back those that are still not known to be gone: hidden, on a host
/// that is away, or there after all.
pub(super) async fn look(
    subject: &Subject<'_>,
    memory: &mut Memory,
    client: &SharedHypervisor,
    inventory: &Inventory,
    missing: Vec<VmRef>,
) -> Result<Vec<VmRef>, Trouble> {
    let is_online = |at: &VmRef| inventory.hosts.get(&at.host).is_none_or(|host| host.online);
    let (mut there, mut left): (Vec<VmRef>, Vec<VmRef>) = missing.into_iter().partition(is_online);
    left.extend(there.split_off(there.len().min(MOST_AT_ONCE)));
    for (at, answer) in read(client, there).await? {
        if matches!(&answer, Err(fault) if fault.kind == FaultKind::NotFound) {
            memory.absent.unproven.retain(|(unproven, _)| *unproven != at);
            memory.absent.gone.insert(at.id, subject.context.clock.boot());
        } else {
            left.push(at);
        }
    }
    Ok(left)
}

//! What a worker's VM looks like in a poll, so that only those workers are woken whose VM looks different.

use std::collections::HashMap;

use crate::clock::BootTime;
use crate::controller::view::View;
use crate::domain::identity::{Mark, Ownership, judge};
use crate::hypervisor::vm::{Power, VmRef};

/// What one poll shows of a worker's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// Where it is.
    pub(super) at: VmRef,
    /// Power, some seconds old.
    pub(super) power: Power,
    lock: Option<String>,
    ownership: Ownership,
    /// VMs that say that they are this worker's: more than one after a copy.
    copies: usize,
}

impl Sight {
    fn rank(&self) -> u8 {
        match self.ownership {
            Ownership::Ours => 0,
            Ownership::Unfinished { .. } => 1,
            Ownership::Mismatch(_) | Ownership::Foreign => 2,
        }
    }
}

/// What the polls so far show of all workers' VMs.
#[derive(Debug, Clone, Default)]
pub(super) struct Sights {
    /// The VM of each worker, by the worker's UID.
    pub(super) by_uid: HashMap<String, Sight>,
    /// Since when a VM that is not here may be taken to be absent.
    complete_since: Option<BootTime>,
}

impl Sights {
    /// Where the workers' VMs are by `view`.
    pub(super) fn of(view: &View, installation: &str) -> Self {
        Self { by_uid: sights(view, installation), complete_since: view.complete_since() }
    }

    /// Whether a worker's reconcile may come to something else now than with what was seen `before`: its VM looks
    /// different, or its absence can be judged, which it could not be for a while.
    pub(super) fn concern(&self, uid: &str, before: &Self) -> bool {
        let sight = self.by_uid.get(uid);
        let judged_anew = self.complete_since.is_some() && self.complete_since != before.complete_since;
        sight != before.by_uid.get(uid) || sight.is_none() && judged_anew
    }
}

/// The VM of each worker of this installation, by UID. One pass over the VMs, whatever the number of workers.
fn sights(view: &View, installation: &str) -> HashMap<String, Sight> {
    let mut all: HashMap<String, Sight> = HashMap::new();
    for (id, vm, shown) in view.known() {
        let Some(mark) = Mark::parse(&shown.description).filter(|mark| mark.installation == installation) else {
            continue;
        };
        let ownership = judge(shown, installation, &mark.worker_uid);
        let at = VmRef { host: vm.host.clone(), id: id.clone() };
        let mut sight = Sight { at, power: vm.power, lock: vm.lock.clone(), ownership, copies: 1 };
        if let Some(other) = all.remove(&mark.worker_uid) {
            let copies = other.copies + 1;
            sight = if other.rank() <= sight.rank() { other } else { sight };
            sight.copies = copies;
        }
        all.insert(mark.worker_uid, sight);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::controller::view::Poll;
    use crate::domain::identity::{Shown, TAG};
    use crate::hypervisor::inventory::{Inventory, VmSummary};

    #[test]
    fn the_original_hides_its_copy() {
        let mark = Mark {
            installation: "inst".into(),
            worker_uid: "u1".into(),
            worker: "ns/w1".into(),
            operation: "op".into(),
            vm_id: "5001".into(),
        };
        let shown = |id: &str| Shown {
            vm_id: id.into(),
            tagged: true,
            description: mark.describe(""),
            uuid: Some(mark.uuid().to_string()),
        };
        let vm = VmSummary {
            host: "pve1".into(),
            name: None,
            power: Power::On,
            tags: vec![TAG.into()],
            lock: None,
            template: Some(false),
        };
        let ids = ["5000", "5001", "5002"];
        let inventory = Inventory {
            quorate: true,
            vms: ids.iter().map(|id| ((*id).to_owned(), vm.clone())).collect(),
            ..Inventory::default()
        };
        let read: BTreeMap<String, Shown> = ids.iter().map(|id| ((*id).to_owned(), shown(id))).collect();
        let mut view = View::default();
        view.absorb(Poll { begun: BootTime::default(), inventory, read, complete: true }, "inst");
        let all = sights(&view, "inst");
        assert_eq!(all.len(), 1);
        assert_eq!((all["u1"].at.id.as_str(), all["u1"].copies), ("5001", 3));
        assert!(sights(&view, "other").is_empty());
    }
}

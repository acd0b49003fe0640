//! What the polls of one hypervisor have shown so far: where each worker's VM is, and how surely one is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::api::reasons::WorkerReason;
use crate::clock::BootTime;
use crate::domain::identity::{Mark, Ownership, Shown, TAG, judge};
use crate::domain::observation::{Presence, Problem};
use crate::hypervisor::inventory::{Inventory, VmSummary};
use crate::hypervisor::vm::VmRef;

/// Complete polls that are remembered: more than absence needs.
const REMEMBERED_POLLS: usize = 8;

/// The latest poll, and what earlier ones add to it.
#[derive(Debug, Clone, Default)]
pub struct View {
    inventory: Inventory,
    /// What the candidates among the VMs show of their identity, by VM id.
    shown: BTreeMap<String, Shown>,
    /// The ids of the VMs whose mark names a worker, by its UID, in the order of the ids.
    marked: HashMap<String, Vec<String>>,
    /// When the VMs whose marks contradict themselves were read, and what the inventory had of them then, by VM id.
    odd: BTreeMap<String, (BootTime, VmSummary)>,
    /// When the latest polls of the present run of complete ones began.
    complete: VecDeque<BootTime>,
    /// When the first poll of that run began.
    complete_since: Option<BootTime>,
    /// When each worker's VM was seen last, by worker UID, as far back as the polls that are remembered.
    seen: HashMap<String, BootTime>,
}

/// A worker whose VM is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Seeker<'a> {
    /// The installation.
    pub installation: &'a str,
    /// The worker's UID.
    pub uid: &'a str,
    /// `namespace/name`.
    pub name: &'a str,
    /// Polls that began before this moment prove nothing: the worker was changed since.
    pub since: BootTime,
    /// The worker is being deleted: a copy of its VM that a person made is not waited for.
    pub deleting: bool,
    /// The VM as the worker's status knows it.
    pub known: Option<Known<'a>>,
}

/// A VM as a status knows it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its SMBIOS uuid.
    pub uuid: &'a str,
    /// What to put back if its mark is missing.
    pub remedy: &'a str,
}

/// What one poll brings.
#[derive(Debug)]
pub struct Poll {
    /// When it was begun.
    pub begun: BootTime,
    /// What it shows.
    pub inventory: Inventory,
    /// What VMs show of their identity that were read for this poll.
    pub read: BTreeMap<String, Shown>,
    /// Whether everything of ours would be in it: quorate, the pinned cluster, a credential that can see.
    pub complete: bool,
}

impl View {
    /// Takes a poll in.
    pub fn absorb(&mut self, poll: Poll, installation: &str) {
        self.shown.retain(|id, _| poll.inventory.vms.contains_key(id));
        self.odd.retain(|id, _| poll.inventory.vms.contains_key(id) && !poll.read.contains_key(id));
        for (id, _) in poll.read.iter().filter(|(_, shown)| contradicts(shown)) {
            self.odd.extend(poll.inventory.vms.get(id).map(|vm| (id.clone(), (poll.begun, vm.clone()))));
        }
        self.shown.extend(poll.read);
        self.inventory = poll.inventory;
        self.marked.clear();
        for (id, shown) in &self.shown {
            if let Some(mark) = Mark::parse(&shown.description) {
                self.marked.entry(mark.worker_uid).or_default().push(id.clone());
            }
        }
        if !poll.complete {
            self.interrupt();
            return;
        }
        self.complete_since.get_or_insert(poll.begun);
        self.complete.push_back(poll.begun);
        if self.complete.len() > REMEMBERED_POLLS {
            self.complete.pop_front();
        }
        for shown in self.shown.values() {
            if let Some(mark) = Mark::parse(&shown.description)
                && mark.installation == installation
                && mark.vm_id == shown.vm_id
            {
                self.seen.insert(mark.worker_uid, poll.begun);
            }
        }
        // What was last seen before all of these polls is absent from all of them: nothing else need be known of it.
        let oldest = self.complete.front().copied().unwrap_or_default();
        self.seen.retain(|_, seen| *seen >= oldest);
    }

    /// Absence must be proven anew: the hypervisor was away, or this process was not the leader.
    pub fn interrupt(&mut self) {
        self.complete.clear();
        self.complete_since = None;
    }

    /// What a VM shows must be read anew with the next poll.
    pub fn forget(&mut self, vm_id: &str) {
        self.shown.remove(vm_id);
    }

    /// The latest inventory.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// When the first poll of the present run of complete ones began; `None` if the latest one was not complete.
    pub fn complete_since(&self) -> Option<BootTime> {
        self.complete_since
    }

    /// Whether the latest poll was complete.
    pub fn is_complete(&self) -> bool {
        self.complete_since.is_some()
    }

    /// The VMs of an inventory whose identity must be read: those that may be ours and were not read yet, or that are
    /// just being made. Those whose marks contradict themselves may have been put right: they are read again when they
    /// look different, and when they were read last before `again`.
    pub fn to_read(&self, inventory: &Inventory, range: (u32, u32), again: BootTime) -> Vec<VmRef> {
        inventory
            .vms
            .iter()
            .filter(|(id, vm)| is_candidate(id, vm, range) && self.is_stale(id, vm, again))
            .map(|(id, vm)| VmRef { host: vm.host.clone(), id: id.clone() })
            .collect()
    }

    /// Whether a VM may be a worker's, and has not been read yet, or must be read anew.
    pub fn is_unread(&self, id: &str, range: (u32, u32)) -> bool {
        let vm = self.inventory.vms.get(id).filter(|_| !self.shown.contains_key(id));
        vm.is_some_and(|vm| is_candidate(id, vm, range))
    }

    fn is_stale(&self, id: &str, vm: &VmSummary, again: BootTime) -> bool {
        let Some(shown) = self.shown.get(id) else { return true };
        let tagged = vm.tags.iter().any(|tag| tag == TAG);
        let is_odd = || self.odd.get(id).is_none_or(|(at, before)| *at < again || before != vm);
        is_being_made(vm) || shown.tagged != tagged || contradicts(shown) && is_odd()
    }

    /// Where a worker's VM is.
    pub fn presence(&self, seeker: Seeker<'_>) -> Presence {
        let mut best: Option<Presence> = None;
        let marked = self.marked.get(seeker.uid).into_iter().flatten().map(String::as_str);
        for id in marked.chain(seeker.known.map(|known| known.id)).collect::<BTreeSet<_>>() {
            let (Some(vm), Some(shown)) = (self.inventory.vms.get(id), self.shown.get(id)) else { continue };
            let ownership = Self::ownership(id, shown, seeker);
            let is_copy = || Mark::parse(&shown.description).is_some_and(|mark| mark.vm_id != id);
            if ownership == Ownership::Foreign || seeker.deleting && is_copy() {
                continue;
            }
            let found = Presence::Present {
                at: VmRef { host: vm.host.clone(), id: id.to_owned() },
                power: vm.power,
                uuid: shown.uuid.clone().unwrap_or_default(),
                ownership,
            };
            if best.as_ref().is_none_or(|best| rank(&found) < rank(best)) {
                best = Some(found);
            }
        }
        best.unwrap_or_else(|| self.absence(seeker))
    }

    /// Whose a VM is. One that the worker's status knows, and that has the uuid that only we give, lost its mark.
    fn ownership(id: &str, shown: &Shown, seeker: Seeker<'_>) -> Ownership {
        let ownership = judge(shown, seeker.installation, seeker.uid);
        let is_known = |known: &Known<'_>| {
            known.id == id && shown.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(known.uuid))
        };
        match seeker.known.filter(is_known) {
            Some(known) if ownership == Ownership::Foreign => {
                Ownership::Mismatch(format!("its description does not carry this worker's mark; {}", known.remedy))
            }
            _ => ownership,
        }
    }

    fn absence(&self, seeker: Seeker<'_>) -> Presence {
        if !self.is_complete() {
            let text = "waiting for a complete inventory of the hypervisor";
            return Presence::Unknown(Problem::new(WorkerReason::Waiting, text));
        }
        let seen = self.seen.get(seeker.uid).copied();
        let polls = self.complete.iter().filter(|poll| **poll >= seeker.since && seen.is_none_or(|seen| **poll > seen));
        let polls = u32::try_from(polls.count()).unwrap_or(u32::MAX);
        match self.elsewhere(seeker) {
            Some(text) => Presence::Elsewhere { text, polls },
            None => Presence::Absent { polls },
        }
    }

    /// A VM that an earlier worker of this name, or another installation, has made for it.
    fn elsewhere(&self, seeker: Seeker<'_>) -> Option<String> {
        self.shown.iter().find_map(|(id, shown)| {
            let mark = Mark::parse(&shown.description)?;
            (mark.worker == seeker.name && mark.vm_id == *id).then(|| {
                let whose = if mark.installation == seeker.installation {
                    format!("an earlier Worker of this name (UID {})", mark.worker_uid)
                } else {
                    "another installation of Stevedore".to_owned()
                };
                format!(
                    "VM {id} was made for {whose}: it is not taken over, and no second one is made; delete that VM, or take \
                     the block out of its notes, or give this Worker another name"
                )
            })
        })
    }

    /// The VMs whose identity is known: id, what the inventory has of them, what they show.
    pub fn known(&self) -> impl Iterator<Item = (&String, &VmSummary, &Shown)> {
        self.shown.iter().filter_map(|(id, shown)| Some((id, self.inventory.vms.get(id)?, shown)))
    }

    /// VMs in the id range that are just being made, show no mark yet, and are named by no operation.
    pub fn strangers(&self, range: (u32, u32), named: &BTreeSet<String>) -> Vec<VmRef> {
        let is_stranger = |id: &String, vm: &VmSummary| {
            is_being_made(vm)
                && in_range(id, range)
                && !named.contains(id)
                && self.shown.get(id).is_none_or(|shown| Mark::parse(&shown.description).is_none())
        };
        self.inventory
            .vms
            .iter()
            .filter(|(id, vm)| is_stranger(id, vm))
            .map(|(id, vm)| VmRef { host: vm.host.clone(), id: id.clone() })
            .collect()
    }

    /// When the latest complete poll was begun.
    pub fn latest(&self) -> Option<BootTime> {
        self.complete.back().copied()
    }

    /// VMs with the mark of `installation` whose worker is not among `workers` (UIDs).
    pub fn orphans(&self, installation: &str, workers: &BTreeSet<String>) -> Vec<(VmRef, String, Mark)> {
        self.shown
            .iter()
            .filter_map(|(id, shown)| {
                let mark = Mark::parse(&shown.description)?;
                let vm = self.inventory.vms.get(id)?;
                let is_orphan =
                    mark.installation == installation && mark.vm_id == *id && !workers.contains(&mark.worker_uid);
                is_orphan.then(|| {
                    (VmRef { host: vm.host.clone(), id: id.clone() }, vm.name.clone().unwrap_or_default(), mark)
                })
            })
            .collect()
    }
}

/// Whether a VM carries the lock of a task that makes it, or made it and died.
pub fn is_being_made(vm: &VmSummary) -> bool {
    matches!(vm.lock.as_deref(), Some("create" | "clone"))
}

/// Whether a VM has a part of what makes it ours, or all of it under another id.
fn contradicts(shown: &Shown) -> bool {
    match Mark::parse(&shown.description) {
        Some(mark) => mark.vm_id != shown.vm_id || !shown.tagged || shown.uuid != Some(mark.uuid().to_string()),
        None => shown.tagged,
    }
}

/// Whether a VM may be a worker's: it is tagged as one, or has an id that one may have.
fn is_candidate(id: &str, vm: &VmSummary, range: (u32, u32)) -> bool {
    vm.tags.iter().any(|tag| tag == TAG) || in_range(id, range)
}

fn in_range(id: &str, (min, max): (u32, u32)) -> bool {
    id.parse::<u32>().is_ok_and(|id| (min..=max).contains(&id))
}

/// A worker's own VM hides copies of it.
fn rank(presence: &Presence) -> u8 {
    match presence {
        Presence::Present { ownership: Ownership::Ours, .. } => 0,
        Presence::Present { ownership: Ownership::Unfinished { .. }, .. } => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hypervisor::vm::Power;

    const RANGE: (u32, u32) = (5000, 5999);

    fn second(second: u64) -> BootTime {
        BootTime::from_start(Duration::from_secs(second))
    }

    fn seeker(since: u64) -> Seeker<'static> {
        Seeker { installation: "inst", uid: "uid-1", name: "ns/w1", since: second(since), deleting: false, known: None }
    }

    fn vm(lock: Option<&str>) -> VmSummary {
        VmSummary {
            host: "pve1".into(),
            name: Some("w1".into()),
            power: Power::Off,
            tags: vec![TAG.into()],
            lock: lock.map(Into::into),
            template: Some(false),
        }
    }

    fn shown(id: &str, uid: &str) -> Shown {
        let mark = Mark {
            installation: "inst".into(),
            worker_uid: uid.into(),
            worker: "ns/w1".into(),
            operation: "op".into(),
            vm_id: "5000".into(),
        };
        Shown { vm_id: id.into(), tagged: true, description: mark.describe(""), uuid: Some(mark.uuid().to_string()) }
    }

    fn poll(begun: u64, ids: &[&str], uid: &str, complete: bool) -> Poll {
        Poll {
            begun: second(begun),
            inventory: Inventory {
                quorate: true,
                vms: ids.iter().map(|id| ((*id).to_owned(), vm(None))).collect(),
                ..Inventory::default()
            },
            read: ids.iter().map(|id| ((*id).to_owned(), shown(id, uid))).collect(),
            complete,
        }
    }

    #[test]
    fn absence_takes_polls_after_the_last_change_and_the_last_sight() {
        let mut view = View::default();
        assert!(matches!(view.presence(seeker(0)), Presence::Unknown(_)));
        view.absorb(poll(1, &["5000"], "uid-1", true), "inst");
        assert!(matches!(view.presence(seeker(0)), Presence::Present { ownership: Ownership::Ours, .. }));
        view.absorb(poll(2, &[], "uid-1", true), "inst");
        view.absorb(poll(3, &[], "uid-1", true), "inst");
        assert_eq!(view.presence(seeker(0)), Presence::Absent { polls: 2 });
        assert_eq!(view.presence(seeker(3)), Presence::Absent { polls: 1 });
        view.absorb(poll(4, &[], "uid-1", false), "inst");
        assert!(matches!(view.presence(seeker(0)), Presence::Unknown(_)));
        view.absorb(poll(5, &[], "uid-1", true), "inst");
        assert_eq!(view.presence(seeker(0)), Presence::Absent { polls: 1 });
    }

    #[test]
    fn who_was_not_seen_for_long_is_forgotten_and_still_absent() {
        let mut view = View::default();
        view.absorb(poll(1, &["5000"], "uid-1", true), "inst");
        for begun in 2..40 {
            // Now and then nothing is known for a while.
            view.absorb(poll(begun, &[], "uid-1", begun % 11 != 0), "inst");
            let absent = matches!(view.presence(seeker(0)), Presence::Absent { polls: 1.. });
            assert_eq!(absent, begun % 11 != 0, "poll {begun}");
        }
        assert!(view.seen.is_empty());
    }

    #[test]
    fn a_copy_is_not_the_workers_vm_and_is_told_apart() {
        let mut view = View::default();
        view.absorb(poll(1, &["5000", "5001"], "uid-1", true), "inst");
        assert!(matches!(view.presence(seeker(0)), Presence::Present { ownership: Ownership::Ours, .. }));
        view.absorb(poll(2, &["5001"], "uid-1", true), "inst");
        assert!(matches!(view.presence(seeker(0)), Presence::Present { ownership: Ownership::Mismatch(_), .. }));
        let deleting = Seeker { deleting: true, ..seeker(0) };
        assert_eq!(view.presence(deleting), Presence::Absent { polls: 1 }, "a deletion does not wait for a copy");
    }

    #[test]
    fn a_vm_that_lost_its_mark_is_not_absent() {
        let mut view = View::default();
        let mut unmarked = poll(1, &["5000"], "uid-1", true);
        let uuid = unmarked.read["5000"].uuid.clone().unwrap();
        unmarked.read.get_mut("5000").unwrap().description = "notes".into();
        view.absorb(unmarked, "inst");
        assert_eq!(view.presence(seeker(0)), Presence::Absent { polls: 1 });
        let knowing = |uuid| Seeker { known: Some(Known { id: "5000", uuid, remedy: "put it back" }), ..seeker(0) };
        let presence = view.presence(knowing(&uuid));
        assert!(matches!(presence, Presence::Present { ownership: Ownership::Mismatch(_), .. }), "{presence:?}");
        assert_eq!(view.presence(knowing("another")), Presence::Absent { polls: 1 }, "the id went to somebody else");
    }

    #[test]
    fn a_vm_of_an_earlier_worker_of_that_name_is_neither_ours_nor_absent() {
        let mut view = View::default();
        view.absorb(poll(1, &["5000"], "uid-0", true), "inst");
        assert!(matches!(view.presence(seeker(0)), Presence::Elsewhere { polls: 1, .. }));
        view.absorb(poll(2, &["5000"], "uid-0", true), "inst");
        assert!(matches!(view.presence(seeker(0)), Presence::Elsewhere { polls: 2, .. }));
        assert!(matches!(view.presence(seeker(2)), Presence::Elsewhere { polls: 1, .. }));
        assert_eq!(view.orphans("inst", &BTreeSet::from(["uid-1".to_owned()])).len(), 1);
    }

    #[test]
    fn a_vm_that_is_being_made_is_a_stranger_until_its_mark_shows() {
        let mut view = View::default();
        let mut unmarked = poll(1, &["5000"], "uid-1", true);
        unmarked.inventory.vms.insert("5000".into(), vm(Some("clone")));
        unmarked.read.insert("5000".into(), Shown { vm_id: "5000".into(), ..Shown::default() });
        view.absorb(unmarked, "inst");
        assert_eq!(view.strangers(RANGE, &BTreeSet::new()).len(), 1);
        assert!(view.strangers(RANGE, &BTreeSet::from(["5000".to_owned()])).is_empty());
        assert_eq!(view.to_read(view.inventory(), RANGE, second(0)).len(), 1, "a locked VM is read again");
        view.absorb(poll(2, &["5000"], "uid-1", true), "inst");
        assert!(view.strangers(RANGE, &BTreeSet::new()).is_empty());
        assert!(view.to_read(view.inventory(), RANGE, second(0)).is_empty());
    }
}

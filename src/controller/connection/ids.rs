//! The VM ids that one `Hypervisor` has given out, and the choice of the next one.

use std::collections::{BTreeSet, HashMap};

/// Ids out of which one is chosen.
#[derive(Debug)]
pub(super) struct Range {
    /// The lowest and the highest.
    pub(super) ends: (u32, u32),
    /// Ids of VMs that are there.
    pub(super) in_use: BTreeSet<u32>,
    /// Ids that a status names, or that rest. The next id comes after the highest of them.
    pub(super) named: BTreeSet<u32>,
}

/// Ids that were given out.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// To whom (worker UID).
    ids: HashMap<String, u32>,
    /// The last one: ids are used in turn.
    last: Option<u32>,
}

impl Given {
    /// The id that `uid` has, if nobody else uses it by now; else the next one after the highest that was ever given out
    /// or is named, turning at the end of the range; none that is in use, named or given to somebody else by `all`.
    pub(super) fn choose<'a>(all: impl Iterator<Item = &'a Self> + Clone, uid: &str, range: &Range) -> Option<u32> {
        let given = |mine: bool| {
            let ids = all.clone().flat_map(|given| &given.ids);
            ids.filter(move |(owner, _)| (*owner == uid) == mine).map(|(_, id)| *id)
        };
        let others: BTreeSet<u32> = given(false).collect();
        let is_free = |id: &u32| !range.in_use.contains(id) && !range.named.contains(id) && !others.contains(id);
        if let Some(id) = given(true).find(is_free) {
            return Some(id);
        }
        let (min, max) = range.ends;
        let last = all.filter_map(|given| given.last);
        let highest = range.named.iter().copied().chain(last).filter(|id| (min..=max).contains(id)).max();
        let start = highest.map_or(min, |id| if id >= max { min } else { id + 1 });
        (start..=max).chain(min..start).find(is_free)
    }

    /// Gives an id out.
    pub(super) fn give(&mut self, uid: &str, id: u32) {
        self.ids.insert(uid.to_owned(), id);
        self.last = Some(id);
    }

    /// Takes it back.
    pub(super) fn take_back(&mut self, uid: &str) {
        self.ids.remove(uid);
    }
}

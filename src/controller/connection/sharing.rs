//! What the `Hypervisor`s of this process share that reach one cluster: how many calls are under way, who may launch,
//! which VM ids are given out, who has which image downloaded.
//!
//! Who shares with whom is decided by [`Reach`]. That need not be mutual: one that does not check whom it talks to goes
//! by what the others do, and they take no notice of it. So each keeps its own launches and ids, and counts those of
//! others with them; and the limits of calls are shared among those that check, and apart from them among those that
//! do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Key;
use super::downloads::Downloads;
use super::ids::{Given, Range};
use super::launches::Launches;
use crate::clock::BootTime;
use crate::controller::hypervisor::peers::Reach;
use crate::domain::observation::ImageSight;
use crate::hypervisor::registry::ConnectionLimits;

/// How much a `Hypervisor` takes to be allowed: what its spec says, or the lower words of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::controller) struct Allowance {
    /// Launches at a time.
    pub(in crate::controller) launches: usize,
    /// Calls at a time.
    pub(in crate::controller) operations: usize,
}

/// What one gets that joins.
#[derive(Debug)]
pub(in crate::controller) struct Joined {
    /// The limits of the cluster.
    pub(in crate::controller) limits: Arc<ConnectionLimits>,
    /// Whether it reaches another cluster, or allows more or less, than it did before.
    pub(in crate::controller) is_news: bool,
}

/// What all `Hypervisor`s of this process share.
#[derive(Debug, Default)]
pub(super) struct Sharing(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    members: BTreeMap<Key, Member>,
    /// Places in the queues that were given so far.
    places: u64,
}

/// One `Hypervisor`.
#[derive(Debug, Default)]
struct Member {
    joined: Option<(Reach, Allowance)>,
    limits: Option<Arc<ConnectionLimits>>,
    /// The others whose launches and ids count for this one, too.
    heeds: BTreeSet<Key>,
    launches: Launches,
    ids: Given,
    downloads: Downloads,
}

impl Sharing {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `key` was found to reach this cluster, and allows so much there.
    pub(super) fn join(&self, key: &Key, reach: Reach, allowance: Allowance) -> Joined {
        let mut all = self.all();
        let before = all.member(key).joined.replace((reach.clone(), allowance));
        let former = before.as_ref().map(|(reach, _)| reach);
        if former != Some(&reach) {
            if !former.is_some_and(|former| is_mutual(former, &reach)) {
                all.give_up_limits(key);
            }
            all.link(key, &reach);
        }
        let limits = all.limits(key, &reach);
        limits.allow(&name(key), allowance.operations);
        Joined { limits, is_news: before != Some((reach, allowance)) }
    }

    /// `key` is gone, or begins anew.
    pub(super) fn leave(&self, key: &Key) {
        let mut all = self.all();
        all.give_up_limits(key);
        all.members.remove(key);
        for other in all.members.values_mut() {
            other.heeds.remove(key);
        }
    }

    /// Asks for a launch permit: first come, first served; one that is held is granted again. `most` is how many may be
    /// out at a time, unless one of those that count for `key` allows fewer.
    pub(super) fn permit(&self, key: &Key, uid: &str, most: usize, now: BootTime) -> bool {
        let mut all = self.all();
        let group = all.group(key);
        for one in &group {
            all.member(one).launches.forget_silent(now);
        }
        if all.member(key).launches.at_work(uid, now) {
            return true;
        }
        let next = all.places + 1;
        let place = all.member(key).launches.queue(uid, next, now);
        all.places = all.places.max(place);
        let members = || group.iter().filter_map(|one| all.members.get(one));
        let most = members().filter_map(Member::launches_allowed).fold(most, usize::min);
        let out: usize = members().map(|member| member.launches.out()).sum();
        let ahead: usize = members().map(|member| member.launches.ahead_of(place)).sum();
        let granted = ahead < most.saturating_sub(out);
        if granted {
            all.member(key).launches.begin(uid, now);
        }
        granted
    }

    /// Reads or changes the launches of `key` alone.
    pub(super) fn launches<R>(&self, key: &Key, change: impl FnOnce(&mut Launches) -> R) -> R {
        change(&mut self.all().member(key).launches)
    }

    /// A worker is seen at work.
    pub(super) fn at_work(&self, key: &Key, uid: &str, now: BootTime) {
        let mut all = self.all();
        let member = all.member(key);
        member.launches.at_work(uid, now);
        member.downloads.at_work(uid, now);
    }

    /// A worker gives back all that it holds but its VM id.
    pub(super) fn done(&self, key: &Key, uid: &str) {
        let mut all = self.all();
        let member = all.member(key);
        member.launches.end(uid);
        member.downloads.end(uid);
    }

    /// Reads or changes the downloads of `key` alone.
    pub(super) fn downloads<R>(&self, key: &Key, change: impl FnOnce(&mut Downloads) -> R) -> R {
        change(&mut self.all().member(key).downloads)
    }

    /// Whether somebody else than `uid` fills `place`.
    pub(super) fn is_filled_by_another(&self, key: &Key, uid: &str, place: &str, now: BootTime) -> bool {
        self.all().is_filled_by_another(key, uid, place, now)
    }

    /// Asks to be the one who fills a place from a URL, unless others do it, or could not a short while ago.
    pub(super) fn may_download(&self, key: &Key, uid: &str, what: (&str, &str), now: BootTime) -> ImageSight {
        // Looked at and taken under one lock: of two that come at once, one gets it.
        let mut all = self.all();
        if all.is_filled_by_another(key, uid, what.0, now) {
            return ImageSight::Downloading;
        }
        let group = all.group(key);
        let failed = group.iter().find_map(|one| all.members.get(one)?.downloads.failure(uid, what, now));
        let sight = failed.map_or(ImageSight::Absent, |why| ImageSight::Refused(why.to_owned()));
        all.member(key).downloads.begin(uid, what.0, now);
        sight
    }

    /// Gives a VM id out: one that fits the range and was given to nobody else.
    pub(super) fn reserve(&self, key: &Key, uid: &str, range: &Range) -> Option<u32> {
        let mut all = self.all();
        let group = all.group(key);
        let others = group.iter().filter_map(|one| all.members.get(one)).map(|member| &member.ids);
        let id = Given::choose(others, uid, range)?;
        all.member(key).ids.give(uid, id);
        Some(id)
    }

    /// The id that `uid` was given is used, or no longer wanted.
    pub(super) fn free(&self, key: &Key, uid: &str) {
        self.all().member(key).ids.take_back(uid);
    }

    /// `key`, and those that share with it in both directions, be it through others: whoever asks for one of them gets
    /// the same answer.
    pub(super) fn mutual(&self, key: &Key) -> BTreeSet<Key> {
        let all = self.all();
        let heeded = |one: &Key| all.members.get(one).map_or_else(BTreeSet::new, |member| member.heeds.clone());
        let (mut group, mut next) = (BTreeSet::new(), vec![key.clone()]);
        while let Some(one) = next.pop() {
            if group.insert(one.clone()) {
                next.extend(heeded(&one).into_iter().filter(|other| heeded(other).contains(&one)));
            }
        }
        group
    }

    /// `key`, and those whose launches and ids count for it, too.
    pub(super) fn group(&self, key: &Key) -> Vec<Key> {
        self.all().group(key)
    }
}

impl All {
    fn member(&mut self, key: &Key) -> &mut Member {
        self.members.entry(key.clone()).or_default()
    }

    /// Those whose launches and ids count for `key`: its own and those of the ones it heeds.
    fn group(&self, key: &Key) -> Vec<Key> {
        let heeded = self.members.get(key).map(|member| member.heeds.iter().cloned());
        std::iter::once(key.clone()).chain(heeded.into_iter().flatten()).collect()
    }

    fn is_filled_by_another(&mut self, key: &Key, uid: &str, place: &str, now: BootTime) -> bool {
        let group = self.group(key);
        for one in &group {
            self.member(one).downloads.forget(now);
        }
        let mut fillers = group.iter().filter_map(|one| self.members.get(one)?.downloads.filler(place));
        fillers.any(|filler| filler != uid)
    }

    /// Finds out anew who counts for `key`, and for whom it counts.
    fn link(&mut self, key: &Key, reach: &Reach) {
        let mut heeds = BTreeSet::new();
        for (other_key, other) in self.members.iter_mut().filter(|(other, _)| *other != key) {
            let Some((theirs, _)) = &other.joined else { continue };
            if reach.heeds(theirs) {
                heeds.insert(other_key.clone());
            }
            if theirs.heeds(reach) {
                other.heeds.insert(key.clone());
            } else {
                other.heeds.remove(key);
            }
        }
        self.member(key).heeds = heeds;
    }

    /// The limits that `key` shares with all that heed it and that it heeds; those of the first one of them, so that all
    /// agree. Limits outlive a client, and so does the pace that was found to be good.
    fn limits(&mut self, key: &Key, reach: &Reach) -> Arc<ConnectionLimits> {
        let is_one = |other: &Key, member: &Member| {
            other == key || member.joined.as_ref().is_some_and(|(theirs, _)| is_mutual(theirs, reach))
        };
        let mut all = self.members.iter().filter(|(other, member)| is_one(other, member));
        let limits = all.find_map(|(_, member)| member.limits.clone()).unwrap_or_else(ConnectionLimits::unshared);
        if !self.member(key).limits.as_ref().is_some_and(|own| Arc::ptr_eq(own, &limits)) {
            self.give_up_limits(key);
            self.member(key).limits = Some(Arc::clone(&limits));
        }
        limits
    }

    fn give_up_limits(&mut self, key: &Key) {
        if let Some(limits) = self.member(key).limits.take() {
            limits.withdraw(&name(key));
        }
    }
}

/// Whether the two share in both directions.
fn is_mutual(one: &Reach, other: &Reach) -> bool {
    one.heeds(other) && other.heeds(one)
}

impl Member {
    fn launches_allowed(&self) -> Option<usize> {
        self.joined.as_ref().map(|(_, allowance)| allowance.launches)
    }
}

fn name((namespace, name): &Key) -> String {
    format!("{namespace}/{name}")
}

//! What all workers of one `Hypervisor` share in this process: the client, the latest view, and what those of other
//! `Hypervisor`s of the same cluster share with them: launch permits, VM ids.

mod board;
mod downloads;
mod ids;
mod launches;
pub(super) mod sharing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use self::board::Board;
pub use self::board::Posted;
use self::ids::Range;
use self::sharing::{Allowance, Joined, Sharing};
use super::budget::Ledger;
use super::hypervisor::Memory;
use super::hypervisor::peers::Reach;
use super::view::View;
use crate::api::reasons::WorkerReason;
use crate::clock::BootTime;
use crate::domain::observation::{HypervisorState, ImageSight, Problem};
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::image::ImageFile;

/// Namespace and name of a `Hypervisor`.
pub type Key = (String, String);

/// What is known of one `Hypervisor`.
#[derive(Debug, Clone)]
pub struct State {
    /// The client, once a credential was read.
    pub client: Option<SharedHypervisor>,
    /// Whether it can be used.
    pub verdict: HypervisorState,
    /// Since when it cannot be reached.
    pub away_since: Option<BootTime>,
    /// Nothing is to be changed on it.
    pub paused: bool,
    /// VM ids that may be used, both ends included.
    pub vm_ids: (u32, u32),
    /// Most launches at a time.
    pub parallel_launches: usize,
    /// Most tasks at a time that work on the disks of one storage.
    pub tasks_per_storage: usize,
    /// Hosts on which nothing is launched.
    pub unschedulable_hosts: BTreeSet<String>,
    /// VM ids that rest because a VM of that id was deleted or vanished a short while ago.
    pub resting: BTreeSet<u32>,
    /// The host and port of its API, as a worker reaches it.
    pub endpoints: Vec<(String, u16)>,
}

impl Default for State {
    fn default() -> Self {
        let starting = "its Hypervisor has not been reached yet";
        Self {
            client: None,
            verdict: HypervisorState::Away(Problem::new(WorkerReason::HypervisorNotReady, starting)),
            away_since: None,
            paused: false,
            vm_ids: (0, 0),
            parallel_launches: 1,
            tasks_per_storage: 1,
            unschedulable_hosts: BTreeSet::new(),
            resting: BTreeSet::new(),
            endpoints: Vec::new(),
        }
    }
}

/// One `Hypervisor` in this process.
#[derive(Debug, Default)]
pub struct Connection {
    state: RwLock<State>,
    view: RwLock<View>,
    noted: Mutex<Noted>,
    board: Mutex<Board>,
    key: Key,
    sharing: Arc<Sharing>,
    /// What the poller remembers; locked while it works, so that there is never more than one.
    pub(super) poller: tokio::sync::Mutex<Memory>,
    /// The deletions of this process.
    pub(super) ledger: Mutex<Ledger>,
    /// Held while tasks are given to the workers of this Hypervisor.
    pub(super) scheduler: tokio::sync::Mutex<()>,
    /// Rung with the key when a worker wants a fresh poll.
    bell: Option<UnboundedSender<Key>>,
}

#[derive(Debug, Default)]
struct Noted {
    /// VMs that are being made by nobody we know: when no task was found that makes them.
    untasked: HashMap<String, BootTime>,
    /// Until when polls come at the busy interval.
    busy_until: BootTime,
}

impl Connection {
    /// What is known of the hypervisor.
    pub fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known.
    pub fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the latest view.
    pub fn view<R>(&self, read: impl FnOnce(&View) -> R) -> R {
        read(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view.
    pub fn change_view<R>(&self, change: impl FnOnce(&mut View) -> R) -> R {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker (UID) tells whether it takes tasks; whether that is news.
    pub fn post(&self, uid: &str, posted: Posted) -> bool {
        self.board().post(uid, posted)
    }

    /// A worker (UID) is declared like this, told as a number that differs if that does; whether it is news.
    pub fn declare(&self, uid: &str, declared: u64) -> bool {
        self.board().declare(uid, declared)
    }

    /// Forgets what workers (UIDs) have told that are not there any more.
    pub fn keep_posted(&self, is_there: impl Fn(&str) -> bool) {
        self.board().keep(is_there);
    }

    /// What a worker has told last.
    pub fn posted(&self, uid: &str) -> Option<Posted> {
        self.board().posted(uid)
    }

    /// Whether it was known at some time whether a worker (UID) takes tasks.
    pub fn is_known(&self, uid: &str) -> bool {
        self.board().is_known(uid)
    }

    /// Whether to decide later, because there are `strange` workers that will be known soon.
    pub fn holds_off(&self, strange: bool, now: BootTime) -> bool {
        self.board().holds_off(strange, now)
    }

    /// The scheduler has decided from what was told before `begun`: these workers (UIDs) are to be tested again for tasks
    /// that wait. The answer are those that were not to be before.
    pub fn decide(&self, begun: BootTime, needed: BTreeSet<String>) -> Vec<String> {
        self.board().decide(begun, needed)
    }

    /// Whether a task waits for a worker to pass a test.
    pub fn is_needed(&self, uid: &str) -> bool {
        self.board().is_needed(uid)
    }

    /// Whether the scheduler has decided from what was told by `since`.
    pub fn has_decided(&self, since: BootTime) -> bool {
        self.board().has_decided(since)
    }

    /// Asks for polls at the busy interval for a while, and for one soon.
    pub fn hurry(&self, now: BootTime) {
        self.noted().busy_until = now.plus(Duration::from_secs(15));
        self.ring();
    }

    /// Has the `Hypervisor` reconciled soon.
    pub fn ring(&self) {
        if let Some(bell) = &self.bell {
            // Nobody listens while the process ends: then nobody needs it.
            let _ = bell.send(self.key.clone());
        }
    }

    /// Whether polls are to come at the busy interval.
    pub fn is_busy(&self, now: BootTime) -> bool {
        now < self.noted().busy_until
    }

    /// It was found to reach this cluster, and allows so much there: from now on it shares with others that reach it.
    pub(super) fn join(&self, reach: Reach, allowance: Allowance) -> Joined {
        self.sharing.join(&self.key, reach, allowance)
    }

    /// It shares with nobody any longer, and gives back all that it had.
    pub(super) fn part(&self) {
        self.sharing.leave(&self.key);
    }

    /// This `Hypervisor` and the others that are known to reach the same cluster: all their workers' VMs are there.
    pub fn sharers(&self) -> BTreeSet<Key> {
        self.sharing.group(&self.key).into_iter().collect()
    }

    /// This `Hypervisor` and those that share the cluster with it in both directions: tasks are given to the workers of
    /// all of them by one decision. Whoever asks for one of them gets the same answer.
    pub fn partners(&self) -> BTreeSet<Key> {
        self.sharing.mutual(&self.key)
    }

    /// Asks for a launch permit: first come, first served, over all that reach the same cluster; one that is held is
    /// granted again. Of several limits the lowest counts.
    pub fn permit(&self, uid: &str, most: usize, now: BootTime) -> bool {
        self.sharing.permit(&self.key, uid, most, now)
    }

    /// Takes a permit without asking: an operation that was open before this process began goes on.
    pub fn resume(&self, uid: &str, now: BootTime) {
        self.sharing.launches(&self.key, |launches| launches.begin(uid, now));
    }

    /// A worker is at work, under its permit or with its download.
    pub fn at_work(&self, uid: &str, now: BootTime) {
        self.sharing.at_work(&self.key, uid, now);
    }

    /// Gives a permit, a place in the queue, and a download back.
    pub fn done(&self, uid: &str) {
        self.sharing.done(&self.key, uid);
    }

    /// Where an image is downloaded to for VMs on `host`: onto a storage that hosts share it is one place for all of them.
    pub fn place_of(&self, host: &str, image: &ImageFile) -> String {
        format!("{}/{}", self.storage_key(host, &image.storage), image.name())
    }

    /// What tells a storage apart from those of the same name on other hosts, unless they share it.
    pub fn storage_key(&self, host: &str, storage: &str) -> String {
        let at = (host.to_owned(), storage.to_owned());
        let is_shared = |view: &View| view.inventory().storages.get(&at).is_some_and(|storage| storage.shared);
        if self.view(is_shared) { storage.to_owned() } else { format!("{host}/{storage}") }
    }

    /// Whether another worker of those that reach the same cluster fills this place.
    pub fn is_downloaded_by_another(&self, uid: &str, place: &str, now: BootTime) -> bool {
        self.sharing.is_filled_by_another(&self.key, uid, place, now)
    }

    /// Asks to be the one who fills a place from this URL, after it was seen to be empty.
    pub fn may_download(&self, uid: &str, place: &str, url: &str, now: BootTime) -> ImageSight {
        self.sharing.may_download(&self.key, uid, (place, url), now)
    }

    /// A place is filled.
    pub fn has_downloaded(&self, uid: &str, place: &str) {
        self.sharing.downloads(&self.key, |downloads| downloads.filled(uid, place));
    }

    /// A worker could not fill a place from this URL.
    pub fn download_failed(&self, uid: &str, (place, url): (&str, &str), why: &str, now: BootTime) {
        self.sharing.downloads(&self.key, |downloads| downloads.failed(uid, (place, url), why, now));
    }

    /// Reserves a VM id for a worker: the next one after the highest that was ever given out or is named by a status,
    /// turning at the end of the range; none that is in use, named, resting, or reserved by anybody who reaches the same
    /// cluster.
    pub fn reserve_id(&self, uid: &str, named: &BTreeSet<u32>) -> Option<u32> {
        let state = self.state();
        let in_use = self.view(|view| view.inventory().vms.keys().filter_map(|id| id.parse().ok()).collect());
        let range = Range { ends: state.vm_ids, in_use, named: named.union(&state.resting).copied().collect() };
        self.sharing.reserve(&self.key, uid, &range)
    }

    /// The id is used, or no longer wanted.
    pub fn free_id(&self, uid: &str) {
        self.sharing.free(&self.key, uid);
    }

    /// Remembers that no task was found that makes this VM.
    pub fn note_untasked(&self, vm_id: &str, now: BootTime) {
        self.noted().untasked.entry(vm_id.to_owned()).or_insert(now);
    }

    /// A task was found after all.
    pub fn note_tasked(&self, vm_id: &str) {
        self.noted().untasked.remove(vm_id);
    }

    /// Forgets those VMs that are not being made any more.
    pub fn keep_untasked(&self, is_being_made: impl Fn(&str) -> bool) {
        self.noted().untasked.retain(|vm_id, _| is_being_made(vm_id));
    }

    /// When it was first seen that no task makes this VM.
    pub fn untasked_since(&self, vm_id: &str) -> Option<BootTime> {
        self.noted().untasked.get(vm_id).copied()
    }
}

/// All connections of this process.
#[derive(Debug, Default)]
pub struct Connections {
    by_key: RwLock<BTreeMap<Key, Arc<Connection>>>,
    /// Held while a deletion is entered, because several `Hypervisor`s may share one budget.
    pub(super) entering: tokio::sync::Mutex<()>,
    sharing: Arc<Sharing>,
    bell: Option<UnboundedSender<Key>>,
}

impl Connections {
    /// Connections that ring `bell` with their key when a worker wants a fresh poll.
    pub fn ringing(bell: UnboundedSender<Key>) -> Self {
        Self { bell: Some(bell), ..Self::default() }
    }

    /// The connection of a `Hypervisor`, if it was seen.
    pub fn get(&self, key: &Key) -> Option<Arc<Connection>> {
        self.by_key.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The connection of a `Hypervisor`, made if there was none.
    pub fn get_or_make(&self, key: &Key) -> Arc<Connection> {
        if let Some(connection) = self.get(key) {
            return connection;
        }
        let mut all = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        let made = || Connection {
            key: key.clone(),
            sharing: Arc::clone(&self.sharing),
            bell: self.bell.clone(),
            ..Connection::default()
        };
        Arc::clone(all.entry(key.clone()).or_insert_with(|| Arc::new(made())))
    }

    /// All connections, with their keys.
    pub fn all(&self) -> Vec<(Key, Arc<Connection>)> {
        let all = self.by_key.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, connection)| (key.clone(), Arc::clone(connection))).collect()
    }

    /// Forgets a `Hypervisor` that is gone.
    pub fn remove(&self, key: &Key) {
        self.by_key.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.sharing.leave(key);
    }
}

#[cfg(test)]
mod tests;

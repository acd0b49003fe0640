//! What all workers of one `Hypervisor` share in this process: the client, the latest view, launch permits, VM ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::budget::Ledger;
use super::hypervisor::Memory;
use super::view::View;
use crate::api::reasons::WorkerReason;
use crate::clock::BootTime;
use crate::domain::observation::{HypervisorState, Problem};
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::ClusterIdentity;

/// After this time without a word a worker loses its permit, or its place in the queue.
const FORGOTTEN: Duration = Duration::from_secs(60);

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
    /// The cluster that was pinned.
    pub identity: Option<ClusterIdentity>,
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
            identity: None,
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
    shared: Mutex<Shared>,
    /// What the poller remembers; locked while it works, so that there is never more than one.
    pub(super) poller: tokio::sync::Mutex<Memory>,
    /// The deletions of this process.
    pub(super) ledger: Mutex<Ledger>,
    /// Rung with the key when a worker wants a fresh poll.
    bell: Option<(UnboundedSender<Key>, Key)>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Workers (UIDs) that may launch, and when each was last seen at it.
    launching: BTreeMap<String, BootTime>,
    /// Workers (UIDs) that wait for a permit, in the order in which they asked first, and when each asked last.
    queue: Vec<(String, BootTime)>,
    /// VM ids that were given out, by worker UID.
    ids: HashMap<String, u32>,
    /// The highest id that was given out: ids are used in turn.
    last_id: u32,
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

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for polls at the busy interval for a while, and for one soon.
    pub fn hurry(&self, now: BootTime) {
        self.shared().busy_until = now.plus(Duration::from_secs(15));
        self.ring();
    }

    /// Has the `Hypervisor` reconciled soon.
    pub fn ring(&self) {
        if let Some((bell, key)) = &self.bell {
            // Nobody listens while the process ends: then nobody needs it.
            let _ = bell.send(key.clone());
        }
    }

    /// Whether polls are to come at the busy interval.
    pub fn is_busy(&self, now: BootTime) -> bool {
        now < self.shared().busy_until
    }

    /// Asks for a launch permit: first come, first served; one that is held is granted again.
    pub fn permit(&self, uid: &str, most: usize, now: BootTime) -> bool {
        let mut shared = self.shared();
        // Who does not ask again, or is not seen at work any more, has been deleted, paused or changed its mind.
        shared.launching.retain(|_, seen| now.since(*seen) < FORGOTTEN);
        shared.queue.retain(|(_, asked)| now.since(*asked) < FORGOTTEN);
        if let Some(seen) = shared.launching.get_mut(uid) {
            *seen = now;
            return true;
        }
        match shared.queue.iter_mut().find(|(waiting, _)| waiting == uid) {
            Some((_, asked)) => *asked = now,
            None => shared.queue.push((uid.to_owned(), now)),
        }
        let free = most.saturating_sub(shared.launching.len());
        let granted = shared.queue.iter().take(free).any(|(waiting, _)| waiting == uid);
        if granted {
            shared.queue.retain(|(waiting, _)| waiting != uid);
            shared.launching.insert(uid.to_owned(), now);
        }
        granted
    }

    /// Takes a permit without asking: an operation that was open before this process began goes on.
    pub fn resume(&self, uid: &str, now: BootTime) {
        let mut shared = self.shared();
        shared.queue.retain(|(waiting, _)| waiting != uid);
        shared.launching.insert(uid.to_owned(), now);
    }

    /// A worker is at work under its permit.
    pub fn at_work(&self, uid: &str, now: BootTime) {
        if let Some(seen) = self.shared().launching.get_mut(uid) {
            *seen = now;
        }
    }

    /// Gives a permit, and a place in the queue, back.
    pub fn done(&self, uid: &str) {
        let mut shared = self.shared();
        shared.launching.remove(uid);
        shared.queue.retain(|(waiting, _)| waiting != uid);
    }

    /// Reserves a VM id for a worker: the next one after the highest that was ever given out or is named by a status,
    /// turning at the end of the range; none that is in use, named, reserved or resting.
    pub fn reserve_id(&self, uid: &str, named: &BTreeSet<u32>) -> Option<u32> {
        let state = self.state();
        let in_use: BTreeSet<u32> =
            self.view(|view| view.inventory().vms.keys().filter_map(|id| id.parse().ok()).collect());
        let mut shared = self.shared();
        let reserved: BTreeSet<u32> = shared.ids.iter().filter(|(owner, _)| *owner != uid).map(|(_, id)| *id).collect();
        let taken =
            |id: &u32| in_use.contains(id) || named.contains(id) || reserved.contains(id) || state.resting.contains(id);
        if let Some(id) = shared.ids.get(uid).copied().filter(|id| !taken(id)) {
            return Some(id);
        }
        let (min, max) = state.vm_ids;
        let highest =
            named.iter().chain(&state.resting).chain([&shared.last_id]).copied().filter(|id| (min..=max).contains(id));
        let start = highest.max().map_or(min, |id| if id >= max { min } else { id + 1 });
        let id = (start..=max).chain(min..start).find(|id| !taken(id))?;
        shared.ids.insert(uid.to_owned(), id);
        shared.last_id = id;
        Some(id)
    }

    /// The id is used, or no longer wanted.
    pub fn free_id(&self, uid: &str) {
        self.shared().ids.remove(uid);
    }

    /// Remembers that no task was found that makes this VM.
    pub fn note_untasked(&self, vm_id: &str, now: BootTime) {
        self.shared().untasked.entry(vm_id.to_owned()).or_insert(now);
    }

    /// A task was found after all.
    pub fn note_tasked(&self, vm_id: &str) {
        self.shared().untasked.remove(vm_id);
    }

    /// Forgets those VMs that are not being made any more.
    pub fn keep_untasked(&self, is_being_made: impl Fn(&str) -> bool) {
        self.shared().untasked.retain(|vm_id, _| is_being_made(vm_id));
    }

    /// When it was first seen that no task makes this VM.
    pub fn untasked_since(&self, vm_id: &str) -> Option<BootTime> {
        self.shared().untasked.get(vm_id).copied()
    }
}

/// All connections of this process.
#[derive(Debug, Default)]
pub struct Connections {
    by_key: RwLock<BTreeMap<Key, Arc<Connection>>>,
    /// Held while a deletion is entered, because several `Hypervisor`s may share one budget.
    pub(super) entering: tokio::sync::Mutex<()>,
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
        let bell = self.bell.clone().map(|bell| (bell, key.clone()));
        let made = || Arc::new(Connection { bell, ..Connection::default() });
        Arc::clone(all.entry(key.clone()).or_insert_with(made))
    }

    /// All connections, with their keys.
    pub fn all(&self) -> Vec<(Key, Arc<Connection>)> {
        let all = self.by_key.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, connection)| (key.clone(), Arc::clone(connection))).collect()
    }

    /// Forgets a `Hypervisor` that is gone.
    pub fn remove(&self, key: &Key) {
        self.by_key.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_in_turn() {
        let connection = Connection::default();
        let at = |second| BootTime::from_start(Duration::from_secs(second));
        assert!(connection.permit("a", 1, at(1)));
        assert!(connection.permit("a", 1, at(1)));
        assert!(!connection.permit("b", 1, at(1)));
        assert!(!connection.permit("c", 1, at(1)));
        connection.done("a");
        assert!(!connection.permit("c", 1, at(2)), "b asked first");
        assert!(connection.permit("b", 1, at(2)));
        connection.resume("d", at(2));
        connection.done("b");
        assert!(!connection.permit("c", 1, at(2)), "an operation that was resumed counts");
    }

    #[test]
    fn who_is_not_heard_of_any_more_holds_nobody_up() {
        let connection = Connection::default();
        let at = |second| BootTime::from_start(Duration::from_secs(second));
        assert!(connection.permit("a", 1, at(1)));
        assert!(!connection.permit("gone", 1, at(1)));
        assert!(!connection.permit("c", 1, at(50)));
        connection.at_work("a", at(50));
        assert!(!connection.permit("c", 1, at(100)), "a is at work");
        connection.done("a");
        assert!(connection.permit("c", 1, at(101)), "the one before it in the queue never asked again");
        assert!(connection.permit("d", 1, at(300)), "c was never seen at work");
    }

    #[test]
    fn ids_go_in_turn_and_none_is_given_twice() {
        let connection = Connection::default();
        connection.update(|state| {
            state.vm_ids = (5000, 5003);
            state.resting = BTreeSet::from([5001]);
        });
        let named = BTreeSet::from([5000]);
        assert_eq!(connection.reserve_id("a", &named), Some(5002));
        assert_eq!(connection.reserve_id("a", &named), Some(5002));
        assert_eq!(connection.reserve_id("b", &named), Some(5003));
        assert_eq!(connection.reserve_id("c", &named), None);
        connection.free_id("b");
        assert_eq!(connection.reserve_id("c", &named), Some(5003));
    }
}

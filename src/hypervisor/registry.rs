//! How many calls may be under way at a hypervisor at once.
//!
//! A Proxmox VE node has three single-threaded API workers, and its people's web interface needs one of them: so at
//! most two calls that occupy a worker, and one that waits for a guest agent, are under way per
//! node. Over all nodes a limit applies that halves when the hypervisor shows signs of overload and grows again by
//! one for every so many calls that go well.
//!
//! All of this is the hypervisor's to bear, whoever calls: [`ConnectionLimits`] are therefore shared by all connections
//! that lead to one cluster, also by those that replace one another. Each says how much it would allow, and the lowest
//! word counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::BootTime;

/// Calls that occupy an API worker of a node, at most.
const PROTECTED_PER_NODE: usize = 2;
/// Calls per node that wait for a guest agent, at most.
const AGENT_PER_NODE: usize = 1;
/// Calls at once to a hypervisor of which it is not known yet which one it is: it may be one that others share.
const FIRST_CALLS: usize = 2;
/// Calls that must go well before one more at once is tried.
const GOOD_CALLS: u32 = 16;
/// The limit halves at most once in this time, because many calls feel the same overload.
const SLOWED_ONCE_IN: Duration = Duration::from_secs(5);

/// What a call costs its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallCost {
    /// Answered without an API worker.
    Plain,
    /// Occupies an API worker of the node.
    Protected,
    /// Occupies an API worker while a guest agent is asked.
    Agent,
}

/// The limits of one hypervisor.
#[derive(Debug)]
pub struct ConnectionLimits {
    calls: Arc<Semaphore>,
    pace: Mutex<Pace>,
    nodes: Mutex<HashMap<String, NodeLimits>>,
}

/// How many calls may be under way over all nodes.
#[derive(Debug)]
struct Pace {
    /// What each of those who share the limits would allow.
    words: BTreeMap<String, usize>,
    /// The lowest of these: it counts while nothing is overloaded.
    most: usize,
    /// How many may be under way now, 1 to `most`.
    allowed: usize,
    /// How many more than that are under way, because they had begun before the limit fell: none takes their place.
    surplus: usize,
    /// Calls that went well since the limit last moved.
    good: u32,
    /// When it fell last.
    slowed: Option<BootTime>,
}

#[derive(Debug, Clone)]
struct NodeLimits {
    protected: Arc<Semaphore>,
    agent: Arc<Semaphore>,
}

/// The right to have one call under way; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<ConnectionLimits>,
    call: Option<OwnedSemaphorePermit>,
    _on_node: [Option<OwnedSemaphorePermit>; 2],
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.limits.give_back(call);
        }
    }
}

impl ConnectionLimits {
    /// Limits that allow `parallel` calls at once (at least 1).
    pub fn new(parallel: usize) -> Arc<Self> {
        let most = parallel.max(1);
        let pace = Pace { words: BTreeMap::new(), most, allowed: most, surplus: 0, good: 0, slowed: None };
        Arc::new(Self { calls: Arc::new(Semaphore::new(most)), pace: Mutex::new(pace), nodes: Mutex::default() })
    }

    /// The limits of a connection that may lead anywhere: few calls at once, shared with nobody.
    pub fn unshared() -> Arc<Self> {
        Self::new(FIRST_CALLS)
    }

    /// `who` would allow `parallel` calls at once (at least 1). The lowest of such words counts, at once.
    pub fn allow(&self, who: &str, parallel: usize) {
        let mut pace = self.pace();
        pace.words.insert(who.to_owned(), parallel.max(1));
        self.heed(&mut pace);
    }

    /// `who` shares these limits no longer.
    pub fn withdraw(&self, who: &str) {
        let mut pace = self.pace();
        pace.words.remove(who);
        self.heed(&mut pace);
    }

    /// Waits until a call of that cost to `node` may be sent.
    pub async fn admit(self: &Arc<Self>, node: Option<&str>, cost: CallCost) -> Admission {
        let limits = node.map(|node| self.node(node));
        // Always in this order, so that no two calls wait for each other.
        let agent = match (&limits, cost) {
            (Some(limits), CallCost::Agent) => limits.agent.clone().acquire_owned().await.ok(),
            _ => None,
        };
        let protected = match (&limits, cost) {
            (Some(limits), CallCost::Protected | CallCost::Agent) => {
                limits.protected.clone().acquire_owned().await.ok()
            }
            _ => None,
        };
        let call = self.calls.clone().acquire_owned().await.ok();
        Admission { limits: Arc::clone(self), call, _on_node: [agent, protected] }
    }

    /// A call went well.
    pub fn went_well(&self) {
        let mut pace = self.pace();
        pace.good = pace.good.saturating_add(1);
        if pace.allowed < pace.most && pace.good >= GOOD_CALLS {
            pace.good = 0;
            let one_more = pace.allowed + 1;
            self.set_allowed(&mut pace, one_more);
        }
    }

    /// The hypervisor shows signs of overload.
    pub fn slow_down(&self, now: BootTime) {
        let mut pace = self.pace();
        if pace.slowed.is_some_and(|last| now.since(last) < SLOWED_ONCE_IN) {
            return;
        }
        pace.slowed = Some(now);
        pace.good = 0;
        let half = pace.allowed.div_ceil(2);
        self.set_allowed(&mut pace, half);
    }

    /// How many calls are allowed at once just now.
    pub fn allowed(&self) -> usize {
        self.pace().allowed
    }

    /// Goes by what those who share the limits say now. While the hypervisor recovers from an overload, a higher word
    /// only says how far the pace may grow.
    fn heed(&self, pace: &mut Pace) {
        let is_slowed = pace.allowed < pace.most;
        pace.most = pace.words.values().copied().min().unwrap_or(pace.most);
        if !is_slowed || pace.allowed > pace.most {
            let most = pace.most;
            self.set_allowed(pace, most);
        }
    }

    fn set_allowed(&self, pace: &mut Pace, allowed: usize) {
        if allowed >= pace.allowed {
            let more = allowed - pace.allowed;
            let kept = more.min(pace.surplus);
            pace.surplus -= kept;
            self.calls.add_permits(more - kept);
        } else {
            let fewer = pace.allowed - allowed;
            pace.surplus += fewer - self.calls.forget_permits(fewer);
        }
        pace.allowed = allowed;
    }

    fn give_back(&self, call: OwnedSemaphorePermit) {
        let mut pace = self.pace();
        if pace.surplus > 0 {
            pace.surplus -= 1;
            call.forget();
        } else {
            // While the pace is held, so that a limit that falls just now sees it.
            drop(call);
        }
    }

    fn node(&self, node: &str) -> NodeLimits {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = nodes.entry(node.to_owned()).or_insert_with(|| NodeLimits {
            protected: Arc::new(Semaphore::new(PROTECTED_PER_NODE)),
            agent: Arc::new(Semaphore::new(AGENT_PER_NODE)),
        });
        limits.clone()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootTime {
        BootTime::from_start(Duration::from_secs(secs))
    }

    async fn admitted(limits: &Arc<ConnectionLimits>, node: &str, cost: CallCost) -> Option<Admission> {
        tokio::time::timeout(Duration::from_secs(1), limits.admit(Some(node), cost)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_keeps_a_worker_for_its_people() {
        let limits = ConnectionLimits::new(8);
        let agent = admitted(&limits, "pve1", CallCost::Agent).await;
        assert!(agent.is_some());
        assert!(admitted(&limits, "pve1", CallCost::Agent).await.is_none());
        let protected = admitted(&limits, "pve1", CallCost::Protected).await;
        assert!(protected.is_some());
        assert!(admitted(&limits, "pve1", CallCost::Protected).await.is_none());
        assert!(admitted(&limits, "pve1", CallCost::Plain).await.is_some());
        assert!(admitted(&limits, "pve2", CallCost::Agent).await.is_some());
        drop(agent);
        assert!(admitted(&limits, "pve1", CallCost::Agent).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn overload_halves_and_good_calls_restore() {
        let limits = ConnectionLimits::new(8);
        limits.slow_down(at(0));
        limits.slow_down(at(1));
        assert_eq!(limits.allowed(), 4);
        limits.slow_down(at(10));
        limits.slow_down(at(20));
        limits.slow_down(at(30));
        assert_eq!(limits.allowed(), 1);
        assert!(admitted(&limits, "pve1", CallCost::Plain).await.is_some());
        for _ in 0..GOOD_CALLS * 7 {
            limits.went_well();
        }
        assert_eq!(limits.allowed(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_falls_under_load_holds_when_the_load_ends() {
        let limits = ConnectionLimits::new(4);
        let mut busy = Vec::new();
        for _ in 0..4 {
            busy.push(admitted(&limits, "pve1", CallCost::Plain).await.unwrap());
        }
        limits.slow_down(at(0));
        assert_eq!(limits.allowed(), 2);
        busy.truncate(2);
        assert!(admitted(&limits, "pve1", CallCost::Plain).await.is_none(), "two are still under way");
        busy.truncate(1);
        let second = admitted(&limits, "pve1", CallCost::Plain).await;
        assert!(second.is_some());
        assert!(admitted(&limits, "pve1", CallCost::Plain).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_falls_and_rises_under_load_is_the_same_as_before() {
        let limits = ConnectionLimits::new(4);
        let mut busy = Vec::new();
        for _ in 0..4 {
            busy.push(admitted(&limits, "pve1", CallCost::Plain).await.unwrap());
        }
        limits.allow("a", 1);
        limits.allow("a", 3);
        drop(busy);
        let mut again = Vec::new();
        while let Some(admission) = admitted(&limits, "pve1", CallCost::Plain).await {
            again.push(admission);
        }
        assert_eq!(again.len(), 3);
    }

    #[test]
    fn the_lowest_word_counts_until_it_is_taken_back() {
        let limits = ConnectionLimits::unshared();
        limits.allow("a", 8);
        assert_eq!(limits.allowed(), 8, "it is known now whose limits they are");
        limits.allow("b", 2);
        assert_eq!(limits.allowed(), 2);
        limits.allow("b", 16);
        assert_eq!(limits.allowed(), 8);
        limits.allow("b", 0);
        assert_eq!(limits.allowed(), 1, "none at all would be for ever");
        limits.withdraw("b");
        assert_eq!(limits.allowed(), 8);
        limits.withdraw("a");
        assert_eq!(limits.allowed(), 8);
    }

    #[test]
    fn an_overload_is_not_forgotten_over_what_people_say() {
        let limits = ConnectionLimits::new(8);
        limits.allow("a", 8);
        limits.slow_down(at(0));
        limits.allow("b", 6);
        assert_eq!(limits.allowed(), 4);
        limits.withdraw("b");
        limits.allow("a", 16);
        assert_eq!(limits.allowed(), 4);
        for _ in 0..GOOD_CALLS * 12 {
            limits.went_well();
        }
        assert_eq!(limits.allowed(), 16);
    }
}

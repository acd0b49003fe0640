//! What connections to one hypervisor share: how much may go on at once.
//!
//! A Proxmox VE node has three single-threaded API workers, and its people's web interface needs one of them: so at
//! most two calls that occupy a worker, and one that waits for a guest agent, are under way per
//! node. Over all nodes a limit applies that halves when the hypervisor shows signs of overload and grows again by
//! one for every so many calls that go well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::BootTime;

/// Calls that occupy an API worker of a node, at most.
const PROTECTED_PER_NODE: usize = 2;
/// Calls per node that wait for a guest agent, at most.
const AGENT_PER_NODE: usize = 1;
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

#[derive(Debug)]
struct Pace {
    most: usize,
    withheld: usize,
    good: u32,
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
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

impl ConnectionLimits {
    /// Limits that allow `parallel` calls at once (at least 1).
    pub fn new(parallel: usize) -> Arc<Self> {
        let most = parallel.max(1);
        Arc::new(Self {
            calls: Arc::new(Semaphore::new(most)),
            pace: Mutex::new(Pace { most, withheld: 0, good: 0, slowed: None }),
            nodes: Mutex::default(),
        })
    }

    /// Waits until a call of that cost to `node` may be sent.
    pub async fn admit(&self, node: Option<&str>, cost: CallCost) -> Admission {
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
        Admission { _permits: [agent, protected, call] }
    }

    /// A call went well.
    pub fn went_well(&self) {
        let mut pace = self.pace();
        pace.good = pace.good.saturating_add(1);
        if pace.withheld > 0 && pace.good >= GOOD_CALLS {
            pace.good = 0;
            pace.withheld -= 1;
            self.calls.add_permits(1);
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
        let now_allowed = pace.most.saturating_sub(pace.withheld);
        pace.withheld += self.calls.forget_permits(now_allowed / 2);
    }

    /// How many calls are allowed at once just now.
    pub fn allowed(&self) -> usize {
        let pace = self.pace();
        pace.most.saturating_sub(pace.withheld)
    }

    fn lower_to(&self, parallel: usize) {
        let mut pace = self.pace();
        let surplus = pace.most.saturating_sub(parallel.max(1));
        let removed = self.calls.forget_permits(surplus);
        pace.most -= removed;
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

/// Hands the same limits to all connections that reach the same hypervisor.
#[derive(Debug, Default)]
pub struct LimitsRegistry(Mutex<HashMap<String, Weak<ConnectionLimits>>>);

impl LimitsRegistry {
    /// The limits of the hypervisor known as `key`; of several values for `parallel` the lowest counts, until no
    /// connection uses them any more.
    pub fn shared(&self, key: &str, parallel: usize) -> Arc<ConnectionLimits> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, limits| limits.strong_count() > 0);
        if let Some(limits) = known.get(key).and_then(Weak::upgrade) {
            limits.lower_to(parallel);
            return limits;
        }
        let limits = ConnectionLimits::new(parallel);
        known.insert(key.to_owned(), Arc::downgrade(&limits));
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootTime {
        BootTime::from_start(Duration::from_secs(secs))
    }

    async fn admitted(limits: &ConnectionLimits, node: &str, cost: CallCost) -> Option<Admission> {
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

    #[test]
    fn of_two_connections_the_lower_limit_counts() {
        let registry = LimitsRegistry::default();
        let first = registry.shared("lab", 8);
        let second = registry.shared("lab", 2);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.allowed(), 2);
        assert_eq!(registry.shared("other", 5).allowed(), 5);
        drop((first, second));
        assert_eq!(registry.shared("lab", 8).allowed(), 8);
    }
}

//! What must be there before the process is ready, by name, with a message for those who look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{BootTime, SharedClock};

/// The gates that are still closed, each with what it waits for. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    closed: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Gates that are closed at first, each with a message such as `waiting for the first list of Workers`.
    pub fn with_closed(gates: &[(&'static str, &str)]) -> Self {
        let closed = gates.iter().map(|(name, waits_for)| (*name, (*waits_for).to_owned())).collect();
        Self { closed: Arc::new(Mutex::new(closed)) }
    }

    /// Opens a gate: what it stood for is there.
    pub fn open(&self, gate: &'static str) {
        if self.closed().remove(gate).is_some() {
            tracing::info!(gate, "ready");
        }
    }

    /// Closes a gate, or says anew what it waits for.
    pub fn close(&self, gate: &'static str, waits_for: impl Into<String>) {
        let waits_for = waits_for.into();
        let mut closed = self.closed();
        if closed.get(gate) != Some(&waits_for) {
            tracing::warn!(gate, waits_for, "not ready");
            closed.insert(gate, waits_for);
        }
    }

    /// True if every gate is open.
    pub fn is_ready(&self) -> bool {
        self.closed().is_empty()
    }

    /// The closed gates in order of name, each with what it waits for.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        self.closed().iter().map(|(name, waits_for)| (*name, waits_for.clone())).collect()
    }

    fn closed(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sign of life: something that runs all the time beats, and whoever looks sees when it last did.
#[derive(Debug, Clone)]
pub struct Pulse {
    clock: SharedClock,
    last: Arc<Mutex<BootTime>>,
    limit: Duration,
}

impl Pulse {
    /// A pulse that counts as stopped when it has not beaten for longer than the limit. It has beaten just now.
    pub fn new(clock: SharedClock, limit: Duration) -> Self {
        let last = Arc::new(Mutex::new(clock.boot()));
        Self { clock, last, limit }
    }

    /// Beats.
    pub fn beat(&self) {
        *self.last() = self.clock.boot();
    }

    /// Since when there was no beat, if that is too long.
    pub fn stopped_for(&self) -> Option<Duration> {
        let silence = self.clock.boot().since(*self.last());
        (silence > self.limit).then_some(silence)
    }

    fn last(&self) -> MutexGuard<'_, BootTime> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::TimerClock;

    #[test]
    fn every_gate_has_to_open() {
        let readiness = Readiness::with_closed(&[("stores", "the first list"), ("crds", "a look at the CRDs")]);
        readiness.open("stores");
        assert!(!readiness.is_ready());
        readiness.clone().close("crds", "CrdOutdated: workers.stevedore.dev");
        assert_eq!(readiness.missing(), [("crds", "CrdOutdated: workers.stevedore.dev".to_owned())]);
        readiness.open("crds");
        assert!(readiness.is_ready());
        readiness.close("stores", "the list again");
        assert!(!readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_stops_when_nothing_beats() {
        let clock = Arc::new(TimerClock::starting_at(Timestamp::UNIX_EPOCH));
        let pulse = Pulse::new(clock, Duration::from_secs(30));
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(pulse.stopped_for(), None);
        pulse.beat();
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(pulse.stopped_for().map(|silence| silence.as_secs()), Some(31));
    }
}

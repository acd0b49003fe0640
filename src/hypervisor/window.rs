//! How long a request that changes something may still leave.
//!
//! What justifies such a request is true for a moment only: the VM was just seen to be ours, this process leads for
//! long enough. But on its way out a request waits: for its turn, for a login, for a connection, and then for the next
//! endpoint's. So a [`Window`] goes with it and is looked at last of all, when nothing but the sending is left.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{BootTime, SharedClock};

/// The time within which a changing request may leave. Cheap to clone.
#[derive(Clone)]
pub struct Window {
    clock: SharedClock,
    closes: BootTime,
    allowed: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Window {
    /// A window that closes at a point of the boot clock, whatever else happens.
    pub fn until(closes: BootTime, clock: SharedClock) -> Self {
        Self { clock, closes, allowed: Arc::new(|| true) }
    }

    /// The same, closed as well whenever `allowed` says no.
    #[must_use]
    pub fn while_true(self, allowed: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { allowed: Arc::new(allowed), ..self }
    }

    /// Whether the request may leave now.
    pub fn is_open(&self) -> bool {
        !self.left().is_zero() && (self.allowed)()
    }

    /// How long it can stay open from now on; zero once its time is over. Waiting longer is of no use.
    pub fn left(&self) -> Duration {
        self.closes.since(self.clock.boot())
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("left", &self.left()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::TimerClock;

    #[tokio::test(start_paused = true)]
    async fn it_closes_in_time_or_when_it_is_no_longer_allowed() {
        let clock: SharedClock = Arc::new(TimerClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let leads = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&leads);
        let window = Window::until(clock.boot().plus(Duration::from_secs(5)), clock)
            .while_true(move || asked.load(Ordering::Relaxed));
        assert!(window.is_open());
        leads.store(false, Ordering::Relaxed);
        assert!(!window.is_open());
        leads.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(window.is_open() && window.left() <= Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!window.is_open());
    }
}

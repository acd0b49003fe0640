//! Who leads, and for how long still.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::{BootTime, SharedClock};

/// Clocks of different machines do not go quite alike: a term counts as over this part (1/64) earlier.
const DRIFT: u32 = 64;

/// The time that this process may lead without another renewal.
#[derive(Debug, Clone)]
pub(super) struct Term {
    boot: BootTime,
    wall: Timestamp,
    lasts: Duration,
}

impl Term {
    pub(super) fn starting(clock: &SharedClock, duration: Duration) -> Self {
        Self { boot: clock.boot(), wall: clock.wall(), lasts: duration.saturating_sub(duration / DRIFT) }
    }

    /// What is left by the boot clock.
    pub(super) fn boot_left(&self, clock: &SharedClock) -> Duration {
        self.lasts.saturating_sub(clock.boot().since(self.boot))
    }

    /// What is left by the clock that leaves less.
    pub(super) fn left(&self, clock: &SharedClock) -> Duration {
        let passed = clock.wall().duration_since(self.wall);
        let by_wall = self.lasts.saturating_sub(Duration::try_from(passed).unwrap_or(Duration::ZERO));
        self.boot_left(clock).min(by_wall)
    }
}

/// What the election has come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    pub(super) term: Option<Term>,
    /// Who holds the Lease; empty if that is not known.
    pub(super) holder: String,
}

/// Tells whether this process leads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// None: there is no election, this process always leads.
    seat: Option<watch::Receiver<Seat>>,
    clock: SharedClock,
}

impl Leadership {
    pub(super) fn new(seat: watch::Receiver<Seat>, clock: SharedClock) -> Self {
        Self { seat: Some(seat), clock }
    }

    /// For a process that is alone: it always leads.
    pub fn without_election(clock: SharedClock) -> Self {
        Self { seat: None, clock }
    }

    /// True while this process leads.
    pub fn is_leader(&self) -> bool {
        !self.time_left().is_zero()
    }

    /// How long this process leads without another renewal, by the clock that leaves less; zero if it does not lead.
    pub fn time_left(&self) -> Duration {
        let Some(seat) = &self.seat else { return Duration::MAX };
        seat.borrow().term.as_ref().map_or(Duration::ZERO, |term| term.left(&self.clock))
    }

    /// True if a changing call that may take this long may be sent now.
    pub fn allows(&self, call_deadline: Duration) -> bool {
        self.time_left() > call_deadline
    }

    /// Who holds the Lease, as far as is known.
    pub fn holder(&self) -> Option<String> {
        let holder = self.seat.as_ref()?.borrow().holder.clone();
        (!holder.is_empty()).then_some(holder)
    }

    /// Waits until this process comes to lead or stops leading, or another holder is seen.
    pub async fn changed(&mut self) {
        let gone = match &mut self.seat {
            Some(seat) => seat.changed().await.is_err(),
            None => true,
        };
        if gone {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this process leads.
    pub async fn wait_until_leader(&mut self) {
        while !self.is_leader() {
            self.changed().await;
        }
    }
}

//! The one source of time. Nothing else in the program asks the operating system what time it is.
//!
//! Two kinds of time are kept apart: the *wall* clock, which people read in a status and which may jump, and
//! *boot time* (`CLOCK_BOOTTIME`), which only goes forward, also while the machine sleeps, and which deadlines are
//! measured with.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A point on the boot clock: the time since an arbitrary start that is fixed for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(Duration);

impl BootTime {
    /// A point `since_start` after the clock's start.
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The time that passed since the clock's start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this point; zero if `earlier` lies after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Reads both clocks. Everything that needs the time takes one of these.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock, UTC.
    fn wall(&self) -> Timestamp;

    /// The boot clock: monotonic, and running on while the machine is suspended.
    fn boot(&self) -> BootTime;
}

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot(&self) -> BootTime {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        BootTime(Duration::new(secs, nanos))
    }
}

/// Follows tokio's timer: with `tokio::time::pause` it is virtual time, which moves on when every task waits.
///
/// The wall clock starts at the given moment and goes at the timer's pace.
#[derive(Debug, Clone, Copy)]
pub struct TimerClock {
    epoch: Timestamp,
    start: Instant,
}

impl TimerClock {
    /// A clock whose wall time is `epoch` now.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, start: Instant::now() }
    }
}

impl Clock for TimerClock {
    fn wall(&self) -> Timestamp {
        let passed = jiff::SignedDuration::try_from(self.start.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
        self.epoch.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn boot(&self) -> BootTime {
        BootTime(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_never_goes_back() {
        let clock = SystemClock;
        let first = clock.boot();
        assert!(clock.boot() >= first);
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_clock_follows_virtual_time() {
        let clock = TimerClock::starting_at(Timestamp::UNIX_EPOCH);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.wall().as_second(), 90);
        assert_eq!(clock.boot().since_start().as_secs(), 90);
    }
}

//! How long to wait before another try: doubling, bounded, and spread by a seed so that many do not come at once.

use std::time::Duration;

/// A doubling delay between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
}

/// Between two tests of a declaration that failed.
pub const TEST: Backoff = Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(3600) };

/// Between two tries of a call that failed for a reason that passes.
pub const CALL: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) };

/// Between two looks at a worker's VM that failed. Shorter than the minute after which a launch permit is taken from who
/// is not seen at work.
pub const LOOK: Backoff = Backoff { first: Duration::from_secs(3), longest: Duration::from_secs(45) };

/// Between two probes of a hypervisor that is away.
pub const PROBE: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(120) };

impl Backoff {
    /// The delay after `failures` failures in a row (at least one is assumed): between the full delay and a tenth
    /// more, by `seed`.
    pub fn delay(self, failures: u32, seed: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1_u32 << doublings.min(30)).min(self.longest);
        // The multiplier scatters seeds that lie close together.
        let spread = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
        let tenth = full / 10;
        full + tenth.mul_f64(f64::from(u32::try_from(spread).unwrap_or(0)) / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_keeps_its_bounds(failures in 0_u32.., seed: u64) {
            let delay = TEST.delay(failures, seed);
            prop_assert!(delay >= TEST.first);
            prop_assert!(delay <= TEST.longest + TEST.longest / 10);
        }

        #[test]
        fn more_failures_never_wait_less(failures in 1_u32..40, seed: u64) {
            let step = TEST.delay(failures, 0);
            prop_assert!(TEST.delay(failures + 1, 0) >= step);
            prop_assert!(TEST.delay(failures, seed) >= step);
        }
    }
}

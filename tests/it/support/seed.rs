//! What is left to chance comes from a seed, so that a run can be had again.

use std::io::Write as _;

/// `STEVEDORE_SEED` replays a run.
pub(crate) fn seed() -> u64 {
    std::env::var("STEVEDORE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Prints a figure with the seed that it belongs to, also of a test that passes: the test runner shows what goes
/// through `println!` of failed tests only.
pub(crate) fn tell(figure: &str) {
    // Without a terminal there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "seed {}: {figure}", seed());
}

/// Draws numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Knuth's multiplier for 64 bits; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

//! Floor 2. Decisions: pure, synchronous and total; no I/O, no clock and no randomness of their own.

//! Floor 2. Decisions: pure, synchronous and total; no I/O, no clock and no randomness of their own.
//!
//! [`plan`](plan::plan) is the one function that decides what happens to a worker: production, property tests and
//! the crash tests all use it. What it is told about the world is an [`observation`], what it wants done are
//! [`effect::Effect`]s, and what it must not forget between two effects is the [`operation`] record.

pub mod allowed;
pub mod attempt;
pub mod attend;
pub mod availability;
pub mod backoff;
pub mod belonging;
pub mod bereaved;
pub mod claims;
pub mod declare;
pub mod effect;
pub mod ending;
pub mod fault;
pub mod identity;
pub mod lifecycle;
pub mod mask;
pub mod network;
pub mod observation;
pub mod operation;
pub mod outcome;
pub mod output;
pub mod phase;
pub mod plan;
pub mod resolve;
pub mod schedule;
pub mod sizing;
pub mod tally;
pub mod told;
pub mod unfit;
pub mod update;

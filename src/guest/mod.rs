//! Floor 2. The inside of a worker: the [`channel`] into a guest, and what is run through it.

pub mod channel;

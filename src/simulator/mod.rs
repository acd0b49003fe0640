//! Hypervisors to try and test against (feature `simulator`).

pub mod guest_exec;

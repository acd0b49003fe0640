//! Hypervisors to try and test against (feature `simulator`).

pub mod guest;
pub mod guest_exec;

//! Hypervisors to try and test against (feature `simulator`).

pub mod kubernetes;

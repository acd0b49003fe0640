//! Hypervisors to try and test against (feature `simulator`).

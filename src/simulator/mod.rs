//! Hypervisors to try and test against (feature `simulator`).

pub mod fault;
pub mod guest_exec;
pub mod kubernetes;
pub mod proxmox;
pub mod scenario;
pub mod world;

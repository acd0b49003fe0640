//! The operator as its chart installs it, on a real control plane, against a simulated Proxmox VE cluster over HTTPS.

mod erased;
mod failover;
mod idle;
mod killed;
mod later_crd;
mod lifecycle;
mod looks;
mod namespace;
mod night;
mod normal;
mod older;
mod sessions;
pub(crate) mod stage;
mod stale_crd;
mod witness;

//! The operator as its chart installs it, on a real control plane, against a simulated Proxmox VE cluster over HTTPS.

mod failover;
mod idle;
mod killed;
mod lifecycle;
mod namespace;
mod stage;
mod stale_crd;

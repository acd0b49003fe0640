//! The simulated Proxmox VE, tried from outside as a client would.

mod downloads;
mod faults;
mod lifecycle;
mod many;
pub(crate) mod probe;
mod rights;
pub(crate) mod sockets;
mod units;

//! The simulated Proxmox VE, tried from outside as a client would.

mod downloads;
mod faults;
mod lifecycle;
mod many;
pub(crate) mod probe;
mod rights;
mod sockets;
mod units;

//! The simulated Proxmox VE, tried from outside as a client would.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot read an answer has failed")]

mod faults;
mod lifecycle;
pub(crate) mod probe;
mod rights;
mod sockets;

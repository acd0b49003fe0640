//! Hypervisors to try and test against (feature `simulator`).
//!
//! [`scenario`] describes a world, [`world`] is that world as a state machine on a clock, [`proxmox`] is its API,
//! callable in the process, and [`server`] puts that API on a socket. `fetch` is the seam to what nodes download, and
//! [`image_server`] gives real nodes something to download. [`fault`] scripts what goes wrong in between, and
//! [`guest_exec`] is the seam to what runs inside the simulated guests. With [`qemu`] a world's machines are real.
//! [`declared`] is how Kubernetes hears of such a world.

mod certificates;
pub mod cli;
pub mod declared;
pub mod fault;
mod fetch;
pub mod guest;
pub mod guest_exec;
pub mod image_server;
pub mod kubernetes;
pub mod proxmox;
pub mod qemu;
pub mod scenario;
pub mod server;
pub mod world;

pub use certificates::CertificateError;

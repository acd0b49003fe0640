//! The operator is killed, and its calls are lost, late and doubled, at every single effect: in one process, with the
//! simulated hypervisor and the Kubernetes API in memory, in virtual time.

mod lives;
mod lost;
mod matrix;
pub(crate) mod mishaps;
pub(crate) mod operator;
pub(crate) mod world;
mod worlds;

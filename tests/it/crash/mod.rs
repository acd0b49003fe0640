//! The operator is killed and suspended, its calls are lost, late and doubled, and its statuses erased, at every single
//! effect and write: in one process, with the simulated hypervisor and the Kubernetes API in memory, in virtual time.

mod imported;
mod lives;
mod lost;
mod matrix;
pub(crate) mod mishaps;
mod nights;
pub(crate) mod operator;
mod sessions;
mod suspended;
pub(crate) mod world;
mod worlds;

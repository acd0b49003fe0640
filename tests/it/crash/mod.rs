//! The operator is killed, and its calls are lost, late and doubled, at every single effect: in one process, with the
//! simulated hypervisor and the Kubernetes API in memory, in virtual time.

mod matrix;
mod world;

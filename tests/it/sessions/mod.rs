//! Sessions and their tasks, from creation to deletion: with the simulated hypervisor and the Kubernetes API in memory, in
//! virtual time; and what is written of them at a real API server.

mod accepted;
mod created;
mod crowd;
mod disturbed;
mod ended;
mod foreign;
pub(crate) mod lab;
mod left;
mod refused;
mod run;
mod shared;
mod waits;

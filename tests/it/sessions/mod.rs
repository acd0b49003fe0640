//! Sessions and their tasks, from creation to deletion: with the simulated hypervisor and the Kubernetes API in memory, in
//! virtual time.

mod accepted;
mod created;
mod crowd;
mod disturbed;
mod ended;
mod foreign;
mod lab;
mod left;
mod refused;

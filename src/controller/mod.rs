//! Floor 3. The Kubernetes side: snapshot, plan, execute, status, events.

pub mod budget;
pub mod connection;
pub mod context;
pub mod events;
pub mod finalizer;
pub mod hypervisor;
pub mod tracks;
pub mod view;

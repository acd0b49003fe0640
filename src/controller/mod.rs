//! Floor 3. The Kubernetes side: snapshot, plan, execute, status, events.

pub mod budget;
pub mod connection;
pub mod context;
pub mod driver;
pub mod events;
pub mod execute;
pub mod finalizer;
pub mod hypervisor;
pub mod listed;
pub mod looks;
pub mod record;
pub mod snapshot;
pub mod status;
pub mod testing;
pub mod tracks;
pub mod unreadable;
pub mod upkeep;
pub mod view;
pub mod watch;
pub mod worker;

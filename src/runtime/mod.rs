//! Floor 3. Process plumbing: client, lease, admin server, readiness, shutdown, telemetry.

pub mod admin;
pub mod client;
pub mod crd_check;
pub mod fence;
pub mod lease;
pub mod metrics;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;

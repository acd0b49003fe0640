//! Floor 3. Process plumbing: client, lease, admin server, readiness, shutdown, telemetry.

pub mod lease;
pub mod shutdown;

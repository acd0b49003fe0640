//! The CRDs on a real API server: that it takes them as they are, and that its verdicts on manifests and edits are the
//! ones meant.

mod cases;
mod examples;
mod largest;
mod largest_sessions;
mod older;
mod server;
mod shown;
mod taken;
mod types;
mod verdicts;

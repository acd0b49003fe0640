//! Integration tests.

// In tests an unwrap is an assertion; clippy's own exception does not reach the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod client;
mod controlplane;
mod simulator;
mod support;

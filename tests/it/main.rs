//! Integration tests.

// In tests an unwrap is an assertion; clippy's own exception does not reach the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod chart;
mod client;
mod controlplane;
mod crash;
mod crd_check;
mod crds;
mod docs;
mod guest;
mod held_up;
mod house;
mod hypervisor_controller;
mod installed;
mod kube_api;
mod kube_conformance;
mod lease;
mod plugin;
mod real;
mod recorded;
mod refusals;
mod replaced;
mod sessions;
mod sharing;
mod simulator;
mod support;
mod updates;
mod watched;

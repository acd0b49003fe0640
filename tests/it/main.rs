//! Integration tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kube_api;
mod kube_conformance;

//! The chart: what it renders, what it refuses, and how it lives on a real control plane.

mod install;
mod render;

use std::path::PathBuf;

/// The folder of the chart.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts/stevedore")
}

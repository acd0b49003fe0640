//! Whether this process may change anything: it leads, for long enough, and the installed CRDs keep what it writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::controller::context::Gate;
use crate::runtime::lease::Leadership;

/// The process's permission to change things.
#[derive(Debug)]
pub(super) struct AppGate {
    leadership: Leadership,
    crds_fit: AtomicBool,
}

impl AppGate {
    /// Closed until the CRDs were looked at.
    pub(super) fn new(leadership: Leadership) -> Self {
        Self { leadership, crds_fit: AtomicBool::new(false) }
    }

    pub(super) fn crds_fit(&self) -> bool {
        self.crds_fit.load(Ordering::Relaxed)
    }

    pub(super) fn set_crds_fit(&self, fit: bool) {
        self.crds_fit.store(fit, Ordering::Relaxed);
    }
}

impl Gate for AppGate {
    fn may_change(&self, deadline: Duration) -> bool {
        self.crds_fit() && self.leadership.allows(deadline)
    }
}

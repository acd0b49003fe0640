//! Changes inside a guest: commands of tasks are started and stopped there.
//!
//! They need the same proof as a change of the VM: its marks were read a moment ago, and this process leads for longer
//! than the call can take. That a command is started once at most is seen to by its guard in the guest.

use super::{ExecuteError, window};
use crate::controller::context::Context;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Mark, Ownership, judge};
use crate::guest::channel::GuestChannel;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::{Power, VmRef};
use std::sync::Arc;

/// The guest of a worker, proven to be the worker's.
pub struct Guest<'a> {
    /// The process.
    pub context: &'a Context,
    /// The hypervisor.
    pub client: &'a SharedHypervisor,
    /// The worker's mark.
    pub mark: &'a Mark,
    /// Where its VM is.
    pub at: VmRef,
}

impl Guest<'_> {
    /// A channel by which changes may leave for a moment.
    pub async fn open(&self) -> Result<Arc<dyn GuestChannel>, ExecuteError> {
        let begun = self.context.clock.boot();
        self.prove().await.map_err(ExecuteError::Unproven)?;
        if !self.context.gate.may_change(self.context.patience.call) {
            return Err(ExecuteError::NotLeader);
        }
        Ok(self.client.guest_within(&self.at, window(self.context, begun)))
    }

    async fn prove(&self) -> Result<(), Fault> {
        let detail = self.client.vm(&self.at).await?;
        let refuse = |text: String| Err(Fault::new(FaultKind::Refused, text));
        match judge(&detail.shown, &self.mark.installation, &self.mark.worker_uid) {
            Ownership::Ours if detail.power == Power::On && !detail.template => Ok(()),
            Ownership::Ours => Err(Fault::new(FaultKind::Busy, format!("{} is not powered on any more", detail.at))),
            other => refuse(format!("{} is not touched: its marks do not fit ({other:?})", detail.at)),
        }
    }
}

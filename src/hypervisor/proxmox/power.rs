//! Power, and the end of a VM.

use std::time::Duration;

use super::call::Call;
use super::changing::Changing;
use super::inventory::{ha_status, is_quorate};
use super::params::Params;
use super::routes::{DESTROY, SHUTDOWN, START, STOP};
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::vm::{Started, VmRef};

/// Powers on. That it runs already shows as an error of the task.
pub(super) async fn start(changing: &Changing<'_>, at: &VmRef) -> Result<Started, Fault> {
    changing.started(on(at, &START)).await
}

/// One call with the power cut at its end: a waiting shutdown holds the VM's lock, so that a second call could not get
/// at it.
pub(super) async fn shut_down(changing: &Changing<'_>, at: &VmRef, grace: Duration) -> Result<Started, Fault> {
    let params = Params::default().with("timeout", grace.as_secs()).flag("forceStop", true);
    changing.started(on(at, &SHUTDOWN).with(params)).await
}

/// Cuts the power; a shutdown of ours that still waits is given up.
pub(super) async fn power_off(changing: &Changing<'_>, at: &VmRef) -> Result<Started, Fault> {
    changing.started(on(at, &STOP).with(Params::default().flag("overrule-shutdown", true))).await
}

/// Deletes the VM, its disks, and its entries in HA, replication and backup jobs. Disks that no configuration names
/// are left alone: on a storage that two clusters share they may be another's.
///
/// Without quorum Proxmox VE would remove the disks and keep the VM (recorded 712, 713), so quorum is looked at just
/// before.
pub(super) async fn destroy(changing: &Changing<'_>, at: &VmRef) -> Result<Started, Fault> {
    let call = on(at, &DESTROY).with(Params::default().flag("purge", true));
    if !is_quorate(&ha_status(changing.connection).await?) {
        return Err(call.fault(
            FaultKind::NoQuorum,
            "not sent, the cluster has no quorum; the disks would be lost and the VM kept",
        ));
    }
    changing.started(call).await
}

fn on(at: &VmRef, route: &'static super::routes::Route) -> Call {
    Call::new(route, &[&at.host, &at.id])
}

//! Floor 2. The outside world of VMs. Knows nothing of Kubernetes.
//!
//! [`Hypervisor`] is what a provider implements: it looks. Whoever wants to change something says until when that may
//! still be begun, and gets [`Changes`] for it. [`vm`] has the values that go in and out, the same for all providers.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::fault::Fault;
use crate::guest::channel::GuestChannel;

pub mod credential;
pub mod inventory;
pub mod proxmox;
pub mod registry;
pub mod transport;
pub mod vm;
pub mod window;

use inventory::Inventory;
use registry::ConnectionLimits;
use vm::image::{ImageFile, ImageState};
use vm::making::Making;
use vm::{
    Capabilities, CreateOrder, InUse, MissingPrivilege, Obstacle, Probe, Started, TaskHandle, TaskState, VmDetail,
    VmRef, VmWanted,
};
use window::Window;

/// One hypervisor: one Proxmox VE cluster (or lone node), reached with one credential.
///
/// Every method has a deadline of its own and answers within it.
#[async_trait]
pub trait Hypervisor: Debug + Send + Sync {
    /// What this provider can do; what it cannot is refused by the caller, never ignored.
    fn capabilities(&self) -> Capabilities;

    /// Shares these limits from now on: it is known by now which cluster this is, or that it is another one.
    fn use_limits(&self, limits: Arc<ConnectionLimits>);

    /// Who answers: product, version, identity, quorum, the certificate's expiry. Changes nothing.
    async fn probe(&self) -> Result<Probe, Fault>;

    /// Which of the privileges that the work needs are missing, each with its path; with those that are needed on what
    /// is `in_use`.
    async fn missing_privileges(&self, in_use: &InUse) -> Result<Vec<MissingPrivilege>, Fault>;

    /// One poll: a fixed number of requests, whatever the number of VMs (two on Proxmox VE).
    async fn inventory(&self) -> Result<Inventory, Fault>;

    /// The VM as it is now: configuration, power, lock; not the inventory's possibly stale view.
    /// [`FaultKind::NotFound`](crate::domain::fault::FaultKind::NotFound) if it is not on that host.
    async fn vm(&self, at: &VmRef) -> Result<VmDetail, Fault>;

    /// The names of the storages that a VM's disks are on; empty where storages cannot be told apart. One request.
    async fn storages_of(&self, at: &VmRef) -> Result<BTreeSet<String>, Fault>;

    /// Settings in which the VM differs from what is wanted, in the provider's words; empty if it fits. No I/O.
    fn differences(&self, wanted: &VmWanted, seen: &VmDetail) -> Vec<vm::Difference>;

    /// What stands in the way of making this VM: no such storage, storage without snapshots, no such template …
    async fn obstacles(&self, wanted: &VmWanted) -> Result<Vec<Obstacle>, Fault>;

    /// Where the image is, for a VM on `host`. One that is on its way counts as such whoever downloads it; onto a storage
    /// that hosts share, whichever of them does. Whoever has it downloaded himself names the `task`: only where that runs
    /// is then looked for others.
    async fn image(&self, host: &str, image: &ImageFile, task: Option<&TaskHandle>) -> Result<ImageState, Fault>;

    /// The state of a task that one of the calls below started.
    async fn task(&self, task: &TaskHandle) -> Result<TaskState, Fault>;

    /// Whether a task that creates or clones runs that could be the one that makes this VM.
    async fn is_being_made(&self, making: &Making) -> Result<bool, Fault>;

    /// The way to change something for as long as `window` is open.
    fn within(&self, window: Window) -> Box<dyn Changes + '_>;

    /// The addresses of a running guest, by MAC address in upper case; an empty list for a card without any.
    async fn guest_addresses(&self, at: &VmRef) -> Result<Vec<vm::GuestAddress>, Fault>;

    /// Whether the guest answers at all. A guest that does not is `Ok(false)`, not a fault.
    async fn guest_answers(&self, at: &VmRef) -> Result<bool, Fault>;

    /// The way into the guest of a running VM.
    fn guest(&self, at: &VmRef) -> Arc<dyn GuestChannel>;

    /// The same for what changes something inside: it leaves only within `window`.
    fn guest_within(&self, at: &VmRef, window: Window) -> Arc<dyn GuestChannel>;
}

/// What can be done to VMs.
///
/// Each method sends at most one changing request, and that one only while the window is open in which these changes
/// are allowed: whatever is waited for, read or tried before, it is looked at when the request is about to leave.
/// [`FaultKind::NotSent`](crate::domain::fault::FaultKind::NotSent) if it had closed.
///
/// None is repeated here. Each is either safe to repeat after looking (download, start, stop, configure, grow) or made
/// for an operation whose record decides about repeating it (create, destroy).
#[async_trait]
pub trait Changes: Send + Sync {
    /// Has the host download the image onto its storage and check it there. Safe to repeat: what is there already is only
    /// checked once more.
    async fn download(&self, host: &str, image: &ImageFile) -> Result<Started, Fault>;

    /// Makes the VM, powered off and marked, by cloning the template or by importing the image, which must be on its
    /// storage. Not safe to repeat blindly.
    async fn create(&self, order: &CreateOrder) -> Result<Started, Fault>;

    /// Changes those settings of a powered-off VM in which `seen` differs from `wanted`, the uuid of the mark among
    /// them; refused by the hypervisor if the configuration changed since it was seen.
    async fn configure(&self, wanted: &VmWanted, seen: &VmDetail) -> Result<Started, Fault>;

    /// Grows the boot disk of a VM to an absolute size; the same size again is no change.
    async fn grow_disk(&self, wanted: &VmWanted, seen: &VmDetail) -> Result<Started, Fault>;

    /// Powers on.
    async fn start(&self, at: &VmRef) -> Result<Started, Fault>;

    /// Asks the guest to shut down; after `grace` the power is cut.
    async fn shut_down(&self, at: &VmRef, grace: std::time::Duration) -> Result<Started, Fault>;

    /// Cuts the power at once.
    async fn power_off(&self, at: &VmRef) -> Result<Started, Fault>;

    /// Deletes a powered-off VM with its disks. Not safe to repeat blindly.
    async fn destroy(&self, at: &VmRef) -> Result<Started, Fault>;
}

/// A hypervisor that many parts share.
pub type SharedHypervisor = Arc<dyn Hypervisor>;

//! The changes in the world of VMs that a decision can ask for.

use super::operation::Step;

/// A change in the world of VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Have the host download the image that the VM is made from.
    Download,
    /// Make the VM.
    Create,
    /// Change its configuration.
    Configure,
    /// Grow its disk.
    GrowDisk,
    /// Power on.
    Start,
    /// Start the update of the packages in the guest.
    Update,
    /// Reboot the guest after its update.
    Reboot,
    /// Shut down, power off after the grace period.
    ShutDown,
    /// Cut the power.
    PowerOff,
    /// Delete it with its disks.
    Destroy,
}

impl Effect {
    /// Whether it happens inside the guest, so that the hypervisor sees nothing of it.
    pub const fn is_inside(self) -> bool {
        matches!(self, Self::Update | Self::Reboot)
    }

    /// The step under which the record knows this effect.
    pub const fn step(self) -> Step {
        match self {
            Self::Download => Step::Download,
            Self::Create => Step::Create,
            Self::Configure | Self::GrowDisk => Step::Configure,
            Self::Start => Step::Start,
            Self::Update => Step::Update,
            Self::Reboot => Step::Reboot,
            Self::ShutDown => Step::ShutDown,
            Self::PowerOff => Step::PowerOff,
            Self::Destroy => Step::Destroy,
        }
    }
}

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
    /// Shut down, power off after the grace period.
    ShutDown,
    /// Cut the power.
    PowerOff,
    /// Delete it with its disks.
    Destroy,
}

impl Effect {
    /// The step under which the record knows this effect.
    pub const fn step(self) -> Step {
        match self {
            Self::Download => Step::Download,
            Self::Create => Step::Create,
            Self::Configure | Self::GrowDisk => Step::Configure,
            Self::Start => Step::Start,
            Self::ShutDown => Step::ShutDown,
            Self::PowerOff => Step::PowerOff,
            Self::Destroy => Step::Destroy,
        }
    }
}

//! Why a task waits, and why a worker takes none, in one CamelCase word each.

use std::fmt;

/// Why a task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitReason {
    /// The workers that could take it have no free slot.
    Busy,
    /// The worker is disabled.
    Disabled,
    /// The worker, or its hypervisor, is paused.
    Paused,
    /// The worker failed its test.
    TestFailed,
    /// The worker's configuration is to change first.
    Draining,
    /// The worker is shutting down.
    ShuttingDown,
    /// The worker is being deleted.
    Deleting,
    /// The worker's declaration cannot be met until somebody changes something.
    Stalled,
    /// The worker is on a host that is to get no tasks.
    HostUnschedulable,
    /// The worker is on a host that is offline.
    HostOffline,
    /// A storage of its VM has as many tasks as it may have.
    StorageLimit,
    /// Another task processes the same VM, or comes first.
    VmBusy,
    /// Its session has as many tasks as it wants at once.
    Parallelism,
    /// The session's selector selects no worker.
    NoWorker,
    /// The session requires a worker on the VM's host, and there is none.
    NoWorkerOnHost,
    /// No worker can take it, for several reasons.
    Unavailable,
}

impl WaitReason {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Busy,
        Self::Disabled,
        Self::Paused,
        Self::TestFailed,
        Self::Draining,
        Self::ShuttingDown,
        Self::Deleting,
        Self::Stalled,
        Self::HostUnschedulable,
        Self::HostOffline,
        Self::StorageLimit,
        Self::VmBusy,
        Self::Parallelism,
        Self::NoWorker,
        Self::NoWorkerOnHost,
        Self::Unavailable,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "Busy",
            Self::Disabled => "Disabled",
            Self::Paused => "Paused",
            Self::TestFailed => "TestFailed",
            Self::Draining => "Draining",
            Self::ShuttingDown => "ShuttingDown",
            Self::Deleting => "Deleting",
            Self::Stalled => "Stalled",
            Self::HostUnschedulable => "HostUnschedulable",
            Self::HostOffline => "HostOffline",
            Self::StorageLimit => "StorageLimit",
            Self::VmBusy => "VmBusy",
            Self::Parallelism => "Parallelism",
            Self::NoWorker => "NoWorker",
            Self::NoWorkerOnHost => "NoWorkerOnHost",
            Self::Unavailable => "Unavailable",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a worker takes no tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unfit {
    /// It is disabled.
    Disabled,
    /// It, or its hypervisor, is paused.
    Paused,
    /// It failed its test.
    TestFailed,
    /// Its configuration is to change first.
    Draining,
    /// It is shutting down.
    ShuttingDown,
    /// It is being deleted.
    Deleting,
    /// Its declaration cannot be met until somebody changes something.
    Stalled,
    /// It is on a host that is to get no tasks.
    HostUnschedulable,
    /// It is on a host that is offline.
    HostOffline,
}

impl Unfit {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Disabled,
        Self::Paused,
        Self::TestFailed,
        Self::Draining,
        Self::ShuttingDown,
        Self::Deleting,
        Self::Stalled,
        Self::HostUnschedulable,
        Self::HostOffline,
    ];

    /// Whether it is over soon, with nobody's help: such a worker is waited for like one that is full.
    pub const fn passes(self) -> bool {
        matches!(self, Self::ShuttingDown)
    }

    /// What one worker is, for people.
    pub(super) const fn of_one(self) -> &'static str {
        match self {
            Self::Disabled => "is disabled",
            Self::Paused => "is paused",
            Self::TestFailed => "failed its test",
            Self::Draining => "is to be changed first",
            Self::ShuttingDown => "is shutting down",
            Self::Deleting => "is being deleted",
            Self::Stalled => "is stalled",
            Self::HostUnschedulable => "is on a host that is to get no tasks",
            Self::HostOffline => "is on a host that is offline",
        }
    }

    /// What several workers are, for people.
    pub(super) const fn of_many(self) -> &'static str {
        match self {
            Self::Disabled => "are disabled",
            Self::Paused => "are paused",
            Self::TestFailed => "failed their tests",
            Self::Draining => "are to be changed first",
            Self::ShuttingDown => "are shutting down",
            Self::Deleting => "are being deleted",
            Self::Stalled => "are stalled",
            Self::HostUnschedulable => "are on hosts that are to get no tasks",
            Self::HostOffline => "are on hosts that are offline",
        }
    }
}

impl From<Unfit> for WaitReason {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Disabled => Self::Disabled,
            Unfit::Paused => Self::Paused,
            Unfit::TestFailed => Self::TestFailed,
            Unfit::Draining => Self::Draining,
            Unfit::ShuttingDown => Self::ShuttingDown,
            Unfit::Deleting => Self::Deleting,
            Unfit::Stalled => Self::Stalled,
            Unfit::HostUnschedulable => Self::HostUnschedulable,
            Unfit::HostOffline => Self::HostOffline,
        }
    }
}

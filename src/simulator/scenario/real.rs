//! Machines that are real: QEMU processes in place of simulated guests.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How QEMU runs the machines of a world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QemuSpec {
    /// Folder in which a new one is made for disks, sockets and console logs; the system's for temporary files if
    /// absent.
    pub folder: Option<PathBuf>,
    /// Whether disks and console logs stay when the simulator ends.
    pub keep: bool,
    /// Most memory of one machine, in MiB, whatever its configuration says.
    pub max_memory_mib: Option<u64>,
    /// Most processors of one machine, whatever its configuration says.
    pub max_cores: Option<u64>,
    /// How the processors are run.
    pub acceleration: Acceleration,
}

/// How processors are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// By KVM if a machine that is tried with it boots, else in software.
    #[default]
    Auto,
    /// By KVM.
    Kvm,
    /// In software.
    Tcg,
}

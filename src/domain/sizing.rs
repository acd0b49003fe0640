//! How large a worker's VM is: what is declared, and what follows from the number of tasks where nothing is.

use crate::api::WorkerSpec;
use crate::api::common::Quantity;

/// Disk of a worker that declares none, GiB.
pub const DEFAULT_DISK_GIB: u64 = 100;
/// CPUs, and GiB of memory, on top of one for each task.
const EXTRA: u64 = 2;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The sizes of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// The least size of the boot disk, GiB.
    pub disk_gib: u64,
}

/// The sizes that a spec asks for. Quantities that admission would not let through count as not given.
pub fn sizes(spec: &WorkerSpec) -> Sizes {
    let tasks = u64::try_from(spec.max_concurrent_tasks).unwrap_or(1).max(1);
    let bytes = |quantity: &Option<Quantity>| {
        quantity
            .as_ref()
            .and_then(Quantity::bytes)
            .and_then(|bytes| u64::try_from(bytes).ok())
            .filter(|bytes| *bytes > 0)
    };
    let cpus = spec.resources.cpus.and_then(|cpus| u32::try_from(cpus).ok()).filter(|cpus| *cpus > 0);
    Sizes {
        cpus: cpus.unwrap_or_else(|| u32::try_from(tasks + EXTRA).unwrap_or(u32::MAX)),
        memory_mib: bytes(&spec.resources.memory).map_or((tasks + EXTRA) * (GIB / MIB), |bytes| bytes.div_ceil(MIB)),
        disk_gib: bytes(&spec.resources.disk).map_or(DEFAULT_DISK_GIB, |bytes| bytes.div_ceil(GIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(tasks: i32, resources: &serde_json::Value) -> WorkerSpec {
        serde_json::from_value(json!({
            "hypervisorRef": {"name": "lab"}, "image": {"template": "t"}, "networks": [],
            "maxConcurrentTasks": tasks, "resources": resources,
        }))
        .unwrap()
    }

    #[test]
    fn sizes_follow_from_the_number_of_tasks() {
        assert_eq!(sizes(&spec(4, &json!({}))), Sizes { cpus: 6, memory_mib: 6 * 1024, disk_gib: 100 });
        assert_eq!(sizes(&spec(1, &json!({}))), Sizes { cpus: 3, memory_mib: 3 * 1024, disk_gib: 100 });
    }

    #[test]
    fn what_is_declared_wins() {
        let declared = json!({"cpus": 2, "memory": "1536Mi", "disk": "20Gi"});
        assert_eq!(sizes(&spec(4, &declared)), Sizes { cpus: 2, memory_mib: 1536, disk_gib: 20 });
    }
}

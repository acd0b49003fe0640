//! How long things take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A span of time in seconds, fractions allowed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// The span; zero for what is not a span of time.
    pub fn span(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or(Duration::ZERO)
    }
}

/// How long things take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timings {
    /// Every answer.
    pub api_latency: Seconds,
    /// From the answer with a UPID to the worker's first deed.
    pub fork: Seconds,
    /// Allocating an empty disk.
    pub allocate: Seconds,
    /// Downloading one file.
    pub download: Seconds,
    /// Importing one image.
    pub import: Seconds,
    /// Copying the disks of a full clone, in all.
    pub full_clone: Seconds,
    /// One disk of a linked clone.
    pub linked_clone: Seconds,
    /// Starting the virtual machine's process.
    pub start: Seconds,
    /// From there to an answering guest agent.
    pub boot: Seconds,
    /// A guest's way from the request to power-off.
    pub shutdown: Seconds,
    /// Stopping hard.
    pub stop: Seconds,
    /// Resizing a disk.
    pub resize: Seconds,
    /// Destroying a virtual machine.
    pub destroy: Seconds,
    /// Delay of a 401 answer.
    pub auth_failure: Seconds,
    /// Wait for an agent that does not answer.
    pub agent_wait: Seconds,
    /// Wait for a configuration's file lock.
    pub lock_wait: Seconds,
    /// How long 9.2 holds the file lock of a machine that was started within a second after it stopped.
    pub restart_latch: Seconds,
    /// Interval at which a node publishes the state of its machines.
    pub publish: Seconds,
    /// Trying to reach a node that is off.
    pub unreachable: Seconds,
}

impl Timings {
    /// Nothing is added to what real machines and disks take; the rest stays.
    pub(super) fn of_real_machines(self) -> Self {
        let none = Seconds(0.0);
        let made = Self { allocate: none, import: none, full_clone: none, linked_clone: none, ..self };
        Self { start: none, boot: none, shutdown: none, stop: none, resize: none, destroy: none, ..made }
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            api_latency: Seconds(0.0),
            fork: Seconds(0.02),
            allocate: Seconds(0.3),
            download: Seconds(6.0),
            import: Seconds(8.0),
            full_clone: Seconds(12.0),
            linked_clone: Seconds(0.5),
            start: Seconds(1.5),
            boot: Seconds(20.0),
            shutdown: Seconds(4.0),
            stop: Seconds(0.5),
            resize: Seconds(0.3),
            destroy: Seconds(1.0),
            auth_failure: Seconds(3.0),
            agent_wait: Seconds(3.0),
            lock_wait: Seconds(10.0),
            restart_latch: Seconds(30.0),
            publish: Seconds(10.0),
            unreachable: Seconds(3.0),
        }
    }
}

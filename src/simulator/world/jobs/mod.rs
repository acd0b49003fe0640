//! The work behind each kind of task.

mod change;
mod clone;
mod create;
mod destroy;
mod download;
mod hibernate;
mod nudge;
mod start;
mod stop;

use std::time::Duration;

use super::World;

pub(crate) use change::{ConfigJob, ResizeJob, TemplateJob};
pub(crate) use clone::{CloneJob, CloneOrder};
pub(crate) use create::CreateJob;
pub(crate) use destroy::DestroyJob;
pub(crate) use download::{DownloadJob, DownloadOrder};
pub(crate) use hibernate::HibernateJob;
pub(crate) use nudge::NudgeJob;
pub(crate) use start::StartJob;
pub(crate) use stop::{RebootJob, ShutdownJob, StopJob};

/// How long a clone waits for the locks of its source and target.
const CLONE_LOCK: Duration = Duration::from_secs(1);
/// How long a create waits for its target's lock.
const CREATE_LOCK: Duration = Duration::from_secs(5);

impl World {
    fn lock_wait(&self) -> Duration {
        self.scenario.timings.lock_wait.span()
    }

    /// Refuses to write below `/etc/pve` while there is no quorum (recorded 706, 713).
    pub(crate) fn writable(&self, node: &str, vmid: u32) -> Result<(), String> {
        if self.quorate {
            return Ok(());
        }
        let pid = self.nodes.get(node).map_or(0, |node| node.next_pid);
        Err(format!(
            "unable to open file '/etc/pve/nodes/{node}/qemu-server/{vmid}.conf.tmp.{pid}' - Permission denied"
        ))
    }
}

//! What a person is told who keeps the demo running: how to reach it, what to try, where to look.

use std::fmt;

use super::{EXAMPLES, NAMESPACE};
use crate::controlplane::{ControlPlane, Replica};

/// Commands that show something new, without `kubectl` and the namespace in front of them.
const TO_TRY: [(&str, &str); 4] = [
    (r#"annotate worker worker-1 --overwrite stevedore.dev/test-requested-at="$(date)""#, "asks for a test"),
    (
        r#"patch worker worker-1 --type=merge --patch '{"spec":{"maxConcurrentTasks":6}}'"#,
        "more CPUs and memory, and a test with them",
    ),
    ("delete worker worker-2 --wait=false", "its VM is deleted, then the Worker goes"),
    ("create -f examples/sessions/40-lease.yaml", "workers are launched and held ready: see its tasks"),
];

/// The text for the person.
pub(super) struct Invitation<'a> {
    pub(super) plane: &'a ControlPlane,
    pub(super) replica: &'a Replica,
}

impl fmt::Display for Invitation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = self.plane.binaries().kubectl.parent().unwrap_or(self.plane.folder());
        writeln!(f, "everything goes on until you press Ctrl-C; in another terminal:")?;
        writeln!(f, "  export KUBECONFIG={}", self.plane.kubeconfig_path().display())?;
        writeln!(f, "  export PATH={}:$PATH", programs.display())?;
        writeln!(f, "  kubectl -n {EXAMPLES} get workers --watch")?;
        writeln!(f, "and, to see something happen:")?;
        for (command, gain) in TO_TRY {
            writeln!(f, "  kubectl -n {EXAMPLES} {command}   # {gain}")?;
        }
        let admin = self.replica.admin;
        writeln!(f, "the operator's log: {}", self.replica.process.log_path().display())?;
        writeln!(f, "its state and its metrics: curl http://{admin}/readyz and http://{admin}/metrics")?;
        write!(f, "it runs as a process beside the cluster, so its Deployment in {NAMESPACE} shows 0/1 for good")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_to_try_is_about_the_examples() {
        let examples = include_str!("../../examples/proxmox/20-workers.yaml");
        for (command, _) in TO_TRY {
            let name = command.split(' ').nth(2).unwrap();
            let is_file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name).is_file();
            assert!(is_file || examples.contains(&format!("\n  name: {name}\n")), "{command}");
        }
    }
}

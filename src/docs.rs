//! The parts of the documentation that follow from the code: the reference of the kinds, the reasons, the lifecycle.

mod api;
mod bounds;

use std::fmt::Write as _;

use crate::api::reasons::{HypervisorReason, SessionReason, TaskReason, WorkerReason};
use crate::domain::lifecycle::{State, TRANSITIONS, Transition, words};

const REASONS: &str = "\
# Reasons

Each condition gives a reason, one word that scripts can rely on, and a message for people. These are all there are.
Later versions may add some.

This file is written by `make docs`.
";

const LIFECYCLE: &str = "\
# The life of a worker

`status.phase` of a Worker says in one word where it is in its life.

* **Configured**: declared, without a VM.
* **Testing**: its VM is made, changed, powered on or tested.
* **Working**: tasks run on it.
* **Idle**: its VM is powered on, without a task.
* **ShutDown**: its VM is powered off, and ready for work if the condition `Ready` says so.

While a Worker is deleted, and while its hypervisor does not answer, the phase stays as it was. A step that is refused or
has to wait keeps the phase, too: the conditions say why, with one of these [reasons](reasons.md).

This file is written by `make docs`.
";

const NOTES: &str = "
* A test is wanted when the annotation `stevedore.dev/test-requested-at` has a new value, and under `test.policy: OnChange`
  after each change. Under that policy a test that failed is repeated, the less often the more tests failed in a row.
* The configuration is set, and the disk grown, only where the VM differs from the declaration.
* For a VM that is made from an image by URL, its host downloads the image first, unless it is there already. The VM is then
  made with its whole configuration at once. A download takes no launch permit, and one under way is left to itself
  when the Worker is edited or deleted.
* A VM is shut down through its guest, and its power is cut if it still runs after `shutdown.gracePeriod`.
* A test that is asked for while somebody has powered the VM on runs there and then, if the VM is as declared; it is
  shut down after the grace period.
* An edit under a running test ends it without a result. Under `OnChange` a new one begins at once.
* A VM that vanished is not made again by itself, unless a test is wanted.
* A deletion waits when the hour's budget is used up, while the VM is protected or locked, and while its marks differ.
";

/// The files: name and content.
pub fn files() -> [(&'static str, String); 3] {
    [("api.md", api::reference()), ("reasons.md", reasons()), ("lifecycle.md", lifecycle())]
}

// Writing into a String does not fail.
fn reasons() -> String {
    let mut text = REASONS.to_owned();
    table(&mut text, "Worker", WorkerReason::explained());
    table(&mut text, "Hypervisor", HypervisorReason::explained());
    table(&mut text, "WorkerSession", SessionReason::explained());
    table(&mut text, "WorkerTask", TaskReason::explained());
    text
}

fn table(text: &mut String, kind: &str, rows: impl Iterator<Item = (&'static str, &'static str)>) {
    let _ = write!(text, "\n## Of a {kind}\n\n| Reason | What it means |\n|---|---|\n");
    for (reason, meaning) in rows {
        let _ = writeln!(text, "| `{reason}` | {meaning} |");
    }
}

fn lifecycle() -> String {
    let mut text = LIFECYCLE.to_owned();
    text.push_str("\n```mermaid\nstateDiagram-v2\n");
    for row in TRANSITIONS {
        let (from, to) = (node(row.state), node(row.next));
        let _ = writeln!(text, "    {from} --> {to}: {}", row.event.name());
    }
    text.push_str("```\n\n| Phase | What happens | Then | What is done on the hypervisor |\n|---|---|---|---|\n");
    for row in TRANSITIONS {
        let (from, to) = (row.state.name(), row.next.name());
        let _ = writeln!(text, "| {from} | {} | {to} | {} |", row.event.name(), done(row));
    }
    text.push_str(NOTES);
    text
}

/// The diagram has one sign for the beginning and the end.
fn node(state: State) -> &'static str {
    match state {
        State::New | State::Gone => "[*]",
        State::In(_) => state.name(),
    }
}

fn done(row: &Transition) -> String {
    if row.effects.is_empty() {
        return "nothing".to_owned();
    }
    row.effects.iter().map(|effect| words(*effect)).collect::<Vec<_>>().join(", ")
}

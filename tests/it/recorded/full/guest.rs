//! The guest of the recordings: it knows the programs that were run in it, and starts none.

use std::time::Duration;

use async_trait::async_trait;
use stevedore::simulator::guest_exec::{EchoGuest, ExecCall, ExecEnd, ExecOutcome, GuestExec};

/// Plays every guest.
#[derive(Debug)]
pub(super) struct RecordedGuest;

/// How long a program runs: longer than it takes to ask again at once (recorded 261).
const MOMENT: Duration = Duration::from_millis(100);

#[async_trait]
impl GuestExec for RecordedGuest {
    async fn exec(&self, call: ExecCall) -> ExecOutcome {
        let script = match call.argv.as_slice() {
            [shell, flag, script] if shell == "/bin/sh" && flag == "-c" => script.clone(),
            _ => String::new(),
        };
        let ended = |end, stdout: Vec<u8>| ExecOutcome { end, ..ExecOutcome::exited(0, stdout) };
        let outcome = match script.as_str() {
            "echo out; echo err >&2; exit 3" => {
                ExecOutcome { stderr: b"err\n".to_vec(), ..ended(ExecEnd::Exited(3), b"out\n".to_vec()) }
            }
            "kill -9 $$" => ended(ExecEnd::Signalled(9), Vec::new()),
            "head -c 100 /dev/urandom" => ended(ExecEnd::Exited(0), (100..200).collect()),
            _ => EchoGuest.exec(call).await,
        };
        ExecOutcome { took: outcome.took.max(MOMENT), ..outcome }
    }
}

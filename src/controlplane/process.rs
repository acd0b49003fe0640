//! One process: started with its output in a file, ended when dropped.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Error, Watchdog};

/// How often the end of a process is looked for.
const POLL: Duration = Duration::from_millis(20);

/// A process of ours. It is a plain one, not tokio's: those belong to the runtime that started them.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Process {
    /// Starts a program, with both outputs appended to the file `log`.
    pub(super) fn start(command: &mut Command, log: PathBuf, watchdog: &Arc<Watchdog>) -> Result<Self, Error> {
        let program = Path::new(command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(&log).map_err(Error::file("create", &log))?;
        let both = file.try_clone().map_err(Error::file("create", &log))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(both)
            // Ctrl-C in the terminal is for us to act on, in an order of our own.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn { program: name.clone(), source })?;
        watchdog.guard(child.id());
        Ok(Self { name, child, log, watchdog: Arc::clone(watchdog) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; none while it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() {
            self.watchdog.forget(self.child.id());
        }
        status
    }

    /// An error if it has ended.
    pub(super) fn expect_running(&mut self) -> Result<(), Error> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(Error::Ended { name: self.name.clone(), status, log: self.log_end() }),
        }
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end (SIGTERM). Nothing happens if it has ended.
    pub(super) fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Stops it where it is (SIGSTOP). Nothing happens if it has ended.
    pub(super) fn suspend(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on where it was stopped (SIGCONT). Nothing happens if it has ended.
    pub(super) fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        // Only a process that was not waited for yet still owns its number.
        if self.ended().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Ends it at once (SIGKILL) and waits for its end.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.watchdog.forget(self.child.id());
    }

    /// The last lines that it wrote.
    pub(super) fn log_end(&self) -> String {
        const LINES: usize = 30;
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `--name=value`, for values that are paths.
pub(super) fn flag(name: &str, value: impl AsRef<Path>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value.as_ref());
    flag
}

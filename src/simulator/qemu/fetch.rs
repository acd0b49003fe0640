//! What simulated nodes really download: with wget, as real nodes do.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Qemu;
use super::image::examine;
use super::tools::{Tools, find};
use crate::simulator::fetch::{Content, Failed, Fetch, Fetching, Progress};
use crate::watchdog::Watchdog;

/// How often a task looks whether its download has ended.
const LOOK: Duration = Duration::from_millis(200);
/// What wget exits with for failures that have no code of their own.
const GENERIC: u8 = 1;

impl Fetch for Qemu {
    fn begin(&self, url: &str) -> Box<dyn Fetching> {
        let (file, watchdog) = (self.download_file(), &self.0.watchdog);
        let started = Wget::start(url, &file, watchdog).map(|wget| (Arc::new(wget), Incoming::at(file)));
        Box::new(match started {
            Ok((wget, incoming)) => UnderWay::follow(wget, incoming, self.0.tools.clone(), Arc::downgrade(watchdog)),
            Err(failed) => UnderWay { end: mpsc::channel().1, failed: Some(failed), wget: None, watchdog: Weak::new() },
        })
    }
}

/// A download of a task. Dropping it ends it and removes what came, unless that was handed over.
#[derive(Debug)]
struct UnderWay {
    end: Receiver<Result<Incoming, Failed>>,
    /// Why it never began.
    failed: Option<Failed>,
    wget: Option<Arc<Wget>>,
    // Not held: the folder of all machines does not stay for the sake of a download.
    watchdog: Weak<Watchdog>,
}

impl UnderWay {
    fn follow(wget: Arc<Wget>, incoming: Incoming, tools: Tools, watchdog: Weak<Watchdog>) -> Self {
        let (ended, end) = mpsc::channel();
        let followed = wget.clone();
        // A thread that cannot be started has dropped its end of the channel, which is told as a failure.
        let _ = std::thread::Builder::new().name("guest-download".to_owned()).spawn(move || {
            let came = followed.wait().and_then(|()| incoming.examined(&tools));
            // Nobody waits for it any more when the task was stopped; then it goes with what was to be sent.
            let _ = ended.send(came);
        });
        Self { end, failed: None, wget: Some(wget), watchdog }
    }
}

impl Fetching for UnderWay {
    fn go_on(&mut self) -> Progress {
        if let Some(failed) = self.failed.take() {
            return Progress::Ended(Err(failed));
        }
        match self.end.try_recv() {
            Ok(end) => Progress::Ended(end.and_then(Incoming::hand_over)),
            Err(TryRecvError::Empty) => Progress::Wait(LOOK),
            Err(TryRecvError::Disconnected) => Progress::Ended(Err(lost())),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(wget) = &self.wget {
            wget.end();
            if let Some(watchdog) = self.watchdog.upgrade() {
                watchdog.forget(wget.id());
            }
        }
    }
}

/// A file that is being downloaded. Dropping it removes the file.
#[derive(Debug)]
struct Incoming {
    file: PathBuf,
    content: Option<Content>,
}

impl Incoming {
    fn at(file: PathBuf) -> Self {
        Self { file, content: None }
    }

    fn examined(mut self, tools: &Tools) -> Result<Self, Failed> {
        self.content = Some(examine(tools, &self.file)?);
        Ok(self)
    }

    /// Leaves the file to whoever knows of it from now on.
    fn hand_over(mut self) -> Result<Content, Failed> {
        let content = self.content.take().ok_or_else(lost)?;
        self.file = PathBuf::new();
        Ok(content)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // There may be none yet, and there is none at the empty path.
        let _ = std::fs::remove_file(&self.file);
    }
}

fn lost() -> Failed {
    broken("the download was lost")
}

pub(super) fn broken(line: impl Into<String>) -> Failed {
    Failed { line: line.into(), code: GENERIC }
}

/// A process of wget. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Wget {
    child: Mutex<Child>,
    said: Mutex<Option<ChildStderr>>,
    id: u32,
}

impl Wget {
    /// Begins to download a URL into a file.
    pub(super) fn start(url: &str, file: &Path, watchdog: &Watchdog) -> Result<Self, Failed> {
        let wget = find("wget").ok_or_else(|| broken("wget is missing: apt-get install wget"))?;
        let mut command = Command::new(wget);
        command.arg("--progress=dot:giga").arg("-O").arg(file).arg("--").arg(url);
        // Ctrl-C in the terminal is for us to act on.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| broken(format!("wget cannot be started: {error}")))?;
        watchdog.guard(child.id());
        let (id, said) = (child.id(), Mutex::new(child.stderr.take()));
        Ok(Self { child: Mutex::new(child), said, id })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Waits for its end.
    pub(super) fn wait(&self) -> Result<(), Failed> {
        let mut said = Vec::new();
        // What it says ends with it. Until then it can be ended from elsewhere.
        if let Some(mut stderr) = self.said.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stderr.read_to_end(&mut said);
        }
        let status = self.child().wait().map_err(|error| broken(format!("wget cannot be waited for: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("wget failed").to_owned();
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(GENERIC);
        Err(Failed { line, code })
    }

    /// Ends it at once, if it has not ended.
    fn end(&self) {
        let mut child = self.child();
        // Neither does anything to a process that was waited for.
        let _ = child.kill();
        let _ = child.wait();
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wget {
    fn drop(&mut self) {
        self.end();
    }
}

//! Nothing outlives us: a shell that ends our processes and removes our folder when we are gone, however we went.
//!
//! Destructors do not run when a process ends by a signal, nor for a static. A parent-death signal is bound to the
//! *thread* that started a child, and test runtimes end their threads. So a shell of its own process group reads what to
//! guard from a pipe. The pipe closes when its other end does: by a drop, or because our process no longer is.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Lines are `guard PID` and `forget PID`; at the end of the input it ends what is guarded and removes the folder `$1`.
const SCRIPT: &str = r#"
pids=
while read -r verb pid; do
  others=
  for other in $pids; do
    [ "$other" = "$pid" ] || others="$others $other"
  done
  case $verb in
    guard) pids="$others $pid" ;;
    forget) pids=$others ;;
  esac
done
for pid in $pids; do kill -KILL "$pid"; done
for attempt in 1 2 3 4 5; do
  rm -rf -- "$1" && exit
  sleep 0.2
done
"#;

/// Dropping it ends the guarded processes and removes the folder, and waits until that is done.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    // Taken on drop: the pipe has to be closed before the shell's end is waited for.
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts to guard a folder.
    pub(crate) fn over(folder: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "stevedore-watchdog"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal goes to our group; the watchdog has to survive it.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Guards a process too.
    pub(crate) fn guard(&self, pid: u32) {
        self.tell("guard", pid);
    }

    /// Leaves a process alone, because it has ended and its number may be given to another.
    pub(crate) fn forget(&self, pid: u32) {
        self.tell("forget", pid);
    }

    fn tell(&self, verb: &str, pid: u32) {
        if let Some(mut pipe) = self.pipe.as_ref() {
            // If the shell is gone nobody guards; our own destructors still do.
            let _ = writeln!(pipe, "{verb} {pid}");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    #[test]
    fn the_guarded_end_with_the_folder_and_the_forgotten_stay() {
        let folder = std::env::temp_dir().join(format!("stevedore-watchdog-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "content").unwrap();
        let (mut guarded, mut forgotten, mut last) = (sleeper(), sleeper(), sleeper());
        let watchdog = Watchdog::over(&folder).unwrap();
        for child in [&guarded, &forgotten, &last] {
            watchdog.guard(child.id());
        }
        watchdog.forget(forgotten.id());
        drop(watchdog);
        assert!(!folder.exists());
        assert!(!guarded.wait().unwrap().success());
        assert!(!last.wait().unwrap().success());
        assert!(forgotten.try_wait().unwrap().is_none());
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}

//! Nothing outlives us: a shell that ends our processes and removes our folder when we are gone, however we went.
//!
//! Destructors do not run when a process ends by a signal, nor for a static. A parent-death signal is bound to the
//! *thread* that started a child, and test runtimes end their threads. So a shell of its own process group reads what to
//! guard from a pipe. The pipe closes when its other end does: by a drop, or because our process no longer is.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Lines are `guard PID:START` and `forget PID:`; at the end of the input it ends what is guarded and removes the folder
/// `$1`. A number by then given to another process is no longer one with that start: it is left alone.
const SCRIPT: &str = r#"
guarded=
while read -r verb process; do
  others=
  for other in $guarded; do
    [ "${other%%:*}" = "${process%%:*}" ] || others="$others $other"
  done
  case $verb in
    guard) guarded="$others $process" ;;
    forget) guarded=$others ;;
  esac
done
started() {
  read -r stat < "/proc/$1/stat" || return
  set -- ${stat##*) }
  echo "${20}"
}
for process in $guarded; do
  [ "$(started "${process%%:*}")" = "${process#*:}" ] && kill -KILL "${process%%:*}"
done
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

    /// Guards a process too: a child that nobody has waited for yet, so that its number is still its own.
    pub(crate) fn guard(&self, pid: u32) {
        if let Some(start) = start(pid) {
            self.tell("guard", pid, &start);
        }
    }

    /// Leaves a process alone, because it has ended.
    pub(crate) fn forget(&self, pid: u32) {
        self.tell("forget", pid, "");
    }

    fn tell(&self, verb: &str, pid: u32, start: &str) {
        if let Some(mut pipe) = self.pipe.as_ref() {
            // If the shell is gone nobody guards; our own destructors still do.
            let _ = writeln!(pipe, "{verb} {pid}:{start}");
        }
    }
}

/// When a process started, in clock ticks since boot: field 22 of proc(5)'s `stat`, counted from behind the name, which
/// may contain anything.
fn start(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19).map(str::to_owned)
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

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("stevedore-watchdog-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_left_alone() {
        let (mut other, watchdog) = (sleeper(), Watchdog::over(&folder()).unwrap());
        let own: u64 = start(other.id()).unwrap().parse().unwrap();
        // What had the number before had started before, and nobody came to say that it ended.
        watchdog.tell("guard", other.id(), &(own - 1).to_string());
        drop(watchdog);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn the_guarded_end_with_the_folder_and_the_forgotten_stay() {
        let folder = folder();
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

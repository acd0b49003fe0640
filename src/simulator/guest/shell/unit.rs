//! A transient unit of a simulated guest, from its start to its end.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::order::Order;
use super::signals::{self, Group};

/// A unit that is to be run.
#[derive(Debug)]
pub(super) struct Unit {
    /// The guest's folder.
    pub(super) root: PathBuf,
    /// The unit's own, which others see as long as it is there.
    pub(super) folder: PathBuf,
    pub(super) order: Order,
    /// Somebody wants it stopped.
    pub(super) stop: Arc<Notify>,
}

/// How a unit ended, in systemd's words.
struct Ending {
    word: &'static str,
    /// Of the command, if it was started.
    status: Option<ExitStatus>,
}

impl Unit {
    /// Says what the unit does, for those who ask.
    pub(super) fn tell(&self, state: &str) -> io::Result<()> {
        let draft = self.folder.join("state.new");
        fs::write(&draft, format!("{state}\n"))?;
        fs::rename(draft, self.folder.join("state"))
    }

    /// Runs it to its end, after which there is no such unit any more.
    pub(super) async fn run(self) {
        let ending = self.command().await.unwrap_or(Ending { word: "resources", status: None });
        // Whoever waits for the end sees none if this fails, as in a guest whose disk is full.
        let _ = self.end(&ending).await;
        let _ = fs::remove_dir_all(&self.folder);
    }

    async fn command(&self) -> io::Result<Ending> {
        for words in &self.order.before {
            if !self.program(words, &[])?.status().await?.success() {
                return Ok(Ending { word: "exit-code", status: None });
            }
        }
        let mut child = self.program(&self.order.command, &[])?.process_group(0).spawn()?;
        let group = Group::of(child.id());
        self.tell("active")?;
        for words in &self.order.begun {
            self.program(words, &[])?.status().await?;
        }
        let limit = sleep(self.order.limit.unwrap_or(Duration::MAX));
        // What is left of the group goes with it.
        tokio::select! {
            status = child.wait() => status.map(|status| Ending { word: natural(status), status: Some(status) }),
            () = limit => self.stopped(&mut child, &group, "timeout").await,
            () = self.stop.notified() => self.stopped(&mut child, &group, "success").await,
        }
    }

    /// Asks the command to end, then makes it.
    async fn stopped(&self, child: &mut Child, group: &Group, word: &'static str) -> io::Result<Ending> {
        self.tell("deactivating")?;
        group.signal(Signal::TERM);
        if let Ok(status) = timeout(self.order.grace, child.wait()).await {
            return Ok(Ending { word, status: Some(status?) });
        }
        group.signal(Signal::KILL);
        Ok(Ending { word: "timeout", status: Some(child.wait().await?) })
    }

    /// What comes after the command.
    async fn end(&self, ending: &Ending) -> io::Result<()> {
        self.tell("deactivating")?;
        let mut variables = vec![("SERVICE_RESULT", ending.word.to_owned())];
        if let Some(status) = ending.status {
            let (code, status) = match status.signal() {
                Some(signal) => ("killed", signals::name(signal)),
                None => ("exited", status.code().unwrap_or(0).to_string()),
            };
            variables.extend([("EXIT_CODE", code.to_owned()), ("EXIT_STATUS", status)]);
        }
        for words in &self.order.after {
            self.program(words, &variables)?.status().await?;
        }
        Ok(())
    }

    /// A program of the guest with this unit's input, output and environment.
    fn program(&self, words: &[String], variables: &[(&str, String)]) -> io::Result<Command> {
        let (program, args) = words.split_first().ok_or_else(|| io::Error::other("a unit without a program"))?;
        let mut command = Command::new(self.root.join("bin").join(program.rsplit('/').next().unwrap_or(program)));
        command.args(args).env_clear().current_dir(&self.root).kill_on_drop(true);
        command.env("STEVEDORE_ROOT", &self.root).env("PATH", self.root.join("bin"));
        command.env("USER", &self.order.user).env("LOGNAME", &self.order.user);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(match &self.order.input {
            Some(path) => fs::File::open(path)?.into(),
            None => Stdio::null(),
        });
        if let Some(path) = &self.order.output {
            let output = fs::OpenOptions::new().create(true).append(true).open(path)?;
            command.stderr(output.try_clone()?).stdout(output);
        }
        Ok(command)
    }
}

/// The word for an end that nobody asked for.
fn natural(status: ExitStatus) -> &'static str {
    match (status.code(), status.signal()) {
        (Some(0), _) => "success",
        (Some(_), _) => "exit-code",
        _ => "signal",
    }
}

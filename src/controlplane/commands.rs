//! kubectl and helm, pointed at a control plane and at nothing else of the machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::{ControlPlane, Error};

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The command and its arguments.
    pub command: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that went well.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] with all that it wrote, if its exit code is not 0.
    pub fn success(self) -> Result<String, Error> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        let status = self.code.map_or("ended by a signal".to_owned(), |code| format!("exit code {code}"));
        Err(Error::Command { command: self.command, status, output: format!("{}{}", self.stderr, self.stdout) })
    }
}

impl ControlPlane {
    /// Runs kubectl as the administrator; `--kubeconfig` among the arguments makes it another user.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or is not done after five minutes. Its own failure is in the [`Output`].
    pub async fn kubectl(&self, args: &[impl AsRef<OsStr>]) -> Result<Output, Error> {
        self.run(&self.binaries.kubectl, args, "").await
    }

    /// The same, with text on its standard input, as for `apply -f -`.
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl`].
    pub async fn kubectl_with_input(&self, args: &[impl AsRef<OsStr>], input: &str) -> Result<Output, Error> {
        self.run(&self.binaries.kubectl, args, input).await
    }

    /// Runs helm as the administrator.
    ///
    /// # Errors
    ///
    /// As [`Self::kubectl`].
    pub async fn helm(&self, args: &[impl AsRef<OsStr>]) -> Result<Output, Error> {
        self.run(&self.binaries.helm, args, "").await
    }

    async fn run(&self, program: &Path, args: &[impl AsRef<OsStr>], input: &str) -> Result<Output, Error> {
        let mut command = Command::new(program);
        command.args(args).env("KUBECONFIG", self.kubeconfig_path());
        // Caches and preferences of the person who runs this stay out of it.
        command.env("KUBERC", "off").env("KUBECACHEDIR", self.folder.join("kubectl"));
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.folder.join("helm"));
        }
        run(&mut command, input).await
    }
}

/// Runs a command to its end.
async fn run(command: &mut Command, input: &str) -> Result<Output, Error> {
    let line = shown(command);
    let failed = |source| Error::Spawn { program: line.clone(), source };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut pipe = child.stdin.take();
    let feed = async {
        if let Some(mut pipe) = pipe.take() {
            // A command that does not read its input to the end says itself why.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let Ok(output) = timeout(DEADLINE, both).await else {
        let status = format!("not done after {} s", DEADLINE.as_secs());
        return Err(Error::Command { command: line, status, output: String::new() });
    };
    let output = output.map_err(failed)?;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        command: line,
    })
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

//! The operator as a process: what the kubelet would run, without one.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use super::deployment::{Mount, ProcessSpec};
use super::process::Process;
use super::{ControlPlane, Error, Watchdog, access, files};

/// A program that runs with the arguments, the environment and the rights that a Deployment gives it.
///
/// It differs from a Pod in three things. The address, the authority and a token of its ServiceAccount (good
/// for an hour) come in a kubeconfig file that `KUBECONFIG` names, because the in-cluster way is bound to files in
/// `/var/run/secrets`. Mounted folders are elsewhere: where a mount's path begins an argument or a variable, or the
/// value in `--name=value`, it is replaced. And `PATH` is ours.
///
/// Dropping it ends the process; in a test that fails, the end of its log is printed.
#[derive(Debug)]
pub struct OperatorProcess {
    process: Process,
    log: PathBuf,
    credential: String,
}

impl OperatorProcess {
    /// Starts a program. It is not ready then: ask what it serves.
    ///
    /// # Errors
    ///
    /// If it has no ServiceAccount, or cannot be started.
    pub async fn start(plane: &ControlPlane, program: &Path, spec: &ProcessSpec) -> Result<Self, Error> {
        let token = plane.service_account_token(&spec.namespace, &spec.service_account).await?;
        let access = plane.access_with_token(&token, Some(&spec.namespace))?;
        let folder = files::private_folder("operator")?;
        let watchdog = Arc::new(Watchdog::over(&folder).map_err(Error::watchdog)?);
        let mounted = spec.mounts.iter().enumerate().map(|(index, mount)| write(&folder, index, mount));
        let mounted: Vec<_> = mounted.collect::<Result<_, _>>()?;
        let moved = |text: &String| mounted.iter().fold(text.clone(), |text, (from, to)| relocate(&text, from, to));

        let mut command = Command::new(program);
        command
            .args(spec.args.iter().map(moved))
            .env_clear()
            .envs(spec.env.iter().map(|(name, value)| (name, moved(value))))
            .env("KUBECONFIG", access.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(&folder);
        let log = folder.join("operator.log");
        let process = Process::start(&mut command, log.clone(), &watchdog)?;
        Ok(Self { process, log, credential: access::credential_id(&token) })
    }

    /// What the audit log knows its token by, which no other process has: [`AuditEvent::credential`](super::AuditEvent::credential).
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, as a node that fails does (SIGKILL), and waits for its end.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Asks it to end, as the kubelet does first (SIGTERM). Then [`Self::wait`].
    pub fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Stops it where it is, as a machine does that is suspended or starved (SIGSTOP).
    pub fn suspend(&mut self) {
        self.process.suspend();
    }

    /// Lets it go on where it was stopped (SIGCONT).
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        self.process.wait().await
    }

    /// How it ended; none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// The file with all that it wrote to standard output and standard error. It goes when this is dropped.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that it wrote to standard output and standard error so far.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn log(&self) -> Result<String, Error> {
        let bytes = std::fs::read(&self.log).map_err(Error::file("read", &self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines that it wrote, for people; empty if they cannot be read.
    pub fn log_end(&self) -> String {
        self.process.log_end()
    }
}

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The one trace of what the operator did in a test that failed: the log goes with the folder.
            eprintln!("the end of the operator's log:\n{}", self.process.log_end());
        }
    }
}

/// Writes the files of a mount, and tells where it is meant to be and where it is.
fn write(folder: &Path, index: usize, mount: &Mount) -> Result<(String, String), Error> {
    let root = folder.join(format!("mount-{index}"));
    std::fs::create_dir(&root).map_err(Error::file("create", &root))?;
    for (name, content) in &mount.files {
        let path = root.join(name);
        let parent = path.parent().unwrap_or(&root);
        std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        files::write(&root, name, content)?;
    }
    Ok((mount.path.trim_end_matches('/').to_owned(), root.display().to_string()))
}

/// Replaces the folder `from` by the folder `to` at the beginning of a text, or of the value in `name=value`.
fn relocate(text: &str, from: &str, to: &str) -> String {
    let (name, path) = match text.split_once('=') {
        Some((name, _)) if !text.starts_with('/') => text.split_at(name.len() + 1),
        _ => ("", text),
    };
    match path.strip_prefix(from) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{name}{to}{rest}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_mount_are_moved_and_others_are_not() {
        let moved = |text| relocate(text, "/etc/stevedore", "/tmp/m");
        assert_eq!(moved("/etc/stevedore"), "/tmp/m");
        assert_eq!(moved("--ca=/etc/stevedore/ca.crt"), "--ca=/tmp/m/ca.crt");
        assert_eq!(moved("/etc/stevedore/a=b"), "/tmp/m/a=b");
        assert_eq!(moved("--ca=/etc/stevedore2/ca.crt"), "--ca=/etc/stevedore2/ca.crt");
        assert_eq!(moved("--words=in /etc/stevedore"), "--words=in /etc/stevedore");
    }
}

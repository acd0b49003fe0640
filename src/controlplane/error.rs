//! What can go wrong with a control plane, said so that a person knows what to do.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a control plane, or something that was asked of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Programs are not there.
    #[error(
        "missing {programs} (looked in {folders}): run `make control-plane`, or set KUBEBUILDER_ASSETS to a folder that has them"
    )]
    Missing {
        /// The names of the programs, separated by commas.
        programs: String,
        /// The folders that were searched, separated by commas.
        folders: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No free port on 127.0.0.1.
    #[error("no free TCP port on 127.0.0.1: {0}")]
    Port(std::io::Error),
    /// A certificate or key could not be made.
    #[error("cannot make the certificates of the API server: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program, as started.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process ended that should have gone on.
    #[error("{name} ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// The name of the program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        log: String,
    },
    /// A process runs and does not become ready.
    #[error("{what} is not there after {} s (last seen: {last}); the end of the log of {name}:\n{log}", waited.as_secs())]
    NotReady {
        /// What was waited for.
        what: &'static str,
        /// The last answer or failure.
        last: String,
        /// How long was waited.
        waited: Duration,
        /// The name of the program that should have brought it about.
        name: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A command ended with a failure, or was not done in time.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// The command and its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to standard error and standard output.
        output: String,
    },
    /// A kubeconfig could not be used.
    #[error("cannot make a client of the kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What the client said.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A request to the API server failed.
    #[error("{what}: {source}")]
    Api {
        /// What was asked.
        what: String,
        /// What the client or the API server said.
        source: Box<kube::Error>,
    },
    /// The audit log was asked of a control plane that has none.
    #[error("this control plane has no audit log: start it with `Options {{ audit: true, .. }}`")]
    NoAudit,
    /// A line of the audit log is not what is expected.
    #[error("line {line} of the audit log cannot be read: {source}")]
    Audit {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A Deployment says something that a plain process cannot do.
    #[error("Deployment {namespace}/{name}: {reason}")]
    Deployment {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What stands in the way.
        reason: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on the start of a watchdog.
    pub(super) fn watchdog(source: std::io::Error) -> Self {
        Self::Spawn { program: "/bin/sh".to_owned(), source }
    }

    /// For `map_err` on requests to the API server.
    pub(super) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }
}

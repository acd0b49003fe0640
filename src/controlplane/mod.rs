//! A real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) run as plain processes, for tests and the demo.
//!
//! There is no kubelet and no scheduler: Pods are accepted and never run. What a Deployment says can be run as a
//! plain process, an [`OperatorProcess`]; [`Installed`] is an operator that its chart has installed. Namespaces can be deleted, owner references are obeyed, service accounts
//! have tokens, and RBAC is always on.
//!
//! The programs are found by [`Binaries::find`]; `make control-plane` builds them. Everything a control plane
//! writes is in one temporary folder. Processes and folder are gone when the [`ControlPlane`] is dropped, and also
//! when the process that started it ends in any other way, even by SIGKILL (see `watchdog.rs`).
//!
//! A [`kube::Client`] belongs to the tokio runtime that it was made in. A control plane does not: one can serve
//! many tests, each of which makes its own client with [`ControlPlane::client`] and works in a namespace of its own.

mod access;
mod apiserver;
mod audit;
mod binaries;
mod certificates;
mod commands;
mod controllers;
pub mod deployment;
mod error;
mod etcd;
mod files;
mod installed;
mod kubeconfig;
mod operator;
mod ports;
mod process;
mod ready;
mod start;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use audit::AuditEvent;
pub use binaries::Binaries;
pub use commands::Output;
pub use error::Error;
pub use installed::{Installed, Replica};
pub use operator::OperatorProcess;

use crate::watchdog::Watchdog;
use kubeconfig::Access;
use process::Process;

/// What a control plane is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Kubernetes minor version that the API server and the controllers behave like, such as `1.34`; none: their own.
    pub emulated_version: Option<String>,
    /// Run kube-controller-manager: namespaces can then be deleted, owner references are obeyed, each namespace gets
    /// its `default` ServiceAccount and the root certificates, cluster roles aggregate. Without it a deleted namespace stays
    /// `Terminating` for ever. It takes a few seconds and 90 MB more. On by default.
    pub controllers: bool,
    /// Write every request to an audit log, read with [`ControlPlane::audit_events`]. Off by default.
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { emulated_version: None, controllers: true, audit: false }
    }
}

/// A control plane that runs. Dropping it ends its processes and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    processes: Vec<Process>,
    // The processes hold it too: the last of them to go lets it remove the folder.
    _watchdog: Arc<Watchdog>,
    folder: PathBuf,
    binaries: Binaries,
    admin: Access,
    server: String,
    ca: PathBuf,
    audit_log: Option<PathBuf>,
}

impl ControlPlane {
    /// Starts a control plane and waits until it serves: the API server is ready, the namespace `default` exists, and with
    /// controllers its `default` ServiceAccount too.
    ///
    /// # Errors
    ///
    /// A missing program ([`Error::Missing`] names the command that builds it), a process that ends early
    /// or is not ready within three minutes (the end of its log is in the message).
    pub async fn start(options: Options) -> Result<Self, Error> {
        start::start(options, Binaries::find()?).await
    }

    /// Ends the processes, waits for their end, and removes the folder. The same as dropping, off the runtime's threads.
    pub async fn stop(self) {
        // A panic in a drop has been reported by the panic hook already; there is nothing left to stop.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// The address of the API server, such as `https://127.0.0.1:34567`.
    pub fn server_url(&self) -> &str {
        &self.server
    }

    /// The file with the certificate (PEM) of the authority that signed the API server's own.
    pub fn ca_path(&self) -> &Path {
        &self.ca
    }

    /// The kubeconfig file of a user in the group `system:masters`, whom RBAC does not bind.
    pub fn kubeconfig_path(&self) -> &Path {
        self.admin.path()
    }

    /// The folder with everything that this control plane writes: logs (`*.log`), certificates, data. It goes when the control plane does.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The programs that this control plane was made of.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The processes by name and process id, in the order in which they were started.
    pub fn process_ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.processes.iter().map(|process| (process.name(), process.id()))
    }
}

//! The API server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::certificates::Certificates;
use super::process::{Process, flag};
use super::{Error, Options, Watchdog, audit, etcd, files};

/// Where things are that the API server is told of.
pub(super) struct Setup<'a> {
    pub(super) binary: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) certificates: &'a Certificates,
    pub(super) etcd_port: u16,
    pub(super) port: u16,
    /// The token of the administrator.
    pub(super) token: &'a str,
}

/// Starts the API server, and gives the file of its audit log if it writes one.
pub(super) fn start(
    setup: &Setup<'_>,
    options: &Options,
    watchdog: &Arc<Watchdog>,
) -> Result<(Process, Option<PathBuf>), Error> {
    let mut command = Command::new(setup.binary);
    serving(&mut command, setup)?;
    tokens(&mut command, setup.certificates);
    if let Some(version) = &options.emulated_version {
        command.arg(format!("--emulated-version={version}"));
    }
    if !options.controllers {
        // It refuses every Pod of a namespace that has no ServiceAccount, and without controllers none gets one.
        command.arg("--disable-admission-plugins=ServiceAccount");
    }
    let audit_log = if options.audit { Some(audit::configure(&mut command, setup.folder)?) } else { None };
    let process = Process::start(&mut command, setup.folder.join("kube-apiserver.log"), watchdog)?;
    Ok((process, audit_log))
}

fn serving(command: &mut Command, setup: &Setup<'_>) -> Result<(), Error> {
    let users = format!("{},admin,admin,\"system:masters\"\n", setup.token);
    command
        .arg(format!("--etcd-servers={}", etcd::url(setup.etcd_port)))
        .arg(format!("--secure-port={}", setup.port))
        .args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true"])
        // There is no node on which the Service `kubernetes` could lead anywhere.
        .arg("--endpoint-reconciler-type=none")
        .args(["--authorization-mode=RBAC", "--profiling=false"])
        .arg(flag("token-auth-file", files::write(setup.folder, "tokens.csv", users)?))
        .arg(flag("cert-dir", setup.folder))
        .arg(flag("tls-cert-file", &setup.certificates.server))
        .arg(flag("tls-private-key-file", &setup.certificates.server_key));
    Ok(())
}

fn tokens(command: &mut Command, certificates: &Certificates) {
    command
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        .arg(flag("service-account-key-file", &certificates.token_public_key))
        .arg(flag("service-account-signing-key-file", &certificates.token_key));
}

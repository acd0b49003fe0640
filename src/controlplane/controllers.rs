//! The controllers of Kubernetes that make it behave as people know it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::certificates::Certificates;
use super::process::{Process, flag};
use super::{Error, Options, Watchdog};

/// Those without which namespaces, owner references, service accounts and RBAC would not be what they are in a
/// cluster. None that makes Pods: there is nothing that could run them.
const CONTROLLERS: &str = "--controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller,\
                           clusterrole-aggregation-controller,root-ca-certificate-publisher-controller";

/// Starts kube-controller-manager as the user of the kubeconfig.
pub(super) fn start(
    binary: &Path,
    folder: &Path,
    certificates: &Certificates,
    kubeconfig: &Path,
    options: &Options,
    watchdog: &Arc<Watchdog>,
) -> Result<Process, Error> {
    let mut command = Command::new(binary);
    command
        .args([CONTROLLERS, "--leader-elect=false", "--use-service-account-credentials=false"])
        // It serves nothing: no port to collide with.
        .args(["--secure-port=0", "--profiling=false"])
        .arg(flag("kubeconfig", kubeconfig))
        .arg(flag("authentication-kubeconfig", kubeconfig))
        .arg(flag("authorization-kubeconfig", kubeconfig))
        .arg(flag("service-account-private-key-file", &certificates.token_key))
        .arg(flag("root-ca-file", &certificates.ca));
    if let Some(version) = &options.emulated_version {
        command.arg(format!("--emulated-version={version}"));
    }
    Process::start(&mut command, folder.join("kube-controller-manager.log"), watchdog)
}

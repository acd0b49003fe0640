//! The store.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::process::{Process, flag};
use super::{Error, Watchdog};

/// Starts etcd with an empty store in the folder. Nobody waits for it: the API server tries until it answers.
pub(super) fn start(binary: &Path, folder: &Path, ports: [u16; 2], watchdog: &Arc<Watchdog>) -> Result<Process, Error> {
    let [client, peer] = ports.map(url);
    let mut command = Command::new(binary);
    command
        .arg(flag("data-dir", folder.join("etcd")))
        .args([
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ])
        .args(["--log-level=warn", "--unsafe-no-fsync=true"]);
    Process::start(&mut command, folder.join("etcd.log"), watchdog)
}

/// Where etcd serves on a port.
pub(super) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

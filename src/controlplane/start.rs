//! Starting a control plane, piece by piece.

use std::path::PathBuf;
use std::sync::Arc;

use super::apiserver::{self, Setup};
use super::certificates::Certificates;
use super::kubeconfig::{Access, User};
use super::process::Process;
use super::{Binaries, ControlPlane, Error, Options, Watchdog, controllers, etcd, files, ports, ready};

/// How often a port may be lost to another process before that is an error.
const ATTEMPTS: usize = 4;

pub(super) async fn start(options: Options, binaries: Binaries) -> Result<ControlPlane, Error> {
    for _ in 1..ATTEMPTS {
        match attempt(&options, &binaries).await {
            Err(Error::Ended { log, .. }) if log.contains("address already in use") => {}
            result => return result,
        }
    }
    attempt(&options, &binaries).await
}

async fn attempt(options: &Options, binaries: &Binaries) -> Result<ControlPlane, Error> {
    let folder = files::private_folder("controlplane")?;
    let watchdog = Arc::new(Watchdog::over(&folder).map_err(Error::watchdog)?);
    let certificates = Certificates::make(&folder)?;
    let [etcd_port, peer_port, port] = ports::free()?;
    let token = uuid::Uuid::new_v4().simple().to_string();
    let server = format!("https://127.0.0.1:{port}");
    let user = User { server: &server, ca_pem: &certificates.ca_pem, token: &token, namespace: None };
    let admin = Access::write(&folder, "admin.kubeconfig", &user)?;

    let mut etcd = etcd::start(&binaries.etcd, &folder, [etcd_port, peer_port], &watchdog)?;
    let binary = &binaries.kube_apiserver;
    let setup = Setup { binary, folder: &folder, certificates: &certificates, etcd_port, port, token: &token };
    let (mut apiserver, audit_log) = apiserver::start(&setup, options, &watchdog)?;
    let client = admin.client().await?;
    // Without etcd the API server ends after a while; then it is etcd's end that tells why.
    ready::api_server(&client, &mut apiserver).await.map_err(|error| blame(&mut etcd, error))?;

    let mut processes = vec![etcd, apiserver];
    if options.controllers {
        let binary = &binaries.kube_controller_manager;
        let mut process = controllers::start(binary, &folder, &certificates, admin.path(), options, &watchdog)?;
        ready::controllers(&client, &mut process).await?;
        processes.push(process);
    }
    let ca: PathBuf = certificates.ca;
    Ok(ControlPlane {
        processes,
        _watchdog: watchdog,
        folder,
        binaries: binaries.clone(),
        admin,
        server,
        ca,
        audit_log,
    })
}

fn blame(etcd: &mut Process, error: Error) -> Error {
    etcd.expect_running().err().unwrap_or(error)
}

//! Ways in: kubeconfig files, and clients made of them.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use super::{Error, files};

/// What a kubeconfig says.
pub(super) struct User<'a> {
    pub(super) server: &'a str,
    /// The certificate of the server's authority.
    pub(super) ca_pem: &'a str,
    pub(super) token: &'a str,
    /// The namespace that is meant where none is named.
    pub(super) namespace: Option<&'a str>,
}

/// One user's way in: a kubeconfig file with the address, the authority and a token in it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    path: PathBuf,
}

impl Access {
    /// Writes the kubeconfig file.
    pub(super) fn write(folder: &Path, name: &str, user: &User<'_>) -> Result<Self, Error> {
        let User { server, ca_pem, token, namespace } = user;
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "stevedore",
                "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(ca_pem) },
            }],
            "users": [{ "name": "user", "user": { "token": token } }],
            "contexts": [{ "name": "stevedore", "context": { "cluster": "stevedore", "user": "user", "namespace": namespace } }],
            "current-context": "stevedore",
        });
        // JSON is YAML, and is read as such.
        Ok(Self { path: files::write(folder, name, format!("{content:#}\n"))? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A client that belongs to the current runtime and retries nothing by itself, so that tests see every answer.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let failed = |source| Error::Kubeconfig { path: self.path.clone(), source: Box::new(source) };
        let kubeconfig = Kubeconfig::read_from(&self.path).map_err(failed)?;
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?;
        config.default_retry = false;
        Client::try_from(config).map_err(Error::api("cannot make a client of the API server"))
    }
}

//! The way to the Kubernetes API, as kubectl takes it.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::time::Duration;

use super::PluginError;
use crate::runtime::client::{self, Deadlines};
use crate::runtime::fence::Permission;
use crate::runtime::metrics::Metrics;

/// How long one request may take: a list can be long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where to ask, as whom, and about which namespace.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Options of kubectl")]
pub(super) struct Access {
    /// The namespace; that of the kubeconfig's context if not given.
    #[arg(long, short, global = true, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// The kubeconfig; what KUBECONFIG names, or ~/.kube/config, if not given.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The cluster in the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,
    /// The user in the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// Asks as another user, if that is allowed.
    #[arg(long = "as", global = true, value_name = "USER")]
    as_user: Option<String>,
    /// Asks as a member of this group, if that is allowed; may be given several times.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "as_user")]
    as_groups: Vec<String>,
}

impl Access {
    /// A client, and the namespace that is meant.
    pub(super) async fn connect(&self) -> Result<(Client, String), PluginError> {
        let config = self.config().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let deadlines = Deadlines { request: DEADLINE, ..Deadlines::default() };
        let client = client::with_config(config, deadlines, &Metrics::new(), Permission::always())?;
        Ok((client, namespace))
    }

    async fn config(&self) -> Result<Config, PluginError> {
        let failed = |error| PluginError::Kubeconfig(Box::new(error));
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let mut config = match kubeconfig {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &self.options()).await.map_err(failed)?,
            // In a Pod there is none, and need not be.
            Err(error) => match Config::incluster().ok().filter(|_| self.kubeconfig.is_none()) {
                Some(config) => config,
                None => return Err(failed(error)),
            },
        };
        config.auth_info.impersonate = self.as_user.clone().or(config.auth_info.impersonate);
        if !self.as_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(self.as_groups.clone());
        }
        Ok(config)
    }

    fn options(&self) -> KubeConfigOptions {
        let Self { context, cluster, user, .. } = self.clone();
        KubeConfigOptions { context, cluster, user }
    }
}

//! Why the plugin cannot tell what was asked.

use kube::core::response::StatusSummary;
use thiserror::Error;

use crate::controller::hypervisor;
use crate::runtime::client::ClientError;

/// Why the plugin cannot tell what was asked.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}; see --kubeconfig and --context, or set KUBECONFIG")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no object of this name.
    #[error(
        "there is no {kind} {name} in the namespace {namespace}: `kubectl -n {namespace} get {plural}` lists those there are; \
         -n names another namespace, --context another cluster"
    )]
    Absent {
        /// The kind.
        kind: &'static str,
        /// The kind as kubectl takes it.
        plural: &'static str,
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// A call to the Kubernetes API failed.
    #[error("{doing}: {source}")]
    Kubernetes {
        /// What was being done, with names.
        doing: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// A person's settings of a hypervisor could not be read.
    #[error(transparent)]
    Hypervisor(#[from] hypervisor::Error),
    /// There is nothing to print.
    #[error("{0}")]
    Nothing(String),
    /// The output cannot be written.
    #[error("cannot print: {0}")]
    Output(#[source] std::io::Error),
}

impl PluginError {
    /// Puts what was being done in front of an error of the client.
    pub(super) fn of(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kubernetes { doing, source: Box::new(source) }
    }
}

/// Whether the person may not do what they tried.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.status == Some(StatusSummary::Failure) && status.code == 403)
}

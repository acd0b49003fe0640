//! What can go wrong between this controller and the Kubernetes API.

use thiserror::Error;

/// A step that the Kubernetes API did not let happen. It is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// A call failed.
    #[error("{doing}: {source}")]
    Kubernetes {
        /// What was being done, with names.
        doing: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// Others changed the object each time that it was to be written.
    #[error("{0} was changed by others again and again while it was to be written; it is tried again")]
    Contended(String),
    /// What was written is not in the answer.
    #[error(
        "the API server dropped {0} from what was written: the installed CRD is older than this operator. Install the \
         CRDs of this version (`stevedore crds | kubectl apply --server-side -f -`)"
    )]
    CrdOutdated(&'static str),
}

impl Error {
    /// Puts what was being done in front of an error of the client.
    pub(in crate::controller) fn of(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kubernetes { doing, source: Box::new(source) }
    }

    /// Whether the object was changed by somebody else since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Contended(_)) || self.status().is_some_and(kube::core::Status::is_conflict)
    }

    /// Whether the object is gone.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// Whether the operator may not make this call.
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_forbidden)
    }

    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kubernetes { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }
}

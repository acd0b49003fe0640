//! The controller of the kind `WorkerSession`.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::context::Context;
use super::record::WriteError;
use crate::api::WorkerSession;

/// Why a pass ended early. The next one goes on from what is recorded.
#[derive(Debug, Error)]
pub enum Error {
    /// A write did not happen.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The Kubernetes API did not answer.
    #[error("the Kubernetes API: {0}")]
    Api(#[from] kube::Error),
}

/// Brings one session a little closer to its end. The answer is when to look again; `None`: when something changes.
pub async fn reconcile(session: Arc<WorkerSession>, context: &Context) -> Result<Option<Duration>, Error> {
    let _ = (session, context);
    Ok(None)
}

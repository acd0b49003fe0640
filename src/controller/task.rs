//! The controller of the kind `WorkerTask`: what has neither a worker nor a session, and what others are to see.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
pub use super::session::Error;
use crate::api::WorkerTask;

/// Brings one task a little closer to its end. The answer is when to look again; `None`: when something changes.
pub async fn reconcile(task: Arc<WorkerTask>, context: &Context) -> Result<Option<Duration>, Error> {
    let _ = (task, context);
    Ok(None)
}

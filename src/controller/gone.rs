//! Which tasks do not exist any more. A cache that is behind is no proof of that, so what it lacks is asked for.

use std::collections::BTreeSet;

use kube::api::{Api, ListParams};
use kube::{Error, ResourceExt};

use super::context::Context;
use crate::api::{Worker, WorkerTask};
use crate::domain::declare;

/// Tasks of one answer, of which only the metadata are sent.
const PAGE: u32 = 500;
/// The most answers that are asked for. With more tasks than they hold, none is known to be gone.
const MOST_PAGES: usize = 40;

/// Those of the tasks `uids` that do not exist in the worker's namespace, where all of its tasks are. If that cannot be
/// told, none is.
pub async fn of(context: &Context, worker: &Worker, uids: &BTreeSet<String>) -> BTreeSet<String> {
    if !context.sessions_listed.has_come() {
        return BTreeSet::new();
    }
    let mut gone = uids.clone();
    for task in context.tasks.all() {
        task.uid().map(|uid| gone.remove(&uid));
    }
    if gone.is_empty() {
        return gone;
    }
    match remove_known(context, worker, &mut gone).await {
        Ok(true) => gone,
        Ok(false) => BTreeSet::new(),
        Err(error) => {
            let worker = declare::qualified_name(worker);
            tracing::info!(%worker, %error, "whether tasks are gone could not be asked");
            BTreeSet::new()
        }
    }
}

/// Takes those out that exist; whether all were seen.
async fn remove_known(context: &Context, worker: &Worker, gone: &mut BTreeSet<String>) -> Result<bool, Error> {
    let api: Api<WorkerTask> = Api::namespaced(context.client.clone(), &worker.namespace().unwrap_or_default());
    let mut params = ListParams::default().limit(PAGE);
    for _ in 0..MOST_PAGES {
        let page = api.list_metadata(&params).await?;
        for task in &page.items {
            task.uid().map(|uid| gone.remove(&uid));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(true),
        }
    }
    Ok(false)
}

//! The first decision of a term rests on nothing older than the term: another process may have written until then what
//! the watches of this one have not shown yet.

use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};

use crate::api::{Worker, WorkerSession, WorkerTask};
use crate::controller::connection::Key;
use crate::controller::context::Context;
use crate::controller::index::{Stored, name_of, stored};
use crate::controller::unreadable::Unreadables;
use kube::runtime::reflector::Store;

/// Objects of one answer.
const PAGE: u32 = 500;
/// Between two looks whether the watches have caught up.
const LOOKS: Duration = Duration::from_millis(100);
/// They have this long before all is listed anew: what is deleted meanwhile may never be shown.
const TRIES: u32 = 50;
/// Until the next try after a list that did not come.
const AGAIN: Duration = Duration::from_secs(2);

/// What stands at the API server: an object's name and its version.
type Newest = Vec<(Key, u64)>;

/// Waits until the watches have shown each Worker, session and task as it stands at the API server now, or newer.
pub(super) async fn wait(context: &Context) {
    loop {
        match newest(context).await {
            Ok(newest) => {
                for _ in 0..TRIES {
                    if newest.are_shown(context) {
                        return;
                    }
                    tokio::time::sleep(LOOKS).await;
                }
                tracing::info!("no task is given to a worker yet: the watches are behind");
            }
            Err(error) => {
                tracing::info!(%error, retry_in = ?AGAIN, "no task is given to a worker yet: they could not be listed");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

struct All {
    workers: Newest,
    sessions: Newest,
    tasks: Newest,
}

async fn newest(context: &Context) -> Result<All, kube::Error> {
    Ok(All {
        workers: list::<Worker>(context).await?,
        sessions: list::<WorkerSession>(context).await?,
        tasks: list::<WorkerTask>(context).await?,
    })
}

/// All objects of a kind. Without a version in the request the answer is as new as can be.
async fn list<K>(context: &Context) -> Result<Newest, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::all(context.client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list_metadata(&params).await?;
        all.extend(page.items.iter().filter_map(|object| Some((name_of(object), version(object)?))));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

impl All {
    fn are_shown(&self, context: &Context) -> bool {
        are_shown(&self.workers, &context.workers, &context.unreadable_workers)
            && are_shown(&self.sessions, &context.sessions, &context.unreadable_sessions)
            && self.tasks.iter().all(|(key, newest)| {
                let shown = context.tasks.get(key).and_then(|task| version(task.as_ref()));
                shown.or_else(|| unreadable(&context.unreadable_tasks, key)).is_some_and(|shown| shown >= *newest)
            })
    }
}

fn are_shown<K: Stored>(newest: &Newest, store: &Store<K>, aside: &Unreadables) -> bool {
    newest.iter().all(|(key, newest)| {
        let shown = stored(store, key).and_then(|object| version(object.as_ref()));
        shown.or_else(|| unreadable(aside, key)).is_some_and(|shown| shown >= *newest)
    })
}

fn unreadable(aside: &Unreadables, key: &Key) -> Option<u64> {
    aside.get(key)?.metadata.resource_version.as_ref()?.parse().ok()
}

/// Versions of one kind can be compared as numbers.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

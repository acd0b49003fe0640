//! Watches: one JSON line for each change of a collection, from a version on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::Value;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tower::BoxError;

use super::call::Call;
use super::error::{Answer, Refusal};
use super::read::{self, bookmark, event, shown};
use super::selector::Selector;
use super::store::{Change, Store};
use super::{KubeApi, disconnected};

/// How long the server keeps a watch open if the client names no time.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

struct Watch {
    api: KubeApi,
    call: Call,
    selector: Selector,
    ticks: Receiver<u64>,
    version: u64,
    pending: VecDeque<Value>,
    ends: Instant,
    over: bool,
}

/// Starts a watch; the stream ends at its time-out, breaks when the server goes away, and stands still while the
/// server is told to hold its watches.
pub(super) fn open(api: &KubeApi, call: Call) -> Answer<impl Stream<Item = Result<Bytes, BoxError>> + Send + use<>> {
    let selector = Selector::of(&call)?;
    let seconds = call.parameter("timeoutSeconds").and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
    let ends = Instant::now() + seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let ticks = api.shared.ticks.subscribe();
    let (version, pending) = start(&api.state().store, &call, &selector)?;
    let watch = Watch { api: api.clone(), call, selector, ticks, version, pending, ends, over: false };
    Ok(futures::stream::unfold(watch, |mut watch| async move {
        let item = watch.next().await?;
        Some((item, watch))
    }))
}

fn start(store: &Store, call: &Call, selector: &Selector) -> Answer<(u64, VecDeque<Value>)> {
    let asked = call.parameter("resourceVersion").unwrap_or("");
    let initial = call.is_set("sendInitialEvents");
    let mut pending = VecDeque::new();
    if initial || matches!(asked, "" | "0") {
        let existing = store.within(&call.target).filter(|(_, stored)| selector.admits(&stored.object));
        pending.extend(existing.map(|(_, stored)| event("ADDED", &shown(stored.wire(), call))));
        if initial {
            pending.push_back(bookmark(call, &read::kind_of(store, &call.target), store.version, true));
        }
        return Ok((store.version, pending));
    }
    let version = asked.parse().map_err(|_| Refusal::bad_request(format!("invalid resource version: {asked}")))?;
    Ok((version, pending))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            self.ticks.borrow_and_update();
            if self.api.state().away {
                self.over = true;
                return Some(Err(disconnected()));
            }
            if self.over {
                return None;
            }
            self.fetch();
            if let Some(line) = self.pending.pop_front() {
                return Some(Ok(Bytes::from(format!("{line}\n"))));
            }
            tokio::select! {
                biased;
                changed = self.ticks.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.ends) => {
                    self.over = true;
                    if self.call.is_set("allowWatchBookmarks") {
                        let kind = read::kind_of(&self.api.state().store, &self.call.target);
                        self.pending.push_back(bookmark(&self.call, &kind, self.version, false));
                        return self.pending.pop_front().map(|line| Ok(Bytes::from(format!("{line}\n"))));
                    }
                }
            }
        }
    }

    /// Takes over what happened since the last look.
    fn fetch(&mut self) {
        let api = self.api.clone();
        let state = api.state();
        if state.held || !self.pending.is_empty() {
            return;
        }
        if self.version < state.store.compacted {
            self.pending.push_back(event("ERROR", &Refusal::expired().status()));
            self.over = true;
            return;
        }
        for change in state.store.since(self.version, &self.call.target) {
            self.pending.extend(self.seen(change));
        }
        self.version = state.store.version.max(self.version);
    }

    /// The event that this watch shows for a change: a selector may turn a change into an appearance or an end.
    fn seen(&self, change: &Change) -> Option<Value> {
        let admits = |object: &Arc<Value>| self.selector.admits(object);
        let was = change.before.as_ref().is_some_and(admits);
        let is = !change.deleted && admits(&change.object);
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(event(kind, &shown((*change.object).clone(), &self.call)))
    }
}

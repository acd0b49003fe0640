//! When decisions are made: soon after somebody asks, again while something waits, and never two at a time for one
//! cluster. A cluster that is slow holds no other up.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinSet};

use super::{GATHERS, catch_up, schedule};
use crate::clock::BootTime;
use crate::controller::connection::Key;
use crate::controller::context::Context;
use crate::domain::backoff;

/// Until the next look whether this process may change anything: the gate opens without a word.
const GATE_CLOSED: Duration = Duration::from_secs(20);
/// The longest sleep; whoever asks ends it.
const LONGEST: Duration = Duration::from_secs(3600);

/// Decides whenever it is asked for, for ever; from the first time on that `led` rings, which it does at the begin of each
/// term as the leader. The first decision of a term waits until all is known that was written before.
pub async fn run(context: &Arc<Context>, mut asked: UnboundedReceiver<Key>, led: BoxStream<'static, ()>) {
    let mut led = led.chain(futures::stream::pending());
    led.next().await;
    loop {
        context.workers_listed.come().await;
        context.sessions_listed.come().await;
        catch_up::wait(context).await;
        tokio::select! {
            _ = led.next() => {}
            () = Turns::new(context).take(&mut asked) => return,
        }
    }
}

/// The decisions of one term.
struct Turns {
    context: Arc<Context>,
    /// The Hypervisors for which there is to be a decision, and when.
    due: BTreeMap<Key, BootTime>,
    /// The clusters for which one is being made.
    under_way: BTreeSet<Key>,
    running: JoinSet<(Key, Outcome)>,
    /// How often each cluster's decisions failed in a row.
    failed: BTreeMap<Key, u32>,
}

/// When to decide again although nobody asks; the error: why not all was carried out.
type Outcome = Result<Option<Duration>, String>;

impl Turns {
    fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            due: BTreeMap::new(),
            under_way: BTreeSet::new(),
            running: JoinSet::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Has decisions made until nobody can ask any more.
    async fn take(mut self, asked: &mut UnboundedReceiver<Key>) {
        loop {
            self.begin();
            let rest = self.rest();
            tokio::select! {
                key = asked.recv() => match key {
                    Some(key) => self.ask(key, GATHERS),
                    None => return,
                },
                Some(ended) = self.running.join_next() => self.end(ended),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn ask(&mut self, key: Key, after: Duration) {
        let at = self.context.clock.boot().plus(after);
        let due = self.due.entry(key).or_insert(at);
        *due = at.min(*due);
    }

    /// Begins what is due, unless the same cluster's last decision is still being made: then that comes next.
    fn begin(&mut self) {
        let now = self.context.clock.boot();
        let due: Vec<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let partners = self.partners(&key);
            let cluster = first(&partners, &key);
            // One decision is for all of them, and may have been begun for another one.
            if self.due.get(&key).is_none_or(|at| *at > now) || !self.under_way.insert(cluster.clone()) {
                continue;
            }
            self.due.retain(|other, at| *at > now || *other != key && !partners.contains(other));
            let context = Arc::clone(&self.context);
            self.running.spawn(async move { (cluster, turn(&context, &key).await) });
        }
    }

    fn end(&mut self, ended: Result<(Key, Outcome), JoinError>) {
        // A turn neither panics nor is it ended from outside.
        let Ok((cluster, outcome)) = ended else { return };
        self.under_way.remove(&cluster);
        let again = match outcome {
            Ok(again) => {
                self.failed.remove(&cluster);
                again
            }
            Err(error) => {
                let times = self.failed.entry(cluster.clone()).or_default();
                *times = times.saturating_add(1);
                let retry_in = backoff::CALL.delay(*times, seed(&cluster));
                let (namespace, hypervisor) = &cluster;
                tracing::info!(%namespace, %hypervisor, %error, ?retry_in, "a decision could not all be carried out");
                Some(retry_in)
            }
        };
        if let Some(after) = again {
            self.ask(cluster, after);
        }
    }

    /// Until the next decision that may be begun.
    fn rest(&self) -> Duration {
        let may_begin = |key: &Key| !self.under_way.contains(&first(&self.partners(key), key));
        let next = self.due.iter().filter(|(key, _)| may_begin(key)).map(|(_, at)| *at).min();
        next.map_or(LONGEST, |at| at.since(self.context.clock.boot()).min(LONGEST))
    }

    fn partners(&self, key: &Key) -> BTreeSet<Key> {
        self.context.connections.get(key).map_or_else(BTreeSet::new, |connection| connection.partners())
    }
}

/// By what a cluster is told apart.
fn first(partners: &BTreeSet<Key>, key: &Key) -> Key {
    partners.first().unwrap_or(key).clone()
}

fn seed(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

async fn turn(context: &Context, key: &Key) -> Outcome {
    // Nobody is given anything by a process that does not lead.
    if !context.gate.may_change(Duration::ZERO) {
        return Ok(Some(GATE_CLOSED));
    }
    match AssertUnwindSafe(schedule(context, key)).catch_unwind().await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("it panicked; this is a defect of the program".to_owned()),
    }
}

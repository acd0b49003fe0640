//! The hourly budget of deletions: `Hypervisor.status.deletions`.
//!
//! The list is a gate: a deletion is entered by compare-and-swap *before* it is sent, and only an answer that contains
//! the entry lets it go on. It also makes ids rest: one that is named here is not used again for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::connection::{Connection, Key};
use super::context::Context;
use super::finalizer::{add_at, unchanged};
use super::hypervisor::{Error, peers};
use crate::api::Hypervisor;
use crate::api::hypervisor_status::{Deletion, MAX_DELETIONS};
use crate::api::names::FIELD_MANAGER;
use crate::clock::{BootTime, Clock};
use crate::domain::observation::Budget;
use crate::domain::operation::Operation;

mod count;

use self::count::{Aged, COUNTED, Verdict, age_by_wall, is_counted, is_same};

/// How often a write is tried that others get in the way of.
const TRIES: usize = 5;
/// A deletion that has not asked for this long no longer waits.
const ASKS_AGAIN: Duration = Duration::from_secs(120);

/// The deletions of one Hypervisor as this process knows them, ahead of any cache.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Deletions (operation ids) that wait for the budget: when they asked last, and what they were told.
    waiting: BTreeMap<String, (BootTime, String)>,
    /// The entries of the last hour, and of the one before.
    entered: Vec<Known>,
}

/// An entry that this process made or has seen. Its age is what the wall clock said then, and grows by the boot clock:
/// the wall clock may be set, and an hour must be an hour.
#[derive(Debug)]
struct Known {
    entry: Deletion,
    age: Duration,
    since: BootTime,
}

impl Known {
    fn age(&self, now: BootTime) -> Duration {
        self.age.saturating_add(now.since(self.since))
    }
}

fn ledger(connection: &Connection) -> MutexGuard<'_, Ledger> {
    connection.ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks whether the deletion that `operation` intends may be sent, and enters it if so. Asking again for one that is
/// entered costs nothing.
pub async fn ask(context: &Context, key: &Key, operation: &Operation) -> Result<Budget, Error> {
    let _one_at_a_time = context.connections.entering.lock().await;
    let connection = context.connections.get_or_make(key);
    let entry = Deletion {
        time: Time(context.clock.wall()),
        vm_id: operation.target.vm_id.clone(),
        operation: Some(operation.id.clone()),
        vanished: false,
    };
    let verdict = enter(context, key, &entry).await?;
    let now = context.clock.boot();
    let mut ledger = ledger(&connection);
    match verdict {
        Verdict::Entered => {
            ledger.waiting.remove(&operation.id);
            ledger.enter(entry, now);
            Ok(Budget::Granted)
        }
        Verdict::Held(text) => {
            let is_news = ledger.waiting.insert(operation.id.clone(), (now, text.clone())).is_none();
            drop(ledger);
            if is_news {
                // So that the Hypervisor says soon that deletions are held.
                connection.ring();
            }
            Ok(Budget::Held(text))
        }
    }
}

/// Enters a VM that vanished without our doing: its id rests, and the budget does not count it.
pub async fn vanished(context: &Context, key: &Key, vm_id: &str) -> Result<(), Error> {
    let _one_at_a_time = context.connections.entering.lock().await;
    let time = Time(context.clock.wall());
    let entry = Deletion { time, vm_id: vm_id.to_owned(), operation: None, vanished: true };
    enter(context, key, &entry).await?;
    ledger(&context.connections.get_or_make(key)).enter(entry, context.clock.boot());
    Ok(())
}

impl Ledger {
    /// Takes in an entry that was made just now, unless it was made before.
    fn enter(&mut self, entry: Deletion, now: BootTime) {
        let aged: Vec<Aged> = self.all(now);
        if !count::is_entered(&aged, &entry) {
            self.entered.push(Known { entry, age: Duration::ZERO, since: now });
        }
    }

    /// Gives the entries of a list their ages, and takes in those that were not known yet.
    fn ages(&mut self, list: &[Deletion], clock: &dyn Clock) -> Vec<Aged> {
        let now = clock.boot();
        let mut aged = Vec::new();
        for entry in list {
            let known = self.entered.iter().find(|known| is_same(&known.entry, entry)).map(|known| known.age(now));
            let age = known.unwrap_or_else(|| age_by_wall(entry, clock.wall()));
            if known.is_none() {
                self.entered.push(Known { entry: entry.clone(), age, since: now });
            }
            aged.push(Aged { entry: entry.clone(), age });
        }
        // An entry that still stands in a list, perhaps in a cache that is behind, must not be taken for a new one.
        let is_listed = |entry: &Deletion| list.iter().any(|listed| is_same(listed, entry));
        self.entered.retain(|known| known.age(now) < COUNTED * 2 || is_listed(&known.entry));
        aged
    }

    /// All of them, whether or not they stand in a list.
    fn all(&self, now: BootTime) -> Vec<Aged> {
        self.entered.iter().map(|known| Aged { entry: known.entry.clone(), age: known.age(now) }).collect()
    }
}

/// The entries in the list of a Hypervisor, with their ages.
fn listed(context: &Context, hypervisor: &Hypervisor) -> Vec<Aged> {
    let connection = context.connections.get_or_make(&key_of(hypervisor));
    ledger(&connection).ages(deletions(hypervisor), context.clock.as_ref())
}

/// What was deleted on a Hypervisor within the last hour: what its list says, and what this process knows besides.
fn recent(context: &Context, hypervisor: &Hypervisor) -> Vec<Aged> {
    let connection = context.connections.get_or_make(&key_of(hypervisor));
    let mut ledger = ledger(&connection);
    ledger.ages(deletions(hypervisor), context.clock.as_ref());
    ledger.all(context.clock.boot())
}

fn key_of(hypervisor: &Hypervisor) -> Key {
    (hypervisor.namespace().unwrap_or_default(), hypervisor.name_any())
}

/// The VM ids that rest because a VM of that id was deleted from one of these Hypervisors, or vanished there.
pub(super) fn resting<'h>(context: &Context, hypervisors: impl Iterator<Item = &'h Hypervisor>) -> BTreeSet<u32> {
    hypervisors.flat_map(|hypervisor| count::resting(&recent(context, hypervisor)).collect::<Vec<_>>()).collect()
}

/// Why deletions of this Hypervisor wait, if some do.
pub(super) fn held(connection: &Connection, now: BootTime) -> Option<String> {
    let mut ledger = ledger(connection);
    ledger.waiting.retain(|_, (asked, _)| now.since(*asked) < ASKS_AGAIN);
    let (_, text) = ledger.waiting.values().next_back()?;
    Some(format!("{} deletions wait: {text}", ledger.waiting.len()))
}

/// Enters an entry, reading anew before each try.
async fn enter(context: &Context, key: &Key, entry: &Deletion) -> Result<Verdict, Error> {
    let api: Api<Hypervisor> = Api::namespaced(context.client.clone(), &key.0);
    for _ in 0..TRIES {
        let doing = format!("reading Hypervisor {}/{}", key.0, key.1);
        let hypervisor = api.get(&key.1).await.map_err(Error::of(doing))?;
        let own = listed(context, &hypervisor);
        if count::is_entered(&own, entry) {
            return Ok(Verdict::Entered);
        }
        if let Some(text) = refusal(context, &hypervisor, entry).await? {
            return Ok(Verdict::Held(text));
        }
        let next = count::with_entry(&own, entry, MAX_DELETIONS);
        match write(&api, &hypervisor, &next).await {
            Ok(written) if count::is_entered(&listed(context, &written), entry) => return Ok(Verdict::Entered),
            Ok(_) => return Err(Error::CrdOutdated("status.deletions")),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Contended(format!("the status of Hypervisor {}/{}", key.0, key.1)))
}

/// Why an entry must wait, counting what every Hypervisor of this cluster has deleted.
async fn refusal(context: &Context, hypervisor: &Hypervisor, entry: &Deletion) -> Result<Option<String>, Error> {
    if !is_counted(entry) {
        return Ok(None);
    }
    let peers = live(context, peers::of(context, hypervisor)).await?;
    let all = peers.iter().map(AsRef::as_ref).chain([hypervisor]);
    let all: Vec<Aged> = all.flat_map(|hypervisor| recent(context, hypervisor)).collect();
    let limit = peers::limits(hypervisor, &peers).deletions_per_hour;
    let (namespace, name) = key_of(hypervisor);
    Ok(count::refusal(&all, usize::try_from(limit).unwrap_or(0), entry.time.0, &format!("{namespace}/{name}")))
}

/// The peers as they are now, not as the cache has them.
async fn live(context: &Context, cached: Vec<Arc<Hypervisor>>) -> Result<Vec<Arc<Hypervisor>>, Error> {
    let mut all = Vec::new();
    for peer in cached {
        let api: Api<Hypervisor> = Api::namespaced(context.client.clone(), &peer.namespace().unwrap_or_default());
        let doing = "reading another Hypervisor of the same cluster";
        let read = api.get_opt(&peer.name_any()).await.map_err(Error::of(doing))?;
        // The deletions of one that is gone still count for as long as the cache has it.
        all.push(read.map_or(peer, Arc::new));
    }
    Ok(all)
}

fn deletions(hypervisor: &Hypervisor) -> &[Deletion] {
    hypervisor.status.as_ref().map_or(&[], |status| &status.deletions)
}

/// Takes entries out that neither count nor rest any longer; what was written, if there was something to take out.
pub(super) async fn prune(context: &Context, hypervisor: &Hypervisor) -> Result<Option<Hypervisor>, Error> {
    let own = listed(context, hypervisor);
    let kept: Vec<Deletion> = own.iter().filter(|aged| aged.age < COUNTED).map(|aged| aged.entry.clone()).collect();
    if kept.len() == own.len() {
        return Ok(None);
    }
    let api = Api::namespaced(context.client.clone(), &key_of(hypervisor).0);
    write(&api, hypervisor, &kept).await.map(Some)
}

/// Writes the whole list, if the Hypervisor is still the one that was read.
async fn write(api: &Api<Hypervisor>, hypervisor: &Hypervisor, next: &[Deletion]) -> Result<Hypervisor, Error> {
    let mut operations = vec![unchanged(hypervisor)];
    if hypervisor.status.is_none() {
        operations.push(add_at(&["status"], json!({})));
    }
    operations.push(add_at(&["status", "deletions"], json!(next)));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let name = hypervisor.name_any();
    let patch = Patch::Json::<()>(json_patch::Patch(operations));
    api.patch_status(&name, &params, &patch)
        .await
        .map_err(Error::of(format!("entering a deletion in Hypervisor {name}")))
}

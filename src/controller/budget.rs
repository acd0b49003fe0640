//! The hourly budget of deletions: `Hypervisor.status.deletions`.
//!
//! The list is a gate: a deletion is entered by compare-and-swap *before* it is sent, and only an answer that contains
//! the entry lets it go on. It also makes ids rest: one that is named here is not used again for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
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
use crate::clock::BootTime;
use crate::domain::observation::Budget;
use crate::domain::operation::Operation;

mod count;

pub(super) use self::count::resting;
use self::count::{COUNTED, REST, Verdict, is_counted};

/// How often a write is tried that others get in the way of.
const TRIES: usize = 5;
/// A deletion that has not asked for this long no longer waits.
const ASKS_AGAIN: Duration = Duration::from_secs(120);

/// The deletions of one Hypervisor as this process knows them, ahead of any cache.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Deletions (operation ids) that wait for the budget: when they asked last, and what they were told.
    waiting: BTreeMap<String, (BootTime, String)>,
    /// VM ids that were entered, and when.
    entered: BTreeMap<u32, BootTime>,
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
            ledger.rest(&entry.vm_id, now);
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
    ledger(&context.connections.get_or_make(key)).rest(vm_id, context.clock.boot());
    Ok(())
}

impl Ledger {
    fn rest(&mut self, vm_id: &str, now: BootTime) {
        self.entered.retain(|_, entered| now.since(*entered) < REST);
        if let Ok(id) = vm_id.parse() {
            self.entered.insert(id, now);
        }
    }
}

/// Why deletions of this Hypervisor wait, if some do.
pub(super) fn held(connection: &Connection, now: BootTime) -> Option<String> {
    let mut ledger = ledger(connection);
    ledger.waiting.retain(|_, (asked, _)| now.since(*asked) < ASKS_AGAIN);
    let (_, text) = ledger.waiting.values().next_back()?;
    Some(format!("{} deletions wait: {text}", ledger.waiting.len()))
}

/// The ids that rest because this process entered them.
pub(super) fn resting_here(connection: &Connection, now: BootTime) -> Vec<u32> {
    let is_resting = |entered: &BootTime| now.since(*entered) < REST;
    ledger(connection).entered.iter().filter(|(_, entered)| is_resting(entered)).map(|(id, _)| *id).collect()
}

/// Enters an entry, reading anew before each try.
async fn enter(context: &Context, key: &Key, entry: &Deletion) -> Result<Verdict, Error> {
    let api: Api<Hypervisor> = Api::namespaced(context.client.clone(), &key.0);
    for _ in 0..TRIES {
        let doing = format!("reading Hypervisor {}/{}", key.0, key.1);
        let hypervisor = api.get(&key.1).await.map_err(Error::of(doing))?;
        let own = deletions(&hypervisor);
        if count::is_entered(own, entry) {
            return Ok(Verdict::Entered);
        }
        if let Some(text) = refusal(context, &hypervisor, entry).await? {
            return Ok(Verdict::Held(text));
        }
        let next = count::with_entry(own, entry, MAX_DELETIONS);
        match write(&api, &hypervisor, &next).await {
            Ok(written) if count::is_entered(deletions(&written), entry) => return Ok(Verdict::Entered),
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
    let all = peers.iter().map(AsRef::as_ref).chain([hypervisor]).flat_map(deletions);
    let limit = peers::limits(hypervisor, &peers).deletions_per_hour;
    let name = format!("{}/{}", hypervisor.namespace().unwrap_or_default(), hypervisor.name_any());
    Ok(count::refusal(all, usize::try_from(limit).unwrap_or(0), entry.time.0, &name))
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
pub(super) async fn prune(
    api: &Api<Hypervisor>,
    hypervisor: &Hypervisor,
    now: Timestamp,
) -> Result<Option<Hypervisor>, Error> {
    let own = deletions(hypervisor);
    let kept: Vec<Deletion> = own.iter().filter(|entry| count::is_younger(entry, now, COUNTED)).cloned().collect();
    if kept.len() == own.len() {
        return Ok(None);
    }
    write(api, hypervisor, &kept).await.map(Some)
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

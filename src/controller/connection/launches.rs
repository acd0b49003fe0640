//! The launches of one `Hypervisor`: which workers are at it, and which wait for their turn.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::BootTime;

/// After this time without a word a worker loses its permit, or its place in the queue.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Permits and places in the queue.
#[derive(Debug, Default)]
pub(super) struct Launches {
    /// Workers (UIDs) that may launch, and when each was last seen at it.
    permits: BTreeMap<String, BootTime>,
    queue: Vec<Waiting>,
}

/// A worker that waits for a permit.
#[derive(Debug)]
struct Waiting {
    uid: String,
    /// Who asked first has the lower one, also among several `Hypervisor`s.
    place: u64,
    /// When it asked last.
    asked: BootTime,
}

impl Launches {
    /// Who does not ask again, or is not seen at work any more, has been deleted, paused or changed its mind.
    pub(super) fn forget_silent(&mut self, now: BootTime) {
        self.permits.retain(|_, seen| now.since(*seen) < FORGOTTEN);
        self.queue.retain(|waiting| now.since(waiting.asked) < FORGOTTEN);
    }

    /// A worker is seen at work; whether it has a permit.
    pub(super) fn at_work(&mut self, uid: &str, now: BootTime) -> bool {
        let seen = self.permits.get_mut(uid);
        let is_permitted = seen.is_some();
        if let Some(seen) = seen {
            *seen = now;
        }
        is_permitted
    }

    /// A worker asks; its place, `next` if it asks for the first time.
    pub(super) fn queue(&mut self, uid: &str, next: u64, now: BootTime) -> u64 {
        if let Some(waiting) = self.queue.iter_mut().find(|waiting| waiting.uid == uid) {
            waiting.asked = now;
            return waiting.place;
        }
        self.queue.push(Waiting { uid: uid.to_owned(), place: next, asked: now });
        next
    }

    /// A worker gets a permit.
    pub(super) fn begin(&mut self, uid: &str, now: BootTime) {
        self.queue.retain(|waiting| waiting.uid != uid);
        self.permits.insert(uid.to_owned(), now);
    }

    /// A worker gives its permit, or its place in the queue, back.
    pub(super) fn end(&mut self, uid: &str) {
        self.permits.remove(uid);
        self.queue.retain(|waiting| waiting.uid != uid);
    }

    /// Permits that are out.
    pub(super) fn out(&self) -> usize {
        self.permits.len()
    }

    /// How many wait before this place.
    pub(super) fn ahead_of(&self, place: u64) -> usize {
        self.queue.iter().filter(|waiting| waiting.place < place).count()
    }
}

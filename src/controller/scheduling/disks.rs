//! The storages that protected VMs' disks are on: read once for each VM of a session, a few at a time.
//!
//! A VM whose storages could not be read is not taken for one that has none: its task would go over the limit of a
//! storage. It waits, and they are read again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::clock::{BootTime, SharedClock};
use crate::controller::connection::{Connection, Key};
use crate::domain::backoff;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::VmRef;

/// The most VMs of one Hypervisor that are read at a time, or wait for it.
const AT_ONCE: usize = 64;
/// How many of one errand are read at the same time.
const PARALLEL: usize = 8;
/// Which VM of which session (UID).
pub type Subject = (String, String);

/// What is known of disks. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Disks(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    known: HashMap<Subject, Known>,
    /// Those that are being read, by their Hypervisor.
    reading: HashMap<Key, HashSet<Subject>>,
}

/// What is known of the disks of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The storages as they were when the VM's session asked first.
    On(BTreeSet<String>),
    /// They could not be read.
    Failed(Failure),
}

/// Disks that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    times: u32,
    /// When they are read again.
    pub(super) again: BootTime,
    /// Why, for people.
    pub(super) message: String,
}

impl Disks {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the disks of a VM; `None` if nobody has read them yet.
    pub(super) fn of(&self, subject: &Subject) -> Option<Known> {
        self.all().known.get(subject).cloned()
    }

    /// Forgets sessions that are not there any more.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.all().known.retain(|(session, _), _| is_there(session));
    }

    /// Has some of the VMs of one Hypervisor read, and waits a little for it. What takes longer rings the bell in the end.
    /// Whether there are more that can be read now.
    pub async fn look_up(&self, mut errand: Errand) -> bool {
        let (busy, more) = self.begin(&mut errand);
        let patience = errand.patience;
        if errand.wanted.is_empty() {
            return false;
        }
        let (done, awaited) = oneshot::channel();
        tokio::spawn(async move {
            let (bell, key) = (errand.bell.clone(), errand.key.clone());
            errand.run(&busy.disks).await;
            drop(busy);
            if done.send(()).is_err() {
                // Nobody listens only while the process ends.
                let _ = bell.send(key);
            }
        });
        // Late or not: what was read by now is known.
        tokio::time::timeout(patience, awaited).await.is_ok() && more
    }

    /// Leaves those of an errand that can be read now; whether there are more.
    fn begin(&self, errand: &mut Errand) -> (Busy, bool) {
        let mut all = self.all();
        let reading = all.reading.entry(errand.key.clone()).or_default();
        errand.wanted.retain(|(subject, _)| !reading.contains(subject));
        let room = AT_ONCE.saturating_sub(reading.len());
        let more = errand.wanted.len() > room;
        errand.wanted.truncate(room);
        let subjects: Vec<Subject> = errand.wanted.iter().map(|(subject, _)| subject.clone()).collect();
        reading.extend(subjects.iter().cloned());
        (Busy { disks: self.clone(), key: errand.key.clone(), subjects }, more)
    }

    fn read(&self, subject: Subject, answer: Result<BTreeSet<String>, String>, now: BootTime) {
        let mut all = self.all();
        let known = match answer {
            Ok(storages) => Known::On(storages),
            Err(message) => {
                let before = match all.known.get(&subject) {
                    Some(Known::Failed(failure)) => failure.times,
                    _ => 0,
                };
                let times = before.saturating_add(1);
                let again = now.plus(backoff::CALL.delay(times, seed(&subject)));
                Known::Failed(Failure { times, again, message })
            }
        };
        all.known.insert(subject, known);
    }
}

/// VMs that are being read until this is dropped.
struct Busy {
    disks: Disks,
    key: Key,
    subjects: Vec<Subject>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut all = self.disks.all();
        if let Some(reading) = all.reading.get_mut(&self.key) {
            reading.retain(|subject| !self.subjects.contains(subject));
            if reading.is_empty() {
                all.reading.remove(&self.key);
            }
        }
    }
}

fn seed(subject: &Subject) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish()
}

/// VMs of sessions of one Hypervisor, to be read with its own credential.
#[derive(Debug)]
pub struct Errand {
    /// The Hypervisor.
    pub key: Key,
    /// The way to it.
    pub connection: Arc<Connection>,
    /// Its client.
    pub client: SharedHypervisor,
    /// The VMs.
    pub wanted: Vec<(Subject, VmRef)>,
    /// The source of time.
    pub clock: SharedClock,
    /// Rung with the key if nobody waits for the end any more.
    pub bell: UnboundedSender<Key>,
    /// How long the end is waited for.
    pub patience: Duration,
}

impl Errand {
    async fn run(self, disks: &Disks) {
        let Self { connection, client, wanted, clock, .. } = self;
        let reads = futures::stream::iter(wanted).map(|(subject, at)| {
            let (connection, client, clock) = (&connection, &client, &clock);
            async move {
                let answer = client.storages_of(&at).await;
                if let Err(fault) = &answer {
                    tracing::info!(vm = %at, %fault, "the disks of a VM could not be read");
                }
                let answer = match answer {
                    Ok(names) => Ok(names.iter().map(|name| connection.storage_key(&at.host, name)).collect()),
                    Err(fault) => Err(format!(
                        "the storages of the disks of VM {} could not be read, so that tasksPerStorage could not be \
                         kept: {fault}; they are read again",
                        at.id
                    )),
                };
                disks.read(subject, answer, clock.boot());
            }
        });
        reads.buffer_unordered(PARALLEL).collect::<Vec<()>>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_read_again_ever_later() {
        let (disks, subject) = (Disks::default(), ("s".to_owned(), "101".to_owned()));
        let mut waits = Vec::new();
        for second in [0, 10, 20] {
            let now = BootTime::from_start(Duration::from_secs(second));
            disks.read(subject.clone(), Err("no answer".to_owned()), now);
            let Some(Known::Failed(failure)) = disks.of(&subject) else { panic!("it is known") };
            waits.push(failure.again.since(now));
        }
        assert!(waits[0] >= Duration::from_secs(2) && waits.is_sorted() && waits[0] < waits[2], "{waits:?}");
        let storages = BTreeSet::from(["nfs".to_owned()]);
        disks.read(subject.clone(), Ok(storages.clone()), BootTime::default());
        assert_eq!(disks.of(&subject), Some(Known::On(storages)));
        disks.keep(|session| session != "s");
        assert_eq!(disks.of(&subject), None);
    }
}

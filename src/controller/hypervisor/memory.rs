//! What the poller of one hypervisor remembers between two looks. None of it outlives the process.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::identity::Standing;
use super::sights::Sights;
use super::trouble::Trouble;
use crate::api::Hypervisor;
use crate::clock::BootTime;
use crate::controller::context::ConnectionSettings;
use crate::domain::backoff;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::{InUse, MissingPrivilege, Probe, VmRef};

/// A timer may fire this much early: the look is then made all the same, instead of after another tiny wait.
const EARLY: Duration = Duration::from_millis(50);

/// What the poller remembers.
#[derive(Debug, Default)]
pub(in crate::controller) struct Memory {
    /// The UID of the object that all of this is about.
    uid: Option<String>,
    /// The generation of the object that the last look was for.
    generation: Option<i64>,
    /// When the last look was begun.
    begun: Option<BootTime>,
    /// The next look is made at once.
    hurry: bool,
    /// Looks in a row that failed.
    failures: u32,
    /// What the present client was made from.
    pub(super) settings: Option<ConnectionSettings>,
    pub(super) client: Option<SharedHypervisor>,
    /// What is wrong with Secret or CA; a client that was made before works on.
    pub(super) input: Option<Trouble>,
    /// What came of the last look.
    pub(super) contact: Contact,
    /// What the last probe of the present client has shown.
    pub(super) probed: Option<Probed>,
    /// Whether the latest inventory says that the cluster is quorate.
    pub(super) quorate: bool,
    /// VMs that may be ours but could not be read in the latest poll.
    pub(super) unread: Vec<VmRef>,
    /// In how many more polls the privileges are looked at, because a VM was missing.
    pub(super) recheck: u8,
    /// What the polls up to the latest show of the workers' VMs.
    pub(super) sights: Sights,
    /// The generation of the spec that workers were told of.
    pub(super) told: Option<i64>,
    /// The object as we wrote it last, and the resource versions that it replaced: the cache may be behind.
    latest: Option<Hypervisor>,
    superseded: Vec<String>,
}

/// What came of the last look.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    /// None was made.
    #[default]
    NotYet,
    /// It was answered in all parts.
    Fine,
    /// It failed.
    Failed(Trouble),
}

/// What a probe has shown.
#[derive(Debug, Clone)]
pub(super) struct Probed {
    /// When it was made.
    pub(super) at: BootTime,
    /// Who answers.
    pub(super) probe: Probe,
    /// Whether it is the cluster that was pinned.
    pub(super) standing: Standing,
    /// What the credential lacks, to work with what was in use then.
    pub(super) missing: Vec<MissingPrivilege>,
    /// What was in use when that was asked.
    pub(super) in_use: InUse,
}

impl Memory {
    /// Begins anew if this is another object of the same name, and gives the object as we know it best: the cache may
    /// not have our own last write yet.
    pub(super) fn latest(&mut self, cached: &Hypervisor) -> (Hypervisor, bool) {
        let is_new = self.uid.is_some() && self.uid != cached.metadata.uid;
        if is_new {
            *self = Self::default();
        }
        self.uid.clone_from(&cached.metadata.uid);
        let version = cached.metadata.resource_version.as_ref();
        let is_behind = version.is_some_and(|version| self.superseded.contains(version));
        match &self.latest {
            Some(latest) if is_behind => (latest.clone(), is_new),
            _ => {
                self.superseded.clear();
                self.latest = None;
                (cached.clone(), is_new)
            }
        }
    }

    /// Remembers what was written.
    pub(super) fn wrote(&mut self, latest: &Hypervisor, superseded: Vec<String>) {
        if !superseded.is_empty() {
            self.superseded.extend(superseded);
            self.latest = Some(latest.clone());
        }
    }

    /// Makes the next look one that is made at once.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// How long until the next look: `interval` after the last one, or longer if it failed.
    pub(super) fn until_next(&self, now: BootTime, generation: Option<i64>, interval: Duration) -> Duration {
        let Some(begun) = self.begun.filter(|_| !self.hurry && self.generation == generation) else {
            return Duration::ZERO;
        };
        let wait = begun.plus(self.interval(interval)).since(now);
        if wait <= EARLY { Duration::ZERO } else { wait }
    }

    fn interval(&self, interval: Duration) -> Duration {
        if self.failures == 0 { interval } else { backoff::PROBE.delay(self.failures, self.seed()) }
    }

    fn seed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.uid.hash(&mut hasher);
        hasher.finish()
    }

    /// A look begins.
    pub(super) fn begin(&mut self, now: BootTime, generation: Option<i64>) {
        self.begun = Some(now);
        self.generation = generation;
        self.hurry = false;
    }

    /// A look has ended.
    pub(super) fn end(&mut self, result: Result<(), Trouble>) {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.contact = Contact::Fine;
            }
            Err(trouble) => {
                self.fail();
                self.contact = Contact::Failed(trouble);
            }
        }
    }

    /// There was nothing to look with.
    pub(super) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether what rarely changes must be looked at: not with every poll.
    pub(super) fn needs_probe(&self, now: BootTime, every: Duration) -> bool {
        let is_fine = matches!(self.contact, Contact::Fine);
        self.probed.as_ref().is_none_or(|probed| {
            !is_fine || probed.standing == Standing::Unpinned || now.since(probed.at).saturating_add(EARLY) >= every
        })
    }

    /// What is known of the cluster's identity.
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.probed.as_ref().map(|probed| &probed.standing)
    }

    /// What the credential lacks.
    pub(super) fn missing(&self) -> &[MissingPrivilege] {
        self.probed.as_ref().map_or(&[], |probed| &probed.missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::reasons::HypervisorReason;

    const IDLE: Duration = Duration::from_secs(30);

    fn second(second: u64) -> BootTime {
        BootTime::from_start(Duration::from_secs(second))
    }

    #[test]
    fn a_look_is_due_by_time_by_edit_and_later_after_failures() {
        let mut memory = Memory::default();
        assert_eq!(memory.until_next(second(0), Some(1), IDLE), Duration::ZERO);
        memory.begin(second(0), Some(1));
        memory.end(Ok(()));
        assert_eq!(memory.until_next(second(10), Some(1), IDLE), Duration::from_secs(20));
        assert_eq!(memory.until_next(second(30), Some(1), IDLE), Duration::ZERO);
        assert_eq!(memory.until_next(second(10), Some(2), IDLE), Duration::ZERO, "the spec was edited");
        for _ in 0..10 {
            memory.end(Err(Trouble::new(HypervisorReason::Unreachable, "gone")));
        }
        assert!(memory.until_next(second(60), Some(1), IDLE) >= Duration::from_secs(60));
        memory.hurry();
        assert_eq!(memory.until_next(second(1), Some(1), IDLE), Duration::ZERO);
    }

    #[test]
    fn a_cache_that_is_behind_is_not_believed() {
        let version = |version: &str| -> Hypervisor {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "pve", "uid": "u", "resourceVersion": version},
                "spec": {"provider": "Proxmox", "endpoints": [], "credentialsSecretRef": {"name": "s"}},
            }))
            .unwrap()
        };
        let mut memory = Memory::default();
        let seen = |memory: &mut Memory, cached: &str| {
            memory.latest(&version(cached)).0.metadata.resource_version.unwrap_or_default()
        };
        assert_eq!(seen(&mut memory, "1"), "1");
        memory.wrote(&version("3"), vec!["1".into(), "2".into()]);
        assert_eq!(seen(&mut memory, "1"), "3");
        assert_eq!(seen(&mut memory, "2"), "3");
        assert_eq!(seen(&mut memory, "3"), "3");
        assert_eq!(seen(&mut memory, "9"), "9");
    }
}

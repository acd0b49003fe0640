//! What is known of a hypervisor, for its conditions and for its workers.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::identity::Standing;
use super::memory::{Contact, Memory, Probed};
use super::peers;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::api::hypervisor_status::EffectiveLimits;
use crate::api::names::ACCEPT_IDENTITY;
use crate::api::reasons::HypervisorReason;
use crate::controller::budget;
use crate::hypervisor::vm::{MissingPrivilege, VmRef};

/// What is known of a hypervisor.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they go in every combination")]
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// The generation of the object that this speaks of.
    pub(super) generation: Option<i64>,
    /// The wall clock.
    pub(super) now: Timestamp,
    /// What came of the last look.
    pub(super) contact: &'a Contact,
    /// What is wrong with Secret or CA.
    pub(super) input: Option<&'a Trouble>,
    /// What the last probe has shown.
    pub(super) probed: Option<&'a Probed>,
    /// Whether the cluster is quorate.
    pub(super) quorate: bool,
    /// VMs that may be ours and could not be read.
    pub(super) unread: &'a [VmRef],
    /// Workers that name it, or may, and cannot be read.
    pub(super) unreadable: Vec<String>,
    /// Certificates are not checked.
    pub(super) insecure: bool,
    /// Nothing is to be changed.
    pub(super) paused: bool,
    /// The Workers that its deletion waits for, if it is being deleted.
    pub(super) awaited: Option<Vec<String>>,
    /// Why deletions wait.
    pub(super) held: Option<String>,
    /// Who else reaches this cluster.
    pub(super) shared: Option<String>,
    /// The limits in force.
    pub(super) limits: EffectiveLimits,
    /// The annotation that took another cluster over is still there.
    pub(super) accepted: bool,
}

fn lacking<'m>(missing: impl Iterator<Item = &'m MissingPrivilege>) -> Option<Trouble> {
    let names: Vec<String> = missing.map(ToString::to_string).collect();
    let text =
        format!("the credential lacks {}; give it a role that has them, on these paths or above", names.join(", "));
    (!names.is_empty()).then(|| Trouble::new(HypervisorReason::PrivilegesMissing, text))
}

impl<'a> Facts<'a> {
    /// Collects what is known.
    pub(super) fn of(subject: &Subject<'_>, memory: &'a Memory) -> Self {
        let limits = peers::limits(&subject.hypervisor, &subject.peers);
        let accept = subject.annotation(ACCEPT_IDENTITY);
        Self {
            generation: subject.generation(),
            now: subject.context.clock.wall(),
            contact: &memory.contact,
            input: memory.input.as_ref(),
            probed: memory.probed.as_ref(),
            quorate: memory.quorate,
            unread: &memory.unread,
            unreadable: subject.unreadable.iter().map(|worker| worker.name().to_owned()).collect(),
            insecure: subject.hypervisor.spec.tls.insecure_skip_verify,
            paused: subject.hypervisor.spec.paused,
            awaited: subject.is_deleting().then(|| awaited(subject)),
            held: budget::held(subject.connection, subject.now),
            shared: peers::named(&subject.hypervisor, &subject.peers),
            limits,
            accepted: matches!(memory.standing(), Some(Standing::Known(known)) if accept == Some(known.name.as_str())),
        }
    }

    /// Whether a look was tried, so that what is not known is not merely not known yet.
    pub(super) fn was_looked_at(&self) -> bool {
        *self.contact != Contact::NotYet || self.input.is_some()
    }

    /// Why the hypervisor cannot be used, if it cannot.
    pub(super) fn unusable(&self) -> Option<Trouble> {
        match (self.contact, self.input) {
            (Contact::NotYet, Some(trouble)) | (Contact::Failed(trouble), None) => return Some(trouble.clone()),
            (Contact::NotYet, None) => {
                return Some(Trouble::new(HypervisorReason::Connecting, "it has not been looked at yet"));
            }
            (Contact::Failed(trouble), Some(input)) => {
                let message = format!("{}; {}", trouble.message, input.message);
                return Some(Trouble { reason: trouble.reason, message });
            }
            (Contact::Fine, _) => {}
        }
        self.no_quorum().or_else(|| self.lacks_everywhere())
    }

    fn no_quorum(&self) -> Option<Trouble> {
        let is_pinned = matches!(self.probed.map(|probed| &probed.standing), Some(Standing::Known(_)));
        let text = if is_pinned {
            "the cluster has no quorum; nothing is changed until it has"
        } else {
            "the cluster has no quorum; it is got to know when it has"
        };
        (!self.quorate || !is_pinned).then(|| Trouble::new(HypervisorReason::NoQuorum, text))
    }

    /// The privileges that are missing, if any are.
    pub(super) fn lacks_privileges(&self) -> Option<Trouble> {
        lacking(self.probed?.missing.iter())
    }

    /// The privileges that are missing for everything: what lacks on one storage is said to its workers alone.
    fn lacks_everywhere(&self) -> Option<Trouble> {
        lacking(self.probed?.missing.iter().filter(|one| !one.concerns_some_workers()))
    }
}

fn awaited(subject: &Subject<'_>) -> Vec<String> {
    let mut names: Vec<String> = subject.workers.iter().map(|worker| worker.name_any()).collect();
    names.extend(subject.unreadable.iter().map(|worker| format!("{} (cannot be read)", worker.name())));
    names.sort();
    names
}

//! What can go wrong between us and a hypervisor or a guest, sorted by what a person or a plan does about it.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A failed call, with its cause put into one of a few kinds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind, which decides what happens next.
    pub kind: FaultKind,
    /// What was tried and what came back, for people; never holds a secret.
    pub message: String,
}

/// The kinds of [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection, or no answer to a request that changes nothing.
    Unreachable,
    /// The certificate is not trusted, not pinned, or out of date.
    Certificate,
    /// The credential is refused.
    Unauthorized,
    /// The credential lacks a privilege.
    Forbidden {
        /// Such as `VM.Allocate`; several alternatives are joined by `|`. Empty if the answer did not say.
        privilege: String,
        /// The access-control path, such as `/vms/104`. Empty if the answer did not say.
        path: String,
    },
    /// The VM is not on that host: deleted or moved.
    NotFound,
    /// The chosen id is taken, by whomever.
    AlreadyExists,
    /// The VM carries a configuration lock, such as `clone` or `backup`.
    Locked(String),
    /// Another operation holds a lock file for now, or the API is overloaded; worth another try later.
    Busy,
    /// The cluster has no quorum.
    NoQuorum,
    /// The VM is protected against removal.
    Protected,
    /// The state that was asked for is reached already (started twice, stopped twice).
    AlreadyDone,
    /// The guest agent does not answer (not running, not configured, or the VM is off).
    GuestAway,
    /// The request was understood and refused; repeating it unchanged is useless.
    Refused,
    /// A request that changes something was not sent: by the time that it could leave, what justified it had grown old.
    /// Nothing has happened, and it is worth another try.
    NotSent,
    /// A request that changes something was sent and no answer came: it may have happened.
    UnknownOutcome,
    /// Anything else.
    Other,
}

impl Fault {
    /// A fault of `kind` with a text for people.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The same fault with `context` in front of its text.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{context}: {}", self.message) }
    }

    /// Whether the hypervisor as a whole could not be asked, so that nothing is known about its VMs.
    pub fn is_away(&self) -> bool {
        matches!(self.kind, FaultKind::Unreachable | FaultKind::Certificate | FaultKind::Unauthorized)
    }

    /// Whether trying again later, unchanged, makes sense.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Unreachable
                | FaultKind::Busy
                | FaultKind::Locked(_)
                | FaultKind::NoQuorum
                | FaultKind::GuestAway
                | FaultKind::NotSent
        )
    }
}

/// How long a call to a hypervisor may take: Proxmox VE answers up to 30 s late, because its proxy waits that long for
/// another node, and a limit below that would make every slow answer an unknown outcome.
pub const CALL_DEADLINE: Duration = Duration::from_secs(35);

//! What stands between us and a hypervisor, in the words of conditions.

use crate::api::reasons::{HypervisorReason, WorkerReason};
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::observation::Problem;

/// A reason and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The reason, as it stands in a condition.
    pub(super) reason: HypervisorReason,
    /// What is wrong, where, and what to do; without secrets.
    pub(super) message: String,
}

impl Trouble {
    pub(super) fn new(reason: HypervisorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The same as a worker of that hypervisor says it.
    pub(super) fn for_workers(&self, hypervisor: &str) -> Problem {
        let reason = match self.reason {
            HypervisorReason::Unreachable => WorkerReason::HypervisorUnreachable,
            HypervisorReason::CredentialsMissing => WorkerReason::CredentialsMissing,
            HypervisorReason::IdentityChanged => WorkerReason::IdentityChanged,
            HypervisorReason::NoQuorum => WorkerReason::NoQuorum,
            HypervisorReason::PrivilegesMissing => WorkerReason::Forbidden,
            _ => WorkerReason::HypervisorNotReady,
        };
        Problem::new(reason, format!("Hypervisor {hypervisor}: {}", self.message))
    }
}

impl From<&Fault> for Trouble {
    fn from(fault: &Fault) -> Self {
        let reason = match &fault.kind {
            FaultKind::Unreachable | FaultKind::Busy | FaultKind::UnknownOutcome => HypervisorReason::Unreachable,
            FaultKind::Certificate => certificate(&fault.message),
            FaultKind::Unauthorized => HypervisorReason::CredentialsRejected,
            FaultKind::Forbidden { .. } => HypervisorReason::PrivilegesMissing,
            FaultKind::NoQuorum => HypervisorReason::NoQuorum,
            _ => HypervisorReason::OperationFailed,
        };
        Self { reason, message: steady(&fault.message) }
    }
}

/// What is the matter with a certificate. The fault only has a text: ours around that of the TLS library.
fn certificate(text: &str) -> HypervisorReason {
    let text = text.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["ca bundle of tls.caref is not usable"]) {
        HypervisorReason::CaMissing
    } else if has(&["not valid for name", "notvalidforname"]) {
        HypervisorReason::HostNameMismatch
    } else if has(&["certificate expired", "not valid yet", "notvalidyet", "(expired"]) {
        HypervisorReason::Expired
    } else if has(&["not in tls.fingerprints", "no sha-256 fingerprint"]) {
        HypervisorReason::FingerprintMismatch
    } else {
        HypervisorReason::Untrusted
    }
}

/// The text without what differs each time it is said: the TLS library counts the seconds since a certificate expired.
fn steady(text: &str) -> String {
    let mut text = text.to_owned();
    if let (Some(begin), Some(end)) = (text.find(": verification time "), text.find(" seconds ago)"))
        && begin < end
    {
        text.replace_range(begin..end + " seconds ago)".len(), "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_apart() {
        let cases = [
            ("the CA bundle of tls.caRef is not usable: no certificate in it", HypervisorReason::CaMissing),
            ("its fingerprint is not in tls.fingerprints. Presented: …", HypervisorReason::FingerprintMismatch),
            ("(invalid peer certificate: certificate not valid for name \"x\")", HypervisorReason::HostNameMismatch),
            ("(invalid peer certificate: certificate expired: verification time 1)", HypervisorReason::Expired),
            ("(invalid peer certificate: UnknownIssuer)", HypervisorReason::Untrusted),
            (
                "its fingerprint is not in tls.fingerprints, and no CA … (invalid peer certificate: certificate expired)",
                HypervisorReason::Expired,
            ),
        ];
        for (text, reason) in cases {
            assert_eq!(Trouble::from(&Fault::new(FaultKind::Certificate, text)).reason, reason, "{text}");
        }
    }

    #[test]
    fn an_expired_certificate_is_named_in_the_same_words_each_time() {
        let text = |now: u32| {
            let fault = format!(
                "x (invalid peer certificate: certificate expired: verification time {now} (UNIX), but certificate is \
                 not valid after 100 ({} seconds ago)). Presented: y",
                now - 100
            );
            Trouble::from(&Fault::new(FaultKind::Certificate, fault)).message
        };
        assert_eq!(text(200), text(300));
        assert_eq!(text(200), "x (invalid peer certificate: certificate expired). Presented: y");
    }
}

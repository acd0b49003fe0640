//! The conditions of a `Hypervisor`, from what is known of it.

use std::time::Duration;

use super::facts::Facts;
use super::memory::Contact;
use super::trouble::Trouble;
use crate::api::conditions::{
    AUTHORIZED, Answer, CERTIFICATE_VALID, DELETIONS_HELD, NewCondition, REACHABLE, READY, SHARED_CONNECTION,
};
use crate::api::names::ACCEPT_IDENTITY;
use crate::api::reasons::HypervisorReason as Reason;

/// A certificate that ends within this time is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Names that a message lists.
const MOST_NAMES: usize = 10;

/// All conditions.
pub(super) fn conditions(facts: &Facts<'_>) -> Vec<NewCondition> {
    let all = [
        ready(facts),
        reachable(facts),
        authorized(facts),
        certificate_valid(facts),
        condition(
            DELETIONS_HELD,
            facts.held.as_deref().map(|text| (Reason::DeletionBudget, text)),
            (Reason::WithinBudget, "no deletion waits for the hourly budget"),
        ),
        condition(
            SHARED_CONNECTION,
            facts.shared.as_deref().map(|text| (Reason::SharedCluster, text)),
            (Reason::OwnCluster, "no other Hypervisor is known to reach this cluster"),
        ),
    ];
    all.into_iter().map(|condition| condition.observed(facts.generation)).collect()
}

/// A condition that is true for a reason, or else false.
fn condition(type_: &'static str, why: Option<(Reason, &str)>, else_: (Reason, &str)) -> NewCondition {
    let (reason, text) = why.unwrap_or(else_);
    NewCondition::new(type_, Answer::from(why.is_some()), reason, text)
}

fn says(type_: &'static str, answer: Answer, trouble: &Trouble) -> NewCondition {
    NewCondition::new(type_, answer, trouble.reason, trouble.message.clone())
}

fn ready(facts: &Facts<'_>) -> NewCondition {
    let unusable = facts.unusable();
    if let Some(names) = facts.awaited.as_ref().filter(|names| !names.is_empty()) {
        let mut text = format!("its deletion waits for {} Workers that need it: {}", names.len(), listed(names));
        if let Some(trouble) = unusable.as_ref().or(facts.input) {
            text = format!("{text}. Meanwhile: {}", trouble.message);
        }
        return NewCondition::new(READY, Answer::False, Reason::WorkersRemain, text);
    }
    if let Some(trouble) = facts.input {
        return says(READY, Answer::False, trouble);
    }
    match unusable {
        Some(trouble) if trouble.reason == Reason::Connecting => says(READY, Answer::Unknown, &trouble),
        Some(trouble) => says(READY, Answer::False, &trouble),
        None if facts.paused => {
            let text = "connected; spec.paused is true, so nothing is changed";
            NewCondition::new(READY, Answer::True, Reason::Paused, text)
        }
        None => NewCondition::new(READY, Answer::True, Reason::Connected, connected(facts)),
    }
}

fn connected(facts: &Facts<'_>) -> String {
    let probe = facts.probed.map(|probed| &probed.probe);
    let mut text = probe.map_or_else(String::new, |probe| {
        format!("{} {}, cluster {}", probe.product, probe.version, probe.identity.name)
    });
    if !facts.unread.is_empty() {
        let unread: Vec<String> = facts.unread.iter().map(ToString::to_string).collect();
        text = format!("{text}; nothing is created while these cannot be read: {}", listed(&unread));
    }
    if !facts.unreadable.is_empty() {
        text =
            format!("{text}; nothing is done for these Workers, which cannot be read: {}", listed(&facts.unreadable));
    }
    if facts.accepted {
        text = format!("{text}; the annotation {ACCEPT_IDENTITY} has done its work, take it away");
    }
    text
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMES { format!("{shown} and {} more", names.len() - MOST_NAMES) } else { shown }
}

const fn is_of_certificate(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Untrusted
            | Reason::FingerprintMismatch
            | Reason::HostNameMismatch
            | Reason::Expired
            | Reason::CaMissing
    )
}

fn reachable(facts: &Facts<'_>) -> NewCondition {
    match facts.contact {
        Contact::NotYet => not_yet(REACHABLE, facts),
        Contact::Failed(trouble)
            if matches!(trouble.reason, Reason::Unreachable | Reason::EndpointNotAllowed)
                || is_of_certificate(trouble.reason) =>
        {
            says(REACHABLE, Answer::False, trouble)
        }
        Contact::Failed(trouble) if trouble.reason == Reason::OperationFailed => {
            says(REACHABLE, Answer::Unknown, trouble)
        }
        _ => NewCondition::new(REACHABLE, Answer::True, Reason::Reachable, "an endpoint answers"),
    }
}

fn authorized(facts: &Facts<'_>) -> NewCondition {
    match facts.contact {
        Contact::NotYet => not_yet(AUTHORIZED, facts),
        Contact::Failed(trouble)
            if matches!(trouble.reason, Reason::CredentialsRejected | Reason::PrivilegesMissing) =>
        {
            says(AUTHORIZED, Answer::False, trouble)
        }
        Contact::Failed(trouble) => {
            let text = "not known; the condition Ready says why";
            NewCondition::new(AUTHORIZED, Answer::Unknown, trouble.reason, text)
        }
        Contact::Fine => {
            if let Some(trouble) = facts.lacks_privileges() {
                return says(AUTHORIZED, Answer::False, &trouble);
            }
            let text = "the credential has every privilege that is needed";
            NewCondition::new(AUTHORIZED, Answer::True, Reason::Authorized, text)
        }
    }
}

fn certificate_valid(facts: &Facts<'_>) -> NewCondition {
    let is = |answer, reason, text: String| NewCondition::new(CERTIFICATE_VALID, answer, reason, text);
    match facts.contact {
        Contact::NotYet => return not_yet(CERTIFICATE_VALID, facts),
        Contact::Failed(trouble) if is_of_certificate(trouble.reason) => {
            return says(CERTIFICATE_VALID, Answer::False, trouble);
        }
        Contact::Failed(trouble)
            if matches!(trouble.reason, Reason::Unreachable | Reason::EndpointNotAllowed | Reason::OperationFailed) =>
        {
            return is(Answer::Unknown, trouble.reason, "not known: the hypervisor could not be asked".to_owned());
        }
        _ => {}
    }
    if facts.insecure {
        let text = "tls.insecureSkipVerify is set: the certificate is not checked, and anyone in between can read the \
                    credential";
        return is(Answer::Unknown, Reason::NotVerified, text.to_owned());
    }
    let ends = facts.probed.and_then(|probed| probed.probe.certificate_ends);
    let Some(ends) = ends else { return is(Answer::True, Reason::Trusted, "the certificate is trusted".to_owned()) };
    let left = ends.duration_since(facts.now);
    if left.is_negative() {
        return is(Answer::False, Reason::Expired, format!("the certificate expired at {ends}; renew it"));
    }
    if left.unsigned_abs() < SOON {
        return is(Answer::True, Reason::ExpiresSoon, format!("the certificate expires at {ends}; renew it"));
    }
    is(Answer::True, Reason::Trusted, format!("the certificate is trusted; it expires at {ends}"))
}

fn not_yet(type_: &'static str, facts: &Facts<'_>) -> NewCondition {
    let reason = facts.input.map_or(Reason::Connecting, |trouble| trouble.reason);
    NewCondition::new(type_, Answer::Unknown, reason, "not known: the hypervisor has not been asked yet")
}

#[cfg(test)]
mod tests;

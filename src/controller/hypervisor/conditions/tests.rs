//! The conditions of a `Hypervisor`, fact by fact.

use jiff::Timestamp;

use super::*;
use crate::api::hypervisor_status::EffectiveLimits;
use crate::clock::BootTime;
use crate::controller::hypervisor::identity::Standing;
use crate::controller::hypervisor::memory::Probed;
use crate::hypervisor::vm::{ClusterIdentity, InUse, MissingPrivilege, Probe, VmRef};

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(day * 24 * 3600).unwrap()
}

fn probed() -> Probed {
    let identity = ClusterIdentity { name: "prod".into(), nodes: vec!["pve1".into()], ca_fingerprint: "AA".into() };
    Probed {
        at: BootTime::default(),
        probe: Probe {
            product: "Proxmox VE".into(),
            version: "9.0.3".into(),
            identity: identity.clone(),
            quorate: true,
            certificate_ends: Some(at(100)),
        },
        standing: Standing::Known(identity),
        missing: Vec::new(),
        in_use: InUse::default(),
    }
}

fn facts<'a>(contact: &'a Contact, probed: Option<&'a Probed>) -> Facts<'a> {
    Facts {
        generation: Some(3),
        now: at(1),
        contact,
        input: None,
        probed,
        quorate: true,
        unread: &[],
        unreadable: Vec::new(),
        insecure: false,
        paused: false,
        awaited: None,
        held: None,
        shared: None,
        limits: EffectiveLimits::default(),
        accepted: false,
    }
}

/// `status/reason` of Ready, Reachable, Authorized, `CertificateValid`.
fn shown(facts: &Facts<'_>) -> [String; 4] {
    let all = conditions(facts);
    let said = |type_: &str| {
        let condition = all.iter().find(|condition| condition.type_ == type_).unwrap();
        assert_eq!(condition.observed_generation, Some(3));
        format!("{}/{}", condition.status.as_str(), condition.reason)
    };
    [said(READY), said(REACHABLE), said(AUTHORIZED), said(CERTIFICATE_VALID)]
}

fn message(facts: &Facts<'_>, type_: &str) -> String {
    conditions(facts).into_iter().find(|condition| condition.type_ == type_).unwrap().message
}

#[test]
fn all_is_well() {
    let probed = probed();
    let facts = facts(&Contact::Fine, Some(&probed));
    assert_eq!(shown(&facts), ["True/Connected", "True/Reachable", "True/Authorized", "True/Trusted"]);
    assert_eq!(message(&facts, READY), "Proxmox VE 9.0.3, cluster prod");
    assert_eq!(shown(&Facts { paused: true, ..facts })[0], "True/Paused");
}

#[test]
fn a_failed_look_says_what_is_known_and_what_is_not() {
    let cases = [
        (Reason::Unreachable, "False", ["False/Unreachable", "Unknown/Unreachable", "Unknown/Unreachable"]),
        (Reason::Untrusted, "False", ["False/Untrusted", "Unknown/Untrusted", "False/Untrusted"]),
        (Reason::CredentialsRejected, "False", ["True/Reachable", "False/CredentialsRejected", "True/Trusted"]),
        (Reason::IdentityChanged, "False", ["True/Reachable", "Unknown/IdentityChanged", "True/Trusted"]),
        (
            Reason::OperationFailed,
            "False",
            ["Unknown/OperationFailed", "Unknown/OperationFailed", "Unknown/OperationFailed"],
        ),
    ];
    let probed = probed();
    for (reason, ready, others) in cases {
        let contact = Contact::Failed(Trouble::new(reason, "why"));
        let shown = shown(&facts(&contact, Some(&probed)));
        assert_eq!(shown[0], format!("{ready}/{reason}"));
        assert_eq!(shown[1..], others, "{reason}");
    }
}

#[test]
fn before_the_first_look_nothing_is_claimed() {
    let nothing = facts(&Contact::NotYet, None);
    assert_eq!(shown(&nothing), ["Unknown/Connecting"; 4].map(str::to_owned));
    let trouble = Trouble::new(Reason::CredentialsMissing, "no Secret");
    let without = Facts { input: Some(&trouble), ..nothing };
    assert_eq!(shown(&without)[0], "False/CredentialsMissing");
    assert_eq!(shown(&without)[1], "Unknown/CredentialsMissing");
    assert_eq!(without.unusable(), Some(trouble.clone()));
}

#[test]
fn a_client_that_works_from_memory_serves_its_workers() {
    let (probed, trouble) = (probed(), Trouble::new(Reason::CredentialsMissing, "no Secret"));
    let facts = Facts { input: Some(&trouble), ..facts(&Contact::Fine, Some(&probed)) };
    assert_eq!(shown(&facts), ["False/CredentialsMissing", "True/Reachable", "True/Authorized", "True/Trusted"]);
    assert_eq!(facts.unusable(), None);
}

#[test]
fn quorum_and_privileges_are_needed() {
    let mut probed = probed();
    let no_quorum = Facts { quorate: false, ..facts(&Contact::Fine, Some(&probed)) };
    assert_eq!(shown(&no_quorum), ["False/NoQuorum", "True/Reachable", "True/Authorized", "True/Trusted"]);
    probed.missing = vec![MissingPrivilege { privilege: "VM.Allocate".into(), path: "/vms".into() }];
    let lacking = facts(&Contact::Fine, Some(&probed));
    assert_eq!(shown(&lacking)[0], "False/PrivilegesMissing");
    assert_eq!(shown(&lacking)[2], "False/PrivilegesMissing");
    assert!(message(&lacking, AUTHORIZED).contains("VM.Allocate on /vms"));
    probed.standing = Standing::Unpinned;
    assert_eq!(shown(&facts(&Contact::Fine, Some(&probed)))[0], "False/NoQuorum");
}

#[test]
fn a_certificate_is_warned_about_before_it_ends() {
    let probed = probed();
    let on = |day| Facts { now: at(day), ..facts(&Contact::Fine, Some(&probed)) };
    assert_eq!(shown(&on(85))[3], "True/Trusted");
    assert_eq!(shown(&on(87))[3], "True/ExpiresSoon");
    assert_eq!(shown(&on(101))[3], "False/Expired");
    assert!(message(&on(87), CERTIFICATE_VALID).contains("1970-04-11"), "{}", message(&on(87), CERTIFICATE_VALID));
    let unchecked = Facts { insecure: true, ..on(1) };
    assert_eq!(shown(&unchecked)[3], "Unknown/NotVerified");
}

#[test]
fn a_deletion_says_whom_it_waits_for() {
    let probed = probed();
    let names: Vec<String> = (1..=12).map(|number| format!("w{number}")).collect();
    let mut going = Facts { awaited: Some(names), ..facts(&Contact::Fine, Some(&probed)) };
    assert_eq!(shown(&going)[0], "False/WorkersRemain");
    let text = message(&going, READY);
    assert!(text.contains("12 Workers") && text.ends_with("w10 and 2 more"), "{text}");
    going.awaited = Some(Vec::new());
    assert_eq!(shown(&going)[0], "True/Connected");
}

#[test]
fn what_cannot_be_read_and_what_is_used_up_is_said() {
    let probed = probed();
    let unread = [VmRef { host: "pve2".into(), id: "5003".into() }];
    let facts = Facts { unread: &unread, accepted: true, ..facts(&Contact::Fine, Some(&probed)) };
    let text = message(&facts, READY);
    assert!(text.contains("VM 5003 on pve2") && text.contains("accept-identity"), "{text}");
}

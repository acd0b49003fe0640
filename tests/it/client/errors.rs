//! Recorded refusals, each through a call of its method: kind and message.

use stevedore::domain::fault::{Fault, FaultKind};
use stevedore::hypervisor::Hypervisor;

use super::canned::{Canned, any_time, at, client, recorded, wanted};

/// The fault that the recorded answer `name` makes of a call with the recorded request's method.
async fn fault(name: &str) -> Fault {
    let canned = Canned::always(name);
    let client = client(canned.clone());
    match recorded(name).request.split(' ').next().unwrap() {
        "GET" => client.vm(&at("100")).await.unwrap_err(),
        "POST" => client.within(any_time()).start(&at("100")).await.unwrap_err(),
        "PUT" => {
            canned.say("GET /nodes/pve1/qemu/100/config", Ok(recorded("532-cloudinit-config")));
            canned.say("GET /nodes/pve1/qemu/100/status/current", Ok(recorded("224-status-current-stopped")));
            let seen = client.vm(&at("100")).await.unwrap();
            client.within(any_time()).configure(&wanted(), &seen).await.unwrap_err()
        }
        "DELETE" => {
            canned.say("GET /cluster/ha/status/current", Ok(recorded("840-ha-status")));
            client.within(any_time()).destroy(&at("100")).await.unwrap_err()
        }
        other => panic!("{other}"),
    }
}

fn forbidden(privilege: &str, path: &str) -> FaultKind {
    FaultKind::Forbidden { privilege: privilege.to_owned(), path: path.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn every_recorded_refusal_has_its_kind() {
    let cases = [
        ("001-version-no-credentials", FaultKind::Unauthorized),
        ("010-token-wrong-secret", FaultKind::Unauthorized),
        ("020-permission-denied-create", forbidden("", "")),
        ("022-permission-denied-vm-config", forbidden("VM.Audit", "/vms/100")),
        ("286-agent-permission", forbidden("VM.Monitor", "/vms/200")),
        ("286-agent-permission@9.2", forbidden("VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted", "/vms/200")),
        ("915-ha-status-without-sys-audit@9.2", forbidden("Sys.Audit", "/")),
        ("043-unknown-node", FaultKind::Refused),
        ("120-create-duplicate-vmid", FaultKind::AlreadyExists),
        ("368-clone-newid-taken", FaultKind::AlreadyExists),
        ("740-create-vmid-of-other-node", FaultKind::AlreadyExists),
        ("121-create-bad-memory", FaultKind::Refused),
        ("182-config-unknown-vm", FaultKind::NotFound),
        ("736-vm-asked-at-wrong-node", FaultKind::NotFound),
        ("188-config-put-wrong-digest", FaultKind::Busy),
        ("383-config-put-while-cloning", FaultKind::Busy),
        ("392-source-config-put-while-cloning", FaultKind::Busy),
        ("412-locked-config-put", FaultKind::Locked("backup".into())),
        ("288-agent-vm-stopped", FaultKind::GuestAway),
        ("314-reset-when-stopped", FaultKind::AlreadyDone),
        ("290-delete-running", FaultKind::Refused),
        ("481-delete-protected", FaultKind::Protected),
        ("622-agent-exec-nonexistent", FaultKind::UnknownOutcome),
        ("663-pvedaemon-down-start", FaultKind::Unreachable),
        ("664-pvedaemon-down-status-current", FaultKind::Unreachable),
        ("670-pmxcfs-down-version", FaultKind::Unreachable),
        ("674-pmxcfs-down-start", FaultKind::Unreachable),
        ("704-no-quorum-create", FaultKind::NoQuorum),
        ("706-no-quorum-config-put", FaultKind::NoQuorum),
        ("904-no-quorum-config-put@9.2", FaultKind::NoQuorum),
        ("788-body-600k", FaultKind::Refused),
    ];
    for (name, kind) in cases {
        let fault = fault(name).await;
        assert_eq!(fault.kind, kind, "{name}: {fault}");
        assert!(fault.message.contains("/nodes/pve1/qemu/100"), "{name}: {fault}");
        assert!(fault.message.contains(&recorded(name).status.to_string()), "{name}: {fault}");
        assert!(!fault.message.contains("5ec4e7"), "{name}: the secret is in the message");
    }
}

#[tokio::test(start_paused = true)]
async fn the_text_is_found_wherever_it_is() {
    // In the reason phrase, with an empty body.
    let fault_670 = fault("670-pmxcfs-down-version").await;
    assert!(fault_670.message.contains("Unable to load access control list"), "{fault_670}");
    // By parameter.
    let fault_121 = fault("121-create-bad-memory").await;
    assert!(fault_121.message.contains("memory: invalid format"), "{fault_121}");
    // In the body's message.
    assert!(fault("481-delete-protected").await.message.contains("protection mode enabled"));
}

#[tokio::test(start_paused = true)]
async fn before_8_4_only_the_reason_phrase_has_the_text() {
    use super::canned::Recorded;
    let canned = Canned::always("240-start");
    let reason = "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist";
    canned.say(
        "GET /nodes/pve1/qemu/100/config",
        Ok(Recorded::saying(500, reason, Some(serde_json::json!({ "data": null })))),
    );
    assert_eq!(client(canned).vm(&at("100")).await.unwrap_err().kind, FaultKind::NotFound);
}

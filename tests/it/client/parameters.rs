//! Every parameter that is ever sent exists in 8.4 and in 9.2: an unknown one would be refused with 400.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stevedore::guest::channel::Script;
use stevedore::hypervisor::Hypervisor;
use stevedore::hypervisor::proxmox::{Credential, Proxmox, ProxmoxSettings};
use stevedore::hypervisor::vm::image::ImageWanted;
use stevedore::hypervisor::vm::{AddressWanted, CreateOrder, InUse, TaskHandle, VmWanted};
use stevedore::secret::Secret;

use super::canned::{Canned, LONG, Recorded, Sent, any_time, at, image, making, recorded, settings, wanted};

/// Parameter names by call, as the API schemas of 8.4 and 9.2 have them.
fn schema() -> Vec<(String, BTreeSet<String>)> {
    let entries: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/proxmox-client/parameters.json")).unwrap();
    let names =
        |value: &Value| value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    entries.iter().map(|entry| (entry["call"].as_str().unwrap().to_owned(), names(&entry["both"]))).collect()
}

/// Whether `line` is a call of the form `template`.
fn fits(line: &str, template: &str) -> bool {
    let (line, template): (Vec<&str>, Vec<&str>) = (line.split('/').collect(), template.split('/').collect());
    line.len() == template.len() && line.iter().zip(&template).all(|(part, form)| form.starts_with('{') || part == form)
}

/// `net3` belongs to the family `net[n]`.
fn in_schema(name: &str, known: &BTreeSet<String>) -> bool {
    let family = format!("{}[n]", name.trim_end_matches(|c: char| c.is_ascii_digit()));
    known.contains(name) || known.contains(&family)
}

fn everything_wanted() -> VmWanted {
    let mut wanted = VmWanted {
        dns_servers: vec!["10.0.0.53".parse().unwrap()],
        search_domains: vec!["example.org".into()],
        image: ImageWanted::Template("200".into()),
        ..wanted()
    };
    let mut second = wanted.networks[0].clone();
    second.ipv4 = AddressWanted::None;
    second.ipv6 = AddressWanted::Auto;
    wanted.networks[0].ipv4 =
        AddressWanted::Static { address: "10.0.0.5".parse().unwrap(), prefix: 24, gateway: "10.0.0.1".parse().ok() };
    wanted.networks.push(second);
    wanted
}

fn answers() -> Arc<Canned> {
    let canned = Canned::recorded(&[
        "002-version-token",
        "022-permission-denied-vm-config",
        "032-access-permissions-dev",
        "157-cluster-status",
        "160-storage-list",
        "230-storage-content-import",
        "601-network-bridges",
        "840-ha-status",
        "914-certificates-info@9.2",
        "739-nextid-taken-by-other-node",
        "116-tasks-list-source-active",
        "262-agent-exec-status-exited",
        "260-agent-exec",
        "250-agent-ping-ok",
        "251-agent-network-get-interfaces",
    ]);
    let upid = || Ok(recorded("240-start"));
    canned.say("POST /access/ticket", Ok(Recorded::data(json!({"ticket": "t", "CSRFPreventionToken": "c"}))));
    canned.say(
        "GET /cluster/resources",
        Ok(Recorded::data(json!([
            {"type": "node", "node": "pve1", "status": "online"},
            {"type": "qemu", "vmid": 200, "node": "pve1", "name": "t", "template": 1},
            {"type": "storage", "storage": "store2", "node": "pve1", "plugintype": "dir"}
        ]))),
    );
    // All that can be wrong, and surplus cards to be removed.
    let config = json!({"boot": "order=scsi0", "scsi0": "store2:200/a.qcow2,size=1G", "digest": "0a", "net5": "e1000=AA:BB:CC:00:11:22",
        "ipconfig5": "ip=dhcp", "balloon": 9000, "sockets": 2, "vcpus": 1, "onboot": 1, "agent": "0"});
    canned.say("GET /nodes/pve1/qemu/200/config", Ok(Recorded::data(config.clone())));
    let mut with_drive = config;
    with_drive["ide2"] = json!("store2:200/vm-200-cloudinit.qcow2,media=cdrom");
    canned.say("GET /nodes/pve1/qemu/201/config", Ok(Recorded::data(with_drive)));
    for id in ["200", "201"] {
        canned.say(&format!("GET /nodes/pve1/qemu/{id}/status/current"), Ok(recorded("244-status-current-running")));
    }
    for line in [
        "POST /nodes/pve1/storage/local/download-url",
        "POST /nodes/pve1/qemu",
        "POST /nodes/pve1/qemu/200/clone",
        "POST /nodes/pve1/qemu/200/config",
        "PUT /nodes/pve1/qemu/200/resize",
        "POST /nodes/pve1/qemu/200/status/start",
        "POST /nodes/pve1/qemu/200/status/shutdown",
        "POST /nodes/pve1/qemu/200/status/stop",
        "DELETE /nodes/pve1/qemu/200",
    ] {
        canned.say(line, upid());
    }
    canned.say("PUT /nodes/pve1/qemu/201/config", Ok(recorded("186-config-put-ok")));
    let task = "GET /nodes/pve1/tasks/UPID:pve1:0000025B:00039E36:6B025509:qmdestroy:200:dev@pve!t1:";
    canned.say(&format!("{task}/status"), Ok(Recorded::data(json!({"status": "stopped", "exitstatus": "OK"}))));
    canned.say(&format!("{task}/log"), Ok(recorded("111-task-log-unknown-upid")));
    canned
}

/// Drives every method of the trait.
async fn drive(client: &Proxmox) {
    let wanted = everything_wanted();
    let order = CreateOrder { wanted: wanted.clone(), at: at("5000"), since: "2026-11-22T02:00:00Z".parse().unwrap() };
    client.probe().await.unwrap();
    client.missing_privileges(&InUse::default()).await.unwrap();
    client.inventory().await.unwrap();
    client.obstacles(&wanted).await.unwrap();
    client.is_being_made(&making(&order)).await.unwrap();
    client.within(any_time()).create(&order).await.unwrap();
    let image = image();
    client.image("pve1", &image, None).await.unwrap();
    client.within(any_time()).download("pve1", &image).await.unwrap();
    let imported = VmWanted { image: ImageWanted::File(image), ..wanted.clone() };
    client.within(any_time()).create(&CreateOrder { wanted: imported, ..order }).await.unwrap();
    let seen = client.vm(&at("200")).await.unwrap();
    client.within(any_time()).configure(&wanted, &seen).await.unwrap();
    client.within(any_time()).grow_disk(&wanted, &seen).await.unwrap();
    let seen = client.vm(&at("201")).await.unwrap();
    client.within(any_time()).configure(&VmWanted { authorized_keys: Vec::new(), ..wanted }, &seen).await.unwrap();
    client.within(any_time()).start(&at("200")).await.unwrap();
    client.guest_answers(&at("200")).await.unwrap();
    client.guest_addresses(&at("200")).await.unwrap();
    let script = Script { name: "sample", text: "true" };
    client.guest(&at("200")).run(script, &["x".to_owned()], b"in", LONG).await.unwrap();
    client.within(any_time()).shut_down(&at("200"), Duration::from_secs(120)).await.unwrap();
    client.within(any_time()).power_off(&at("200")).await.unwrap();
    client.within(any_time()).destroy(&at("200")).await.unwrap();
    let task = TaskHandle("UPID:pve1:0000025B:00039E36:6B025509:qmdestroy:200:dev@pve!t1:".to_owned());
    client.task(&task).await.unwrap();
    client.vm(&at("100")).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn every_parameter_exists_in_both_versions() {
    let canned = answers();
    let credential = Credential::Password { username: "dev@pve".into(), password: Secret::new("p".into()) };
    let settings = ProxmoxSettings { pool: Some("backup".into()), ..settings(&["https://pve1:8006"], credential) };
    drive(&Proxmox::new(settings, canned.clone()).unwrap()).await;

    let schema = schema();
    let log = canned.log();
    for Sent { line, params, .. } in &log {
        let known = schema.iter().find(|(template, _)| fits(line, template));
        let (template, known) = known.unwrap_or_else(|| panic!("{line} is not in the schema"));
        for (name, _) in params {
            assert!(in_schema(name, known), "{template} has no parameter {name}");
        }
        let variable = template.split('/').filter(|part| part.starts_with('{'));
        assert!(variable.map(|part| part.trim_matches(['{', '}'])).all(|name| known.contains(name)), "{template}");
    }
    for (template, _) in &schema {
        assert!(log.iter().any(|sent| fits(&sent.line, template)), "{template} was never called; is it still needed?");
    }
}
